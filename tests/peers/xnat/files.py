"""Resources and their files: lists, downloads with ranges, archives, uploads and deletion."""

from __future__ import annotations

import mimetypes
import re
from email.utils import formatdate
from typing import TYPE_CHECKING
from urllib.parse import quote

from peers.xnat import listing
from peers.xnat.catalogs import Entry
from peers.xnat.http import (
    AnswerError,
    Request,
    Response,
    fail,
    restlet,
    tomcat,
)
from peers.xnat.listing import Table
from peers.xnat.state import EDITORS, Item, Resource

if TYPE_CHECKING:
    from pathlib import Path

    from peers.xnat.routes import Service
    from peers.xnat.target import Target

COLUMNS = [
    "Name", "Size", "URI", "collection", "file_tags", "file_format", "file_content", "cat_ID",
]  # fmt: skip
RESOURCE_COLUMNS = [
    "xnat_abstractresource_id", "label", "element_name", "category", "cat_id", "cat_desc",
    "file_count", "file_size", "tags", "content", "format",
]  # fmt: skip
NOT_ACCEPTABLE = (
    "The resource identified by the request is only capable of generating response entities which "
    "have content characteristics not acceptable according to the accept headers sent in the "
    "request"
)
NOT_YOURS = "User account doesn't have permission to modify this session."
RANGE = re.compile(r"(\d+)-(\d*)|-(\d+)|")


def need_owner(target: Target) -> None:
    """Say which level of the path is missing, or not to be seen."""
    if "projects" in target.names and target.project is None:
        raise fail(404, "Unable to identify project")
    if target.owner_level == "subjects" and target.subject is None:
        raise fail(404, "Unable to identify subject")
    if "experiments" in target.names and target.experiment is None:
        raise fail(404, "Unable to identify image session")


def owner(target: Target) -> Item:
    """The one item that the resource belongs to."""
    need_owner(target)
    if len(target.owners) != 1:
        raise fail(404, f"Unable to identify {target.owner_level.removesuffix('s')}")
    return target.owners[0]


def may_delete(service: Service, request: Request, item: Item) -> bool:
    """Whether the user may delete what belongs to an item: a member may not."""
    return service.state.role(request.user, item.project or item.id) == "owner"


def may_edit(service: Service, request: Request, item: Item) -> bool:
    """Whether the user may change what belongs to an item."""
    return service.state.role(request.user, item.project or item.id) in EDITORS


# Resources


def list_resources(service: Service, request: Request, target: Target) -> Response:
    """The resources of an item; with `all=true` those of its scans as well."""
    need_owner(target)
    items = list(target.owners)
    if request.flag("all"):
        items += [x for item in target.owners for x in service.state.children("scan", item.id)]
    rows: list[dict[str, str]] = []
    for item in items:
        mine = reversed(service.state.resources_of(item.key))
        rows += [_resource_row(service, item, entry) for entry in mine]
    columns = RESOURCE_COLUMNS
    kind = request.query.get("format", "json")
    return Response(table=Table(columns, rows, title="Resources", format=kind))


def _resource_row(service: Service, item: Item, resource: Resource) -> dict[str, str]:
    entries = service.state.catalogs.entries(resource.id)
    return {
        "xnat_abstractresource_id": str(resource.id),
        "label": service.state.shown(resource),
        "element_name": "xnat:resourceCatalog",
        "category": f"{item.kind}s" if item.kind == "scan" else "resources",
        "cat_id": item.id,
        "cat_desc": item.fields.get("type", "") if item.kind == "scan" else item.label,
        "file_count": str(len(entries)) if entries else "",
        "file_size": str(sum(entry.size for entry in entries)) if entries else "",
        "tags": resource.tags,
        "content": resource.content,
        "format": resource.format,
    }


