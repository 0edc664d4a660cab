"""Uploads into resources, what they lose, and the deletion of files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peers.xnat import unpack
from peers.xnat.catalogs import BadNameError, Entry, md5
from peers.xnat.files import NOT_YOURS, may_delete, may_edit, owner, resources
from peers.xnat.http import AnswerError, Request, Response, as_json, fail, parts, text, tomcat

if TYPE_CHECKING:
    from peers.xnat.routes import Service
    from peers.xnat.state import Item, Resource
    from peers.xnat.target import Target

NO_BODY = "In-body File posts must include the file directly as the body of the message."


def put_file(service: Service, request: Request, target: Target) -> Response:
    """Store one file, those of a form, or those of an archive with `extract=true`."""
    item = owner(target)
    given = parts(request)
    if given is None:
        given = [(target.names.get("files", ""), request.body)] if request.body else []
    elif "files" in target.names:
        given = [(target.names["files"], content) for _, content in given[:1]]
    if not given or (request.method == "PUT" and not request.body):
        raise fail(500, NO_BODY)
    if not may_edit(service, request, item) or "not-stored" in request.kinds:
        # Nothing is stored, and the answer is the one of success.
        return Response()
    resource = _resource_to_fill(service, target, item)
    loaded: list[tuple[str, bytes]] = []
    for name, content in given:
        if request.flag("extract"):
            loaded += unpack.unpacked(name, content, resource.label)
        else:
            loaded.append((name, content))
    try:
        duplicates = store(service, request, resource, loaded)
    except BadNameError:
        raise AnswerError(tomcat(400, "Invalid URI: noSlash")) from None
    if duplicates:
        answer = as_json({"duplicates": duplicates})
        answer.type = "text/html"
        return answer
    return text("")


def _resource_to_fill(service: Service, target: Target, item: Item) -> Resource:
    label = target.names.get("resources", "NO LABEL")
    with service.state.lock:
        found = service.state.resource(item.key, label)
        return found or service.state.add_resource(item.key, label)


def store(
    service: Service, request: Request, resource: Resource, loaded: list[tuple[str, bytes]]
) -> list[str]:
    """Put files on disk and into the catalog; the names of those that were there already."""
    catalogs = service.state.catalogs
    duplicates: list[str] = []
    query = request.query
    for name, content in loaded:
        with service.naming:
            # What lies on disk counts, listed or not: an orphan is a duplicate.
            if catalogs.path(resource.id, name).exists() and not request.flag("overwrite"):
                duplicates.append(name)
                continue
            luck = service.luck(request)
            if luck == "error":
                raise fail(500)
            catalogs.write(resource.id, name, content)
        if luck == "lost" or "lossy" in request.kinds:
            continue
        digest = md5(content) if service.digests == "on" else ""
        if "%" in name and any(name == x.shown for x in catalogs.entries(resource.id)):
            # Lists have the name percent-encoded, and it is there already: of another file.
            continue
        words = {key: query.get(key, "") for key in ("format", "content", "tags")}
        entry = Entry(name, len(content), digest, raw=request.flag("extract"), **words)
        entry.created = service.change(request)
        entry.stale = md5(content) if service.old and service.digests != "off" else ""
        catalogs.list_file(resource.id, entry)
    return duplicates


def dropped(service: Service, request: Request, target: Target) -> None:
    """What a client that went away in the middle of a PUT leaves: a file that no list has."""
    if target.last != "files" or not target.single or not target.owners or not request.body:
        return
    item = owner(target)
    if may_edit(service, request, item):
        resource = _resource_to_fill(service, target, item)
        path = service.state.catalogs.path(resource.id, target.names["files"])
        if not path.exists() or request.flag("overwrite"):
            service.state.catalogs.write(resource.id, target.names["files"], request.body)


def delete_file(service: Service, request: Request, target: Target) -> Response:
    """Delete a file; one that is not there is deleted as well."""
    item = owner(target)
    if not may_delete(service, request, item):
        raise fail(403, NOT_YOURS)
    for _, resource in resources(service, target):
        service.state.catalogs.remove(resource.id, target.names["files"])
    return Response()
