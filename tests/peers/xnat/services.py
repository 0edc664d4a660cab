"""The catalog refresh, and the users of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peers.xnat.http import Request, Response, fail, form
from peers.xnat.listing import Table
from peers.xnat.state import EDITORS
from peers.xnat.target import Target, locate

if TYPE_CHECKING:
    from peers.xnat.routes import Service

GROUPS = {"owners": "owner", "members": "member", "collaborators": "collaborator"}
SEARCHABLE = (
    "projectData", "subjectData", "mrSessionData", "ctSessionData", "petSessionData",
    "usSessionData", "crSessionData", "dxSessionData", "mgSessionData", "nmSessionData",
    "xaSessionData", "otherDicomSessionData", "mrScanData", "ctScanData", "petScanData",
)  # fmt: skip
USER_COLUMNS = ["GROUP_ID", "displayname", "login", "firstname", "lastname", "email"]


def refresh(service: Service, request: Request) -> Response:
    """Bring the catalogs of items, and of the scans below them, in line with the disk."""
    given = {**request.query, **form(request)}
    options = {word.strip() for word in given.get("options", "").split(",")}
    if service.digests in ("off", "absent"):
        options.discard("checksum")
    for path in given.get("resource", "").split(","):
        for number in _resources(service, request, path):
            service.state.catalogs.refresh(number, options)
    return Response()


def _resources(service: Service, request: Request, path: str) -> list[int]:
    parts = [part for part in path.split("/") if part and part not in ("archive", "data")]
    with service.state.lock:
        target = locate(service.state, request, parts)
        items = list(target.owners)
        if not items:
            raise fail(404)
        if service.state.role(request.user, items[0].project or items[0].id) not in EDITORS:
            raise fail(403)
        names = target.names.get("resources")
        if names is None:
            items += [x for item in target.owners for x in service.state.children("scan", item.id)]
        found = service.state.resources_of(*[item.key for item in items])
        return [each.id for each in found if names in (None, each.label, str(each.id))]


def project_users(service: Service, request: Request, target: Target) -> Response:
    """The users of a project; a PUT gives one a role, a DELETE takes it away."""
    if target.project is None:
        raise fail(404)
    project = target.project.id
    if request.method != "GET":
        if service.state.role(request.user, project) != "owner":
            raise fail(403)
        group, _, login = target.names.get("users", "").partition("/")
        role = GROUPS.get(group.lower())
        if role is None or login not in service.state.users:
            raise fail(404)
        roles = service.state.roles.setdefault(project, {})
        if request.method == "PUT":
            roles[login] = role
        else:
            roles.pop(login, None)
        service.state.save()
    rows: list[dict[str, str]] = []
    for login, role in service.state.roles.get(project, {}).items():
        known = service.state.users.get(login)
        if known is None or not role:
            continue
        words = {name: str(known[name]) for name in ("firstname", "lastname", "email")}
        names = {"displayname": f"{role.capitalize()}s", "GROUP_ID": f"{project}_{role}"}
        rows.append({**words, **names, "login": login})
    return Response(table=Table(USER_COLUMNS, rows, title="Projects"))


def search_elements(request: Request, rest: list[str]) -> Response:
    """The types that can be searched for, or the search fields of one."""
    if rest:
        columns = ["FIELD_ID", "HEADER", "SUMMARY", "TYPE"]
        names = ("INSERT_DATE", "INSERT_USER", "LABEL", "PROJECT")
        rows = [{"FIELD_ID": x, "HEADER": x, "SUMMARY": rest[0], "TYPE": "string"} for x in names]
    else:
        columns = ["ELEMENT_NAME", "SINGULAR", "PLURAL", "SECURED", "COUNT"]
        rows = [
            {
                "ELEMENT_NAME": f"xnat:{x}",
                "SINGULAR": x,
                "PLURAL": x,
                "SECURED": "true",
                "COUNT": "1",
            }
            for x in SEARCHABLE
        ]
    return Response(table=Table(columns, rows, format=request.query.get("format", "json")))
