"""Assessors: results that belong to an experiment, each with resources of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from peers.xnat.http import Request, Response, fail, parts, text
from peers.xnat.listing import Table
from peers.xnat.rest import may_create
from peers.xnat.state import Item, item_key

if TYPE_CHECKING:
    from peers.xnat.routes import Service
    from peers.xnat.target import Target

COLUMNS = ["ID", "project", "label", "xsiType", "URI"]


def list_assessors(service: Service, request: Request, target: Target) -> Response:
    """The assessors of an experiment."""
    session = _session(target)
    rows = [
        {
            "ID": item.id,
            "project": item.project,
            "label": item.label,
            "xsiType": item.xsi,
            "URI": f"/data/experiments/{item.id}",
        }
        for item in service.state.children("assessor", session.id)
    ]
    return Response(table=Table(COLUMNS, rows, format=request.query.get("format", "json")))


def post_assessor(service: Service, request: Request, target: Target) -> Response:
    """Create an assessor from a document."""
    given = parts(request) or [("", request.body)]
    try:
        root = ET.fromstring(given[0][1])
    except ET.ParseError:
        raise fail(400, "The document cannot be read.") from None
    name, label = root.get("ID", ""), root.get("label", "")
    return _create(service, request, target, name or label, f"xnat:{root.tag.rpartition('}')[2]}")


def put_assessor(service: Service, request: Request, target: Target) -> Response:
    """Create an assessor by its label."""
    xsi = request.query.get("xsiType", "")
    if not xsi:
        raise fail(417, "Need PUT Contents")
    return _create(service, request, target, target.names["assessors"], xsi)


def _create(service: Service, request: Request, target: Target, name: str, xsi: str) -> Response:
    session = _session(target)
    may_create(service, request, session.project, "experiments")
    if item_key("assessor", name, session.id) in service.state.items:
        raise fail(409, "Specified assessor already exists.")
    made = Item("assessor", name, xsi, label=name, project=session.project, parent=session.id)
    service.state.add(made, request.user)
    service.state.save()
    return text(name)


def _session(target: Target) -> Item:
    if target.experiment is None:
        raise fail(404, "Unable to identify image session")
    return target.experiment
