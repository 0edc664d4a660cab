"""services/import, services/archive and the prearchive."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from peers.xnat import rest, unpack
from peers.xnat.catalogs import Entry, md5
from peers.xnat.dicom import Slice, read_slice, renamed, session_type
from peers.xnat.http import Request, Response, fail, form, parts, text
from peers.xnat.listing import Table
from peers.xnat.state import EDITORS, Item, Waiting, item_key, moment
from peers.xnat.uploads import NO_BODY

if TYPE_CHECKING:
    from pathlib import Path

    from peers.xnat.routes import Service

IN_PROGRESS = (
    "Session processing may already be in progress: AutoRun.  "
    "Concurrent modification is discouraged."
)
EXISTS = "Session already exists, retry with overwrite enabled"
NOT_DICOM = "Upload did not include parseable files for session generation."
COLUMNS = [
    "project", "timestamp", "lastmod", "uploaded", "scan_date", "scan_time", "subject",
    "folderName", "name", "tag", "status", "url", "autoarchive", "prevent_anon",
    "prevent_auto_commit", "SOURCE", "VISIT", "PROTOCOL", "TIMEZONE",
]  # fmt: skip


@dataclass
class Wanted:
    """Where an import is to go; what is empty comes from the images."""

    project: str = ""
    subject: str = ""
    session: str = ""
    overwrite: str = ""
    prearchive: bool = False


@dataclass
class Series:
    """The images of one scan."""

    id: str
    first: Slice
    members: list[tuple[str, bytes]] = field(default_factory=list)


def answer(service: Service, request: Request, parts: list[str]) -> Response | None:
    """The answer to a request about imports and the prearchive, else None."""
    with service.state.lock:
        if parts == ["services", "import"] and request.method in ("POST", "PUT"):
            return import_session(service, request)
        if parts == ["services", "archive"] and request.method == "POST":
            return archive_waiting(service, request)
        if parts[:1] == ["prearchive"]:
            return prearchive(service, request, parts[1:])
    return None


def import_session(service: Service, request: Request) -> Response:
    """Unpack what was sent, put it in the prearchive, and archive it unless asked not to."""
    given = parts(request)
    if given is None:
        if not request.flag("inbody") and request.query.get("inbody") is None:
            raise fail(500, "Index: 0, Size: 0")
        if not request.body:
            raise fail(400, NO_BODY)
        given = [("upload.zip", request.body)]
    wanted = _wanted(request)
    if service.state.find("project", wanted.project) is None:
        raise fail(500, f"java.io.IOException: No project named {wanted.project}")
    if service.state.role(request.user, wanted.project) not in EDITORS:
        raise fail(403, "Unable to create sessions in this project.")
    found: list[tuple[str, bytes]] = []
    for name, content in given:
        plain = content[128:132] == b"DICM"
        name = name if content[:2] == b"\x1f\x8b" else f"{name}.zip"  # noqa: PLW2901
        found += [("image.dcm", content)] if plain else unpack.unpacked(name, content, "upload")
    series = _sorted(found)
    if not series:
        raise fail(400, NOT_DICOM)
    waiting = _put_in_prearchive(service, wanted, series)
    if wanted.prearchive:
        return _uri(f"/data{_url(waiting)}")
    return _archive(service, request, waiting, wanted)


def _wanted(request: Request) -> Wanted:
    query = {**request.query, **form(request)}
    wanted = Wanted(
        query.get("project", query.get("PROJECT_ID", "")),
        query.get("subject", query.get("SUBJECT_ID", "")),
        query.get("session", query.get("EXPT_LABEL", "")),
        query.get("overwrite", ""),
    )
    dest = [part for part in query.get("dest", "").split("/") if part and part != "data"]
    wanted.prearchive = dest[:1] == ["prearchive"]
    named = dict(zip(dest[1::2], dest[2::2], strict=False))
    wanted.project = named.get("projects", wanted.project)
    wanted.subject = named.get("subjects", wanted.subject)
    wanted.session = named.get("experiments", wanted.session)
    return wanted


def _sorted(found: list[tuple[str, bytes]]) -> list[Series]:
    """The images by series. What is no DICOM is left out; a truncated one is not noticed."""
    series: dict[str, Series] = {}
    taken: set[str] = set()
    for name, content in found:
        image = read_slice(content)
        if image is None:
            continue
        uid = image.fields.get("UID", "")
        if uid not in series:
            ident = image.number if image.number not in taken else f"{image.number}-{image.kind}1"
            taken.add(ident)
            series[uid] = Series(ident, image)
        short = name.rpartition("/")[2]
        if any(short == known for known, _ in series[uid].members):
            short = f"{image.instance}.dcm"
        series[uid].members.append((short, content))
    return list(series.values())


def _put_in_prearchive(service: Service, wanted: Wanted, series: list[Series]) -> Waiting:
    first = series[0].first
    now = time.time()
    stamp = time.strftime("%Y%m%d_%H%M%S", time.gmtime(now)) + f"{int(now * 1000) % 1000:03d}"
    while any(each.stamp == stamp for each in service.state.waiting):
        stamp = f"{stamp[:9]}{int(stamp[9:]) + 1:09d}"
    name = wanted.session or first.patient_id or "unnamed"
    waiting = Waiting(
        wanted.project,
        stamp,
        name,
        wanted.subject or first.patient_name or name,
        first.study,
        first.patient_id,
        first.session.get("date", ""),
        first.session.get("time", ""),
        uploaded=now,
    )
    folder = _folder(service, waiting)
    for each in series:
        waiting.scans.append({
            **each.first.fields, "ID": each.id, "xsiType": each.first.xsi,
            "modality": each.first.kind, "frames": str(len(each.members)),
        })  # fmt: skip
        target = folder / each.id
        target.mkdir(parents=True)
        for short, content in each.members:
            (target / short).write_bytes(content)
    waiting.session = {
        **first.session,
        "prearchivePath": f"/data/xnat/prearchive/{wanted.project}/{stamp}/{name}",
    }
    service.state.waiting.append(waiting)
    service.state.save()
    return waiting


def _folder(service: Service, waiting: Waiting) -> Path:
    return service.state.folder / "prearchive" / waiting.stamp


def _url(waiting: Waiting) -> str:
    return f"/prearchive/projects/{waiting.project}/{waiting.stamp}/{waiting.name}"


def _uri(path: str) -> Response:
    return text(path + "\r\n", kind="text/uri-list;charset=ISO-8859-1")


# Into the archive


def archive_waiting(service: Service, request: Request) -> Response:
    """Archive a session of the prearchive."""
    query = {**request.query, **form(request)}
    source = query.get("src", "").removeprefix("/data").split("/")
    waiting = _find(service, request, source[3:])
    request.query = query
    wanted = _wanted(request)
    wanted.project = wanted.project or waiting.project
    wanted.subject = wanted.subject or waiting.subject
    wanted.session = wanted.session or waiting.name
    if service.state.role(request.user, wanted.project) not in EDITORS:
        raise fail(403)
    return _archive(service, request, waiting, wanted)


def _archive(service: Service, request: Request, waiting: Waiting, wanted: Wanted) -> Response:
    project = wanted.project
    label = wanted.session or waiting.name
    session = service.state.find("experiment", label, project)
    name = wanted.subject or waiting.subject
    subject = service.state.find("subject", name, project)
    if session is not None and _conflicts(service, session, waiting, wanted.overwrite):
        waiting.status = "CONFLICT"
        waiting.subject = session.parent
        service.state.save()
        raise fail(409, IN_PROGRESS if service.old else EXISTS)
    if subject is None:
        subject = rest.new_subject(service, request, project, name)
    words = {key: value for key, value in waiting.session.items() if value}
    if session is None:
        ident = f"XNAT_E{service.state.next('experiment'):05d}"
        kind = session_type({scan["modality"] for scan in waiting.scans})
        session = Item("experiment", ident, kind, label=label, project=project, parent=subject.id)
        service.state.add(session, request.user).fields = words
    else:
        service.state.change(session, words)
    for row in waiting.scans:
        _archive_scan(service, request, session, row, _folder(service, waiting) / row["ID"])
    service.state.waiting.remove(waiting)
    service.state.save()
    shutil.rmtree(_folder(service, waiting), ignore_errors=True)
    return _uri(f"/data/archive/projects/{project}/subjects/{subject.label}/experiments/{label}")


def _conflicts(service: Service, session: Item, waiting: Waiting, overwrite: str) -> bool:
    """Whether the session may not be merged. With `delete` nobody looks."""
    if overwrite == "delete":
        return False
    if overwrite != "append" or service.old:
        return True
    have = {scan.id for scan in service.state.children("scan", session.id)}
    return any(row["ID"] in have for row in waiting.scans)


def _archive_scan(
    service: Service, request: Request, session: Item, row: dict[str, str], folder: Path
) -> None:
    """Archive a scan; one of the same ID goes, with all its files."""
    old = service.state.items.get(item_key("scan", row["ID"], session.id))
    if old is not None:
        service.state.drop(old)
    scan = Item("scan", row["ID"], row["xsiType"], project=session.project, parent=session.id)
    words = {k: v for k, v in row.items() if k not in ("ID", "xsiType", "modality") and v}
    service.state.add(scan, request.user).fields = {"quality": "usable", **words}
    resource = service.state.add_resource(scan.key, "DICOM", format="DICOM", content="RAW")
    owner = service.state.items.get(item_key("subject", session.parent))
    names = (session.project, owner.label if owner else "", session.label)
    for path in sorted(folder.iterdir()):
        content = renamed(path.read_bytes(), names)
        digest = md5(content) if service.digests == "on" else ""
        service.state.catalogs.write(resource.id, path.name, content)
        entry = Entry(path.name, len(content), digest, format="DICOM", raw=True)
        service.state.catalogs.list_file(resource.id, entry)


# The prearchive


def prearchive(service: Service, request: Request, rest: list[str]) -> Response:
    """The sessions that wait, one of them, its scans, or their files."""
    if len(rest) <= 2 and request.method == "GET":
        seen = [
            each
            for each in service.state.waiting
            if service.state.role(request.user, each.project)
            and (len(rest) < 2 or each.project == rest[1])
        ]
        return _table(request, seen)
    waiting = _find(service, request, rest[1:4])
    if request.method == "DELETE":
        if service.state.role(request.user, waiting.project) not in EDITORS:
            raise fail(403)
        service.state.waiting.remove(waiting)
        service.state.save()
        shutil.rmtree(_folder(service, waiting), ignore_errors=True)
        return Response()
    if request.method != "GET":
        raise fail(405)
    if len(rest) == 4:
        return _table(request, [waiting])
    return _inside(service, request, waiting, rest[4:])


def _table(request: Request, seen: list[Waiting]) -> Response:
    rows: list[dict[str, str]] = []
    for each in seen:
        day = f"{each.date} 00:00:00.0" if each.date else ""
        rows.append({
            **dict.fromkeys(COLUMNS, ""), "project": each.project, "timestamp": each.stamp,
            "lastmod": moment(each.uploaded), "uploaded": moment(each.uploaded), "scan_date": day,
            "scan_time": each.time, "subject": each.subject, "folderName": each.name,
            "name": each.name, "tag": each.uid, "status": each.status, "url": _url(each),
            "autoarchive": "AutoArchive", "prevent_anon": "false", "prevent_auto_commit": "false",
        })  # fmt: skip
    kind = request.query.get("format", "json")
    return Response(table=Table(COLUMNS, rows, total=False, format=kind))


def _find(service: Service, request: Request, where: list[str]) -> Waiting:
    for each in service.state.waiting:
        if where == [each.project, each.stamp, each.name]:
            if not service.state.role(request.user, each.project):
                raise fail(403)
            return each
    raise fail(404, "Unable to find the specified session.")


def _inside(service: Service, request: Request, waiting: Waiting, rest: list[str]) -> Response:
    kind = request.query.get("format", "json")
    if rest == ["scans"]:
        columns = ["ID", "xsiType", "series_description"]
        rows = [{name: row.get(name, "") for name in columns} for row in waiting.scans]
        return Response(table=Table(columns, rows, total=False, format=kind))
    scan = next((row for row in waiting.scans if rest[:2] == ["scans", row["ID"]]), None)
    if scan is None or rest[2:4] != ["resources", "DICOM"]:
        raise fail(404)
    folder = _folder(service, waiting) / scan["ID"]
    if rest[4:5] == ["files"] and len(rest) == 6:
        path = folder / rest[5]
        if rest[5] in (".", "..") or not path.is_file():
            raise fail(404)
        return Response(200, type="application/octet-stream", file=path)
    base = f"/data{_url(waiting)}/scans/{scan['ID']}/resources/DICOM/files"
    rows = [
        {
            "Name": quote(path.name, safe=""),
            "Size": str(path.stat().st_size),
            "URI": f"{base}/{quote(path.name, safe='')}",
        }
        for path in sorted(folder.iterdir())
    ]
    return Response(table=Table(["Name", "Size", "URI"], rows, total=False, format=kind))