def put_resource(service: Service, request: Request, target: Target) -> Response:
    """Create a resource."""
    item = owner(target)
    if not may_edit(service, request, item):
        raise fail(403, NOT_YOURS)
    label = target.names["resources"]
    if service.state.resource(item.key, label) is not None:
        raise fail(409, "Specified resource already exists.")
    words = {key: request.query.get(key, "") for key in ("format", "content", "tags")}
    service.state.add_resource(item.key, label, **words)
    return Response()


def get_resource(service: Service, _request: Request, target: Target) -> Response:
    """A resource's catalog, as XML whatever was asked for."""
    found = resources(service, target)
    if not found:
        raise fail(404, "Unable to find the specified catalog.")
    resource = found[0][1]
    entries = service.state.catalogs.entries(resource.id)
    body = listing.catalog_xml(service.state.shown(resource), entries)
    return Response(200, body.encode(), "text/xml", chunked=bool(entries))


def delete_resource(service: Service, request: Request, target: Target) -> Response:
    """Delete a resource; one that is not there is deleted as well."""
    item = owner(target)
    if not may_delete(service, request, item):
        raise fail(403, NOT_YOURS)
    for _, resource in resources(service, target):
        service.state.drop_resource(resource)
    return Response()


def resources(service: Service, target: Target) -> list[tuple[Item, Resource]]:
    """The resources that a path names, each with its owner. What does not exist has none."""
    found = [
        (item, entry) for item in target.owners for entry in service.state.resources_of(item.key)
    ]
    names = target.names.get("resources")
    if names is None or names == "ALL":
        return found
    wanted = names.split(",")
    return [(item, entry) for item, entry in found if {entry.label, str(entry.id)} & {*wanted}]


# Lists and downloads


def list_files(service: Service, request: Request, target: Target) -> Response:
    """The files of a resource, of a scan or of several; of nothing, an empty list."""
    need_owner(target)
    kind = request.query.get("format", "json")
    if request.headers.get("accept") == "application/zip":
        raise AnswerError(tomcat(406, NOT_ACCEPTABLE))
    if kind in ("zip", "tar.gz", "tar"):
        return _archive(service, request, target, kind)
    rows: list[dict[str, str]] = []
    for item, resource in resources(service, target):
        base = _base(target, item, resource)
        place = _place(service, target, item, resource)
        rows += [
            _row(service, resource, base, entry) | {"absolutePath": f"{place}/{entry.shown}"}
            for entry in service.state.catalogs.entries(resource.id)
        ]
    columns = COLUMNS if service.digests == "absent" else [*COLUMNS, "digest"]
    if request.query.get("locator") == "absolutePath":
        columns = ["absolutePath" if name == "URI" else name for name in columns]
    rows = [row for row in rows if _chosen(row, request)]
    root = service.context
    return Response(
        table=Table(columns, rows, total=False, title="Files", server_root=root, format=kind)
    )


def _chosen(row: dict[str, str], request: Request) -> bool:
    wanted = {key: request.query.get(key) for key in ("file_format", "file_content")}
    return all(text is None or row[key] in text.split(",") for key, text in wanted.items())


def _row(service: Service, resource: Resource, base: str, entry: Entry) -> dict[str, str]:
    return {
        "Name": entry.shown.rpartition("/")[2],
        "Size": str(entry.size),
        "URI": f"{base}/files/{entry.shown}",
        "collection": service.state.shown(resource),
        "file_tags": entry.tags,
        "file_format": entry.format,
        "file_content": entry.content,
        "cat_ID": str(resource.id),
        "digest": entry.digest,
    }


def _base(target: Target, item: Item, resource: Resource) -> str:
    """The path of a resource, in the form of the path that lists it."""
    parts = [f"resources/{resource.id}"]
    if item.kind == "project":
        parts.insert(0, f"projects/{item.id}")
    elif item.kind == "subject":
        parts.insert(0, f"subjects/{item.id}")
    else:
        session = target.experiment
        assert session is not None
        if item.kind in ("scan", "assessor"):
            parts.insert(0, f"{item.kind}s/{quote(item.id, safe='')}")
        parts.insert(0, f"experiments/{session.id}")
        if {"resources", "projects"} <= set(target.names) and len(target.owners) == 1:
            if session.parent:
                parts.insert(0, f"subjects/{session.parent}")
            parts.insert(0, f"projects/{session.project}")
    return "/data/" + "/".join(parts)


