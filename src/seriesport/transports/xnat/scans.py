"""The scan that a series belongs to: found by what it holds, or made under a free ID."""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from seriesport.errors import SeriesportError
from seriesport.http.answer import StatusError
from seriesport.transports.xnat.catalog import scan_path
from seriesport.transports.xnat.fields import document, query, scan_number, unescaped
from seriesport.transports.xnat.head import remote_header
from seriesport.transports.xnat.items import record_of, records
from seriesport.transports.xnat.places import check_scan_id
from seriesport.transports.xnat.search import DICOM_RESOURCES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from seriesport.dicom.part10 import Part10
    from seriesport.transports.xnat.catalog import Catalog, Experiment, ResourceFile
    from seriesport.transports.xnat.items import Record

_log = logging.getLogger("seriesport")
_MOST_IDS = 1000


@dataclass(frozen=True, slots=True)
class Wanted:
    """The series that a scan is looked for."""

    series_uid: str
    series_number: str
    modality: str
    types: Sequence[str]
    """Data types for a new scan, best first."""
    fields: Mapping[str, str]
    """What a new scan begins with."""


class Holding(Enum):
    """Whose a scan is, seen from a series."""

    OURS = auto()
    OTHERS = auto()
    UNKNOWN = auto()
    """It has files that do not tell."""
    NOBODYS = auto()
    """It has no files and no UID."""


def scan_at(catalog: Catalog, experiment: Experiment, name: str, wanted: Wanted) -> Record:
    """The scan that an address names, by ID or as `ls` finds it; made where it is missing.

    Raises:
        SeriesportError: destination-conflict, where it holds another series; ambiguous;
            address-invalid, for an ID that XNAT would not take; see `check_distinct`.
    """
    scans = records(catalog, experiment)
    found = named(scans, name)
    if found is None:
        check_scan_id(name)
    check_distinct(scans, found.id if found else name)
    wanted = _unlike(wanted, {*scans, name})
    if found is None:
        return _make(catalog, experiment, name, wanted)
    holding = held_by(catalog, experiment, found, wanted.series_uid)
    if holding in (Holding.OTHERS, Holding.UNKNOWN):
        told = "holds another series" if holding is Holding.OTHERS else "does not say what it holds"
        raise SeriesportError("destination-conflict", f"the scan of the address {told}")
    return _completed(catalog, experiment, found, wanted)


def named(scans: Mapping[str, Record], name: str) -> Record | None:
    """The scan of an ID, else the only one of a type or series description; None for none.

    Raises:
        SeriesportError: ambiguous.
    """
    if name in scans:
        return scans[name]
    described, given = ("type", "series_description"), unescaped(name)
    fitting = [r for r in scans.values() if given in (r.fields.get(field) for field in described)]
    if len(fitting) > 1:
        what = f"{len(fitting)} scans have this type or description; name one by its ID"
        raise SeriesportError("ambiguous", what)
    return fitting[0] if fitting else None


def check_distinct(scans: Mapping[str, Record], ident: str) -> None:
    """Refuse a scan whose ID is the type of another one: XNAT cannot store a file in it.

    Raises:
        SeriesportError: scan-ambiguous.
    """
    if _is_a_type(scans, ident):
        what = "the scan's ID is the type of another scan of the experiment"
        raise SeriesportError("scan-ambiguous", what)


def _is_a_type(scans: Mapping[str, Record], ident: str) -> bool:
    return any(r.id != ident and r.fields.get("type") == ident for r in scans.values())


def _unlike(wanted: Wanted, idents: Collection[str]) -> Wanted:
    """The same, without a type that would make XNAT take the new scan for another one."""
    if wanted.fields.get("type") not in idents:
        return wanted
    _log.warning("a new scan's type is left empty: it is the ID of a scan")
    fields = {name: value for name, value in wanted.fields.items() if name != "type"}
    return replace(wanted, fields=fields)


def scan_for(catalog: Catalog, experiment: Experiment, wanted: Wanted) -> Record:
    """The scan that holds a series already, or a new one.

    A new scan's ID is the series number; where that is taken, as XNAT does where two series
    have one number, `4-MR1`, `4-MR2` and so on.
    """
    scans = records(catalog, experiment)
    found = holder(catalog, experiment, scans, wanted.series_uid)
    if found is not None:
        check_distinct(scans, found.id)
        return _completed(catalog, experiment, found, _unlike(wanted, scans))
    for ident in _candidates(wanted):
        if _is_a_type(scans, ident):
            continue
        taken = {known.lower(): record for known, record in scans.items()}.get(ident.lower())
        if taken is None or (taken.blank and taken.id == ident):
            made = _make(catalog, experiment, ident, _unlike(wanted, {*scans, ident}))
            if made.uid in ("", wanted.series_uid):
                return made
    what = "no ID is free for a new scan"
    raise SeriesportError("destination-conflict", what)


def _candidates(wanted: Wanted) -> Iterable[str]:
    number = scan_number(wanted.series_number, wanted.series_uid)
    modality = re.sub("[^A-Za-z0-9]", "", wanted.modality) or "OT"
    yield number
    for index in range(1, _MOST_IDS):
        yield f"{number}-{modality}{index}"


