"""Projects, subjects, experiments and scans: lists, items, creation, changes and deletion."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from peers.xnat import fields, listing
from peers.xnat.fields import check_date, given
from peers.xnat.http import Request, Response, as_json, fail, text
from peers.xnat.query import table
from peers.xnat.state import EDITORS, Item, item_key, moment

if TYPE_CHECKING:
    from peers.xnat.routes import Service
    from peers.xnat.target import Target

LABEL = re.compile(r"[A-Za-z0-9_-]+")
PROJECT_COLUMNS = [
    "ID", "secondary_ID", "name", "description", "pi_firstname", "pi_lastname", "URI",
]  # fmt: skip
SCAN_COLUMNS = [
    "xnat_imagescandata_id", "ID", "type", "quality", "xsiType", "note", "series_description",
    "URI",
]  # fmt: skip
EXPERIMENT_COLUMNS = [
    "ID", "project", "date", "xsiType", "label", "insert_date", "xnat:subjectassessordata/id",
    "URI",
]  # fmt: skip
SUBJECT_COLUMNS = ["ID", "project", "label", "insert_date", "insert_user", "URI"]


def need_label(label: str) -> None:
    """XNAT falls over labels with other characters."""
    if not LABEL.fullmatch(label):
        raise fail(500)


def may_create(service: Service, request: Request, project: str, what: str) -> None:
    """Refuse who cannot add to a project."""
    if service.state.role(request.user, project) not in EDITORS:
        words = (
            f"Specified user account has insufficient create privileges for {what} in this project."
        )
        raise fail(403, words)


# Creation and change


def put_project(service: Service, request: Request, target: Target) -> Response:
    """Create a project, or change it."""
    name = target.names["projects"]
    item = service.state.find("project", name)
    if item is not None and service.state.role(request.user, name) != "owner":
        raise fail(403)
    words = given(service, request, fields.PROJECT).words
    if item is None:
        need_label(name)
        item = service.state.add(Item("project", name, "xnat:projectData"), request.user)
        service.state.roles.setdefault(name, {})[request.user] = "owner"
        item.fields = {"secondary_ID": name, "name": name, **words}
    else:
        service.state.change(item, {"secondary_ID": name, **words})
    service.state.save()
    return Response()


def put_subject(service: Service, request: Request, target: Target) -> Response:
    """Create a subject, or change it."""
    if target.project is None:
        raise fail(422, "Submitted subject record must include the project attribute.")
    label = target.names["subjects"]
    item = target.subject
    may_create(service, request, target.project.id, "subjects")
    words = given(service, request, fields.SUBJECT).words
    if item is not None:
        service.state.change(item, words)
        service.state.save()
        return text(item.id)
    item = new_subject(service, request, target.project.id, label)
    item.fields = words
    service.state.save()
    return text(item.id, 201)


def new_subject(service: Service, request: Request, project: str, label: str) -> Item:
    """A subject under the next ID."""
    ident = f"XNAT_S{service.state.next('subject'):05d}"
    need_label(label)
    made = Item("subject", ident, "xnat:subjectData", label=label, project=project)
    return service.state.add(made, request.user)


def put_experiment(service: Service, request: Request, target: Target) -> Response:
    """Create an experiment, or change it; one of another subject is moved here."""
    if target.project is None:
        if service.state.find("project", target.names.get("projects", "")) is not None:
            raise fail(404)
        raise fail(422, "Submitted experiment record must include the project attribute.")
    project, label = target.project.id, target.names["experiments"]
    may_create(service, request, project, "experiments")
    item, subject = target.experiment, target.subject
    told = given(service, request, fields.EXPERIMENT)
    xsi, words = told.xsi, told.words
    if item is None and not xsi:
        raise fail(417, "Need PUT Contents")
    if xsi and xsi.removeprefix("xnat:").removesuffix("SessionData") not in fields.MODALITIES:
        raise fail(
            400, f"org.nrg.xft.exception.ElementNotFoundException: Element not found: '{xsi}'"
        )
    # A creation that fails takes a number as well.
    ident = item.id if item else f"XNAT_E{service.state.next('experiment'):05d}"
    check_date(words)
    need_label(label)
    if subject is None and "subjects" in target.names:
        subject = new_subject(service, request, project, target.names["subjects"])
    parent = subject.id if subject is not None else (item.parent if item is not None else "")
    if item is not None:
        service.state.change(item, words, parent)
        service.state.save()
        return text(item.id)
    item = Item("experiment", ident, xsi, label=label, project=project, parent=parent)
    service.state.add(item, request.user).fields = words
    service.state.save()
    return text(item.id, 201)


def put_scan(service: Service, request: Request, target: Target) -> Response:
    """Create a scan, or change it. One field that does not exist loses all of them."""
    session = target.experiment
    if session is None:
        raise fail(417, "Specified scan must reference a valid image session.")
    may_create(service, request, session.project, "sessions")
    item = service.state.items.get(item_key("scan", target.names["scans"], session.id))
    told = given(service, request, fields.SCAN)
    xsi = told.xsi
    if item is None and not xsi:
        raise fail(417, "Need PUT Contents")
    if xsi == "xnat:imageScanData":
        words = "Multiple scan modalities can be associated here.  Please retry with the "
        raise fail(
            400, f"{words}specification of a particular modality (i.e. ?xsiType=xnat:mrScanData)."
        )
    if xsi and xsi.removeprefix("xnat:").removesuffix("ScanData") not in fields.SCANS:
        raise fail(
            400, f"org.nrg.xft.exception.ElementNotFoundException: Element not found: '{xsi}'"
        )
    if item is not None and xsi not in ("", item.xsi) and not service.old:
        raise fail(409, f"The scan is of type {item.xsi}, which cannot be changed.")
    if item is None:
        need_label(target.names["scans"])
        item = Item("scan", target.names["scans"], xsi, project=session.project, parent=session.id)
        service.state.add(item, request.user).fields = told.words
    else:
        service.state.change(item, told.words)
    service.state.save()
    return Response()


def delete_item(service: Service, request: Request, target: Target) -> Response:
    """Delete an item with all below it, which is for owners alone."""
    item = target.item
    if item is None:
        raise fail(404, f"Unable to find the specified {target.kind}.")
    if service.state.role(request.user, item.project or item.id) != "owner":
        if item.kind == "subject":
            raise fail(403, f"User cannot delete subjects for project {item.project}")
        raise fail(403, "User account doesn't have permission to modify this session.")
    service.state.drop(item)
    return Response()


# Items


def get_item(service: Service, request: Request, target: Target) -> Response:
    """One item, as JSON or XML."""
    item = target.item
    if item is None:
        raise _missing(target)
    if request.query.get("format", "xml" if service.old else "json") == "xml":
        body = listing.item_xml(service.state, item)
        return Response(200, body.encode(), "text/xml", chunked=True)
    return as_json(listing.item_json(service.state, item))


def _missing(target: Target) -> Exception:
    if target.kind == "project":
        return fail(404)
    if target.kind == "subject" and target.project is not None:
        project, name = target.project.id, target.names["subjects"]
        return fail(
            404,
            f"Unable to find the specified subject. The project {project} does not contain "
            f"a subject identifiable by the ID or label {name}.",
        )
    return fail(404, f"Unable to find the specified {target.kind}.")


# Lists


def list_projects(service: Service, request: Request, _target: Target) -> Response:
    """The projects that the user sees."""
    seen = [x for x in service.state.items.values() if x.kind == "project"]
    seen = [item for item in seen if service.state.role(request.user, item.id)]
    if not seen and not service.state.users[request.user]["admin"] and service.old:
        raise fail(403)
    rows = [
        {
            **dict.fromkeys(PROJECT_COLUMNS, ""),
            **item.fields,
            "ID": item.id,
            "URI": f"/data/projects/{item.id}",
        }
        for item in seen
    ]
    return table(request, rows, PROJECT_COLUMNS, ())


def list_subjects(service: Service, request: Request, target: Target) -> Response:
    """The subjects of a project, or all that the user sees."""
    if "projects" in target.names and target.project is None:
        raise fail(404)
    rows = [
        {
            **item.fields,
            "ID": item.id,
            "project": item.project,
            "label": item.label,
            "insert_date": moment(item.created),
            "insert_user": item.user,
            "URI": f"/data/subjects/{item.id}",
        }
        for item in list(service.state.items.values())
        if item.kind == "subject" and _seen(service, request, target, item)
    ]
    return table(request, rows, SUBJECT_COLUMNS, ())


def list_experiments(service: Service, request: Request, target: Target) -> Response:
    """The experiments of a subject or project, or all that the user sees."""
    if "projects" in target.names and target.project is None:
        raise fail(404)
    if "subjects" in target.names and target.subject is None:
        raise fail(404, "Unable to find the specified subject.")
    rows: list[dict[str, str]] = []
    for item in list(service.state.items.values()):
        if item.kind != "experiment" or not _seen(service, request, target, item):
            continue
        if target.subject is not None and item.parent != target.subject.id:
            continue
        owner = service.state.items.get(item_key("subject", item.parent))
        rows.append({
            **item.fields, "ID": item.id, "project": item.project, "label": item.label,
            "date": item.fields.get("date", ""), "xsiType": item.xsi, "subject_ID": item.parent,
            "subject_label": owner.label if owner else "", "subject_project": item.project,
            "insert_date": moment(item.created), "insert_user": item.user,
            "URI": f"/data/experiments/{item.id}",
        })  # fmt: skip
        rows[-1]["xnat:subjectassessordata/id"] = item.id
    always = ("project", "xnat:subjectassessordata/id")
    return table(request, rows, EXPERIMENT_COLUMNS, always)


def list_scans(service: Service, request: Request, target: Target) -> Response:
    """The scans of an experiment; below a project without a subject, the experiment itself."""
    session = target.experiment
    if session is None:
        raise fail(500)
    if "projects" in target.names and "subjects" not in target.names:
        return as_json(listing.item_json(service.state, session))
    rows = [
        {
            **item.fields,
            "ID": item.id,
            "xsiType": item.xsi,
            "xnat_imagescandata_id": str(item.pk),
            "URI": f"/data/experiments/{session.id}/scans/{quote(item.id, safe='')}",
        }
        for item in service.state.children("scan", session.id)
    ]
    return table(request, rows, SCAN_COLUMNS, ("xnat_imagescandata_id",))


def _seen(service: Service, request: Request, target: Target, item: Item) -> bool:
    if target.project is not None:
        return item.project == target.project.id
    return bool(service.state.role(request.user, item.project))