def _place(service: Service, target: Target, item: Item, resource: Resource) -> str:
    """The folder of a resource on the server's disk."""
    parts = ["/data/xnat/archive", item.project or item.id]
    if target.experiment is not None:
        parts += ["arc001", target.experiment.label]
    parts += ["SCANS", item.id] if item.kind == "scan" else ["RESOURCES"]
    return "/".join([*parts, service.state.shown(resource)])


def _archive(service: Service, request: Request, target: Target, kind: str) -> Response:
    session, short = target.experiment, request.query.get("structure") == "simplified"
    outer = session.label if session else target.names.get("projects", "files")
    if target.owner_level == "scans" and not target.scans:
        outer = target.subject.label if target.subject else outer
    members: list[tuple[str, Path]] = []
    for item, resource in resources(service, target):
        words = re.sub(r"[^A-Za-z0-9_.-]", "_", item.fields.get("type", ""))
        scan = f"scans/{item.id}-{words}" if words and not short else f"scans/{item.id}"
        label = service.state.shown(resource)
        inner = label if short else f"resources/{label}/files"
        folder = f"{outer}/{scan}/{inner}" if item.kind == "scan" else f"{outer}/{inner}"
        for entry in service.state.catalogs.entries(resource.id):
            path = service.state.catalogs.path(resource.id, entry.name)
            # A file that is missing on the server's disk is left out, and nobody is told.
            if path.exists():
                members.append((f"{folder}/{entry.shown}", path))
    heading = ("Content-Disposition", f'attachment; filename="{outer}.{kind}";')
    if not members:
        answer = restlet(404)
        answer.headers.append(heading)
        return answer
    mime = "application/zip" if kind == "zip" else "application/x-gtar"
    return Response(200, type=mime, headers=[heading], members=members, archive=kind)


def get_file(service: Service, request: Request, target: Target) -> Response:
    """A file, or a range of it."""
    need_owner(target)
    for _, resource in resources(service, target):
        entry = service.state.catalogs.entry(resource.id, target.names["files"])
        if entry is None:
            continue
        path = service.state.catalogs.path(resource.id, entry.name)
        if path.exists():
            return _file(request, path)
    raise AnswerError(tomcat(404, "Unable to find catalog entry for given uri."))


def _file(request: Request, path: Path) -> Response:
    """A file, or the one range of it that was asked for; no condition is looked at.

    The length that is said is that of the range asked. Only the bytes that there are follow it,
    and the connection stays open: the client waits for the others.
    """
    stat = path.stat()
    kind = mimetypes.guess_type(path.name)[0] if path.suffix.islower() else None
    kind = "application/octet-stream" if kind in (None, "application/dicom") else str(kind)
    modified = formatdate(stat.st_mtime, usegmt=True)
    headers = [("Last-Modified", modified), ("Cache-Control", "must-revalidate")]
    answer = Response(200, type=kind, headers=headers, file=path)
    asked = request.headers.get("range", "")
    if not asked.startswith("bytes=") or not stat.st_size:
        return answer
    if "," in asked:
        refused = restlet(501)
        refused.headers += headers[1:]
        return refused
    parsed = RANGE.fullmatch(asked.removeprefix("bytes="))
    if parsed is None:
        answer.status = 500
        return answer
    first, last, suffix = parsed.groups()
    start, end = int(first or 0), int(last) if last else stat.st_size - 1
    if suffix:
        start = stat.st_size - int(suffix)
    elif not first:
        end = -1
    answer.status, answer.start, answer.promised = 206, max(start, 0), end - start + 1
    answer.length = max(min(end + 1, stat.st_size) - answer.start, 0)
    headers.append(("Content-Range", f"bytes {start}-{end}/{stat.st_size}"))
    return answer