def holder(
    catalog: Catalog, experiment: Experiment, scans: Mapping[str, Record], series_uid: str
) -> Record | None:
    """The scan that holds a series, by its UID or by the headers of its files.

    Raises:
        SeriesportError: destination-conflict, where one says so and its files say otherwise.
    """
    if not series_uid:
        return None
    claiming = [record for record in scans.values() if record.uid == series_uid]
    silent = [record for record in scans.values() if not record.uid and record.resources]
    for record in (*claiming, *silent):
        holding = held_by(catalog, experiment, record, series_uid)
        if holding is Holding.OURS:
            return record
        if record.uid and holding is Holding.OTHERS:
            what = "a scan has this series' UID, and files of another series"
            raise SeriesportError("destination-conflict", what)
    return None


def held_by(catalog: Catalog, experiment: Experiment, record: Record, series_uid: str) -> Holding:
    """Whose a scan is: by its UID, and by the header of one of its files."""
    if record.uid and record.uid != series_uid:
        return Holding.OTHERS
    files = [f for f in catalog.files(experiment, record.id) if f.size]
    images = [f for f in files if f.resource in DICOM_RESOURCES] or [
        f for f in files if f.name.lower().endswith((".dcm", ".ima"))
    ]
    for file in images[:3]:
        part10 = told_by(catalog, experiment, file)
        if part10 is not None:
            same = part10.header.series_instance_uid == series_uid
            return Holding.OURS if same else Holding.OTHERS
    if record.uid:
        return Holding.OURS
    return Holding.UNKNOWN if images else Holding.NOBODYS


def told_by(catalog: Catalog, experiment: Experiment, file: ResourceFile) -> Part10 | None:
    """What the beginning of a file says; None where it is no DICOM instance, damaged, or lost."""
    path = file.path(experiment.id)
    try:
        return remote_header(catalog.session, path, file.size, catalog.deadline)
    except SeriesportError as error:
        if error.code in ("instance-truncated", "instance-invalid", "not-found"):
            return None
        raise


def _make(catalog: Catalog, experiment: Experiment, ident: str, wanted: Wanted) -> Record:
    for rest, xsi_type in enumerate(wanted.types, 1 - len(wanted.types)):
        try:
            _create(catalog, experiment, ident, xsi_type, wanted.fields)
        except StatusError as error:
            if rest == 0 or error.status != 400:
                raise
            continue
        break
    made = record_of(catalog, experiment, ident)
    if made is None:
        what = "a scan was created, and the server does not have it"
        raise SeriesportError("store-unverified", what)
    if made.uid not in ("", wanted.series_uid):
        return made
    return _completed(catalog, experiment, made, wanted)


def _create(
    catalog: Catalog, experiment: Experiment, ident: str, xsi_type: str, fields: Mapping[str, str]
) -> None:
    """Make a scan; by a document where the server would escape a text of the query."""
    body = document(xsi_type, ident, fields)
    if body is not None:
        with suppress(StatusError):  # a server of another schema
            _put(catalog, experiment, ident, {"inbody": "true"}, body)
            return
    _put(catalog, experiment, ident, query(xsi_type, fields.items()))


def _completed(catalog: Catalog, experiment: Experiment, record: Record, wanted: Wanted) -> Record:
    """The scan with what identifies its series filled in, where it was empty.

    Raises:
        SeriesportError: store-unverified, where UID or description do not stay.
    """
    done = fill(catalog, experiment, record, wanted.fields)
    for name in ("UID", "series_description"):
        if wanted.fields.get(name) and not done.fields.get(name):
            what = f"the server does not keep the {name.replace('_', ' ')} of a scan"
            raise SeriesportError("store-unverified", what)
    return done


def fill(
    catalog: Catalog, experiment: Experiment, record: Record, fields: Mapping[str, str]
) -> Record:
    """Set the fields of a scan that are empty, and read them back.

    XNAT answers 200 and drops every field where it does not know one: they are then set one by
    one. What cannot be set stands in the log.
    """
    missing = {
        name: value for name, value in fields.items() if value and not record.fields.get(name)
    }
    if record.uid:
        missing.pop("quality", None)  # somebody may have taken it away on purpose
    if not missing:
        return record
    after = _set(catalog, experiment, record, missing)
    lacking = {name: value for name, value in missing.items() if not after.fields.get(name)}
    if len(missing) > 1:
        for name, value in lacking.items():
            after = _set(catalog, experiment, after, {name: value})
    lost = sorted(name for name in lacking if not after.fields.get(name))
    if lost:
        _log.warning("a scan's fields that the server did not take: %s", ", ".join(lost))
    return after


def _set(
    catalog: Catalog, experiment: Experiment, record: Record, fields: Mapping[str, str]
) -> Record:
    try:
        _put(catalog, experiment, record.id, query(record.xsi_type, fields.items()))
    except StatusError as error:
        if error.transient and error.status != 500:  # 500 may be about one value
            raise
        return record
    return record_of(catalog, experiment, record.id) or record


def _put(
    catalog: Catalog,
    experiment: Experiment,
    scan: str,
    params: Mapping[str, str],
    body: bytes | None = None,
) -> None:
    try:
        catalog.session.send(
            "PUT",
            scan_path(experiment.id, scan),
            params=params,
            headers={"Content-Type": "text/xml"} if body else None,
            body=body,
            deadline=catalog.deadline,
        )
    except StatusError as error:
        if error.status == 403:
            what = "this user may not create or change scans: it needs a member's or owner's role"
            raise SeriesportError("access-denied", what) from None
        raise
