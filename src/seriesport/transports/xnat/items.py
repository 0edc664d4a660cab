"""Scans with all of their fields, as an XNAT gives items: fields, and children that are items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

from seriesport.errors import SeriesportError
from seriesport.http.answer import StatusError
from seriesport.transports.xnat.catalog import scan_path
from seriesport.transports.xnat.fields import unescaped
from seriesport.transports.xnat.paths import data_path

if TYPE_CHECKING:
    from seriesport.transports.xnat.catalog import Catalog, Experiment

_KEYS = {"ID", "image_session_ID", "project", "xnat_imagescandata_id", "xnat_imageScanData_id"}


@dataclass(frozen=True, slots=True)
class Record:
    """A scan with all that the server says of it."""

    id: str
    xsi_type: str
    fields: Mapping[str, str]
    """Those that have a value, unescaped."""
    resources: Mapping[str, int]
    """Number of files by label, unquoted."""

    @property
    def uid(self) -> str:
        """The Series Instance UID that it is recorded to have."""
        return self.fields.get("UID", "")

    @property
    def blank(self) -> bool:
        """Whether nothing is there but the scan itself: what an upload leaves that was killed."""
        return not self.fields.keys() - _KEYS and not self.resources


def records(catalog: Catalog, experiment: Experiment) -> dict[str, Record]:
    """The scans of an experiment by ID."""
    path = data_path("experiments", experiment.id)
    item = _current(catalog.session.get_json(path, deadline=catalog.deadline))
    found = [_record(scan) for scan in _children(item, "scans/scan")]
    return {record.id: record for record in found if record.id}


def record_of(catalog: Catalog, experiment: Experiment, scan: str) -> Record | None:
    """One scan; None where it does not exist."""
    try:
        answer = catalog.session.get_json(scan_path(experiment.id, scan), deadline=catalog.deadline)
    except StatusError as error:
        if error.status == 404:
            return None
        raise
    record = _record(_current(answer))
    return record if record.id == scan else None


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _current(answer: object) -> Mapping[str, object]:
    """The item of an answer that is no earlier version."""
    for item in map(_mapping, _list(_mapping(answer).get("items"))):
        if not _mapping(item.get("meta")).get("isHistory"):
            return item
    what = "the server answered with something else than an item"
    raise SeriesportError("answer-invalid", what)


def _children(item: Mapping[str, object], field: str) -> list[Mapping[str, object]]:
    every = map(_mapping, _list(item.get("children")))
    found = [i for child in every if child.get("field") == field for i in _list(child.get("items"))]
    return [i for i in map(_mapping, found) if not _mapping(i.get("meta")).get("isHistory")]


def _fields(item: Mapping[str, object]) -> dict[str, str]:
    values = _mapping(item.get("data_fields")).items()
    known = {name: str(v) for name, v in values if isinstance(v, str | int | float)}
    return {name: unescaped(value) for name, value in known.items() if value}


def _record(item: Mapping[str, object]) -> Record:
    fields = _fields(item)
    resources: dict[str, int] = {}
    for resource in map(_fields, _children(item, "file")):
        count = resource.get("file_count", "0")
        resources[unquote(resource.get("label", ""))] = int(count) if count.isdecimal() else 0
    xsi_type = str(_mapping(item.get("meta")).get("xsi:type", ""))
    return Record(fields.get("ID", ""), xsi_type, fields, resources)
