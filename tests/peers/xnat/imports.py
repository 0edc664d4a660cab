"""services/*, and the prearchive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peers.xnat.http import Request, Response, fail, form
from peers.xnat.state import EDITORS

if TYPE_CHECKING:
    from peers.xnat.routes import Service


def answer(service: Service, request: Request, parts: list[str]) -> Response:
    """Answer a request to one of the services."""
    if parts == ["services", "refresh", "catalog"] and request.method == "POST":
        return refresh(service, request)
    raise fail(404)


def refresh(service: Service, request: Request) -> Response:
    """Bring the catalogs of an item, and of what is below it, in line with the disk."""
    from peers.xnat.target import locate  # noqa: PLC0415

    given = {**request.query, **form(request)}
    options = {word.strip() for word in given.get("options", "").split(",")}
    if service.digests != "on-refresh" and service.digests != "on":
        options.discard("checksum")
    for path in given.get("resource", "").split(","):
        parts = [part for part in path.split("/") if part and part not in ("archive", "data")]
        with service.state.lock:
            target = locate(service.state, request, parts)
            names = target.names.get("resources")
            items = list(target.owners)
            if not items:
                raise fail(404)
            if service.state.role(request.user, items[0].project or items[0].id) not in EDITORS:
                raise fail(403)
            if names is None:
                items += [
                    x for item in target.owners for x in service.state.children("scan", item.id)
                ]
            owners = [item.key for item in items]
            found = [
                entry
                for entry in service.state.resources_of(*owners)
                if names is None or names in (entry.label, str(entry.id))
            ]
        for resource in found:
            service.state.catalogs.refresh(resource.id, options)
    return Response()
