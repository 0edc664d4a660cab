"""From an XNAT address to the series behind it, identified by the headers of their files."""

from __future__ import annotations

import logging
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeVar, cast

from seriesport.counts import counted
from seriesport.errors import SeriesportError
from seriesport.http.answer import StatusError
from seriesport.model.series import SeriesReference
from seriesport.transports.xnat.fields import unescaped
from seriesport.transports.xnat.head import remote_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from seriesport.model.instance import Header
    from seriesport.transports.xnat.address import XnatAddress
    from seriesport.transports.xnat.catalog import Catalog, Experiment, ResourceFile, Scan

_log = logging.getLogger("seriesport")

DICOM_RESOURCES = ("DICOM", "secondary")
"""Where XNAT puts DICOM: images, and secondary captures, which it keeps apart."""
_HEADS = 8
"""How many files are looked at before a resource counts as one without DICOM."""
_BROKEN = ("instance-invalid", "instance-truncated", "incomplete")
_SHOWN_ID = re.compile("[A-Za-z0-9._-]{1,16}")
_Given = TypeVar("_Given")
_Got = TypeVar("_Got")


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A scan with the files of the resource that is asked for."""

    experiment: Experiment
    scan: Scan
    files: list[ResourceFile]


def search(catalog: Catalog, place: XnatAddress) -> list[SeriesReference]:
    """The series below an address, in the order of subjects, experiments and scans.

    Scans of any quality count. Those without DICOM are passed over, and how many they were is
    logged; where the address names the scan, that is an error.

    Raises:
        SeriesportError: not-found with the level that is missing, ambiguous with the scans that
            match, experiment-elsewhere, instance-invalid, instance-truncated or incomplete with
            the scan whose files are damaged or lost, and what `Catalog` raises.
    """
    experiments = _experiments(catalog, place)
    listed = _each(catalog, lambda e: _candidates(catalog, place, e), experiments)
    candidates = [one for several in listed for one in several]
    found = [r for r in _each(catalog, lambda c: _reference(catalog, place, c), candidates) if r]
    if len(found) < len(candidates):
        count = len(candidates) - len(found)
        scans = counted(len(candidates), "scan")
        _log.warning("passed over %d of %s, without DICOM", count, scans)
    return sorted(found, key=_order)


def resource_files(files: Iterable[ResourceFile], label: str) -> list[ResourceFile]:
    """The files of one resource of a scan, by name; of the first one for DICOM without a label.

    Raises:
        SeriesportError: ambiguous, where two resources have the label, or two files one name.
    """
    every = list(files)
    for wanted in (label,) if label else DICOM_RESOURCES:
        same = [f for f in every if f.resource == wanted]
        same = same or [f for f in every if f.resource.upper() == wanted.upper()]
        if not same:
            continue
        if len({f.resource_id for f in same}) > 1:
            raise SeriesportError("ambiguous", "two resources of the scan have this label")
        if len({f.name for f in same}) < len(same):
            raise SeriesportError("ambiguous", "two files of the resource have one name")
        return sorted(same, key=lambda f: _natural(f.name))
    return []


def emptied(files: Sequence[ResourceFile]) -> set[str]:
    """Names of files of no bytes that are named as instances are: as files that are not empty."""
    kinds = {_kind(file) for file in files if file.size != 0 and not file.is_other}
    return {file.name for file in files if file.size == 0 and _kind(file) in kinds}


def _kind(file: ResourceFile) -> str:
    """The ending of a file's name; a UID has none."""
    suffix = PurePosixPath(file.name).suffix.lower()
    return "" if suffix[1:].isdigit() else suffix


def header_of(catalog: Catalog, experiment: str, file: ResourceFile) -> Header | None:
    """The header of a file, or None where it is no instance.

    Raises:
        SeriesportError: incomplete where the server has lost it, and see `remote_header`.
    """
    if file.is_page:
        return None
    path = file.path(experiment)
    try:
        part10 = remote_header(catalog.session, path, file.size, catalog.deadline)
    except StatusError as error:
        if error.status != 404:
            raise
        what = "the server lists a file, and does not have it"
        raise SeriesportError("incomplete", what) from None
    return None if part10 is None else part10.header


def headers_of(
    catalog: Catalog, experiment: str, files: Sequence[ResourceFile]
) -> list[Header | None]:
    """The headers of files, several at a time; see `header_of`."""
    return _each(catalog, lambda file: header_of(catalog, experiment, file), files)


def _experiments(catalog: Catalog, place: XnatAddress) -> list[Experiment]:
    if place.experiment:
        return [catalog.experiment(place.project, place.subject, place.experiment)]
    if place.subject:
        listed = [catalog.experiments_of(place.project, place.subject)]
    else:
        names = [s.label or s.id for s in catalog.subjects(place.project)]
        listed = _each(catalog, lambda name: catalog.experiments(place.project, name), names)
    return [e for several in listed for e in several if e.is_session]


def _candidates(catalog: Catalog, place: XnatAddress, experiment: Experiment) -> list[_Candidate]:
    scans = catalog.scans(experiment)
    if place.scan:
        scan = _chosen(catalog, experiment, scans, place.scan)
        files = resource_files(catalog.files(experiment, scan.id), place.resource)
        if not files:
            what = "the resource" if place.resource else "DICOM resource"
            raise SeriesportError("not-found", f"{what} of the address: the scan has no such files")
        return [_Candidate(experiment, scan, files)]
    by_scan: dict[str, list[ResourceFile]] = {}
    for file in catalog.files(experiment) if scans else ():
        by_scan.setdefault(file.scan, []).append(file)
    return [
        _Candidate(experiment, scan, resource_files(by_scan.get(scan.id, ()), "")) for scan in scans
    ]


def _chosen(catalog: Catalog, experiment: Experiment, scans: list[Scan], name: str) -> Scan:
    """The scan that has a name: as its ID, or else, where it is the only one, otherwise."""
    for scan in scans:
        if scan.id == name:
            return scan
    given = unescaped(name)
    matching = [scan for scan in scans if given in (scan.type, scan.series_description)]
    if not matching:
        what = "the scan of the address is not there: no ID, type or description is the same"
        raise SeriesportError("not-found", what)
    if len(matching) > 1:
        counts = [len(resource_files(catalog.files(experiment, s.id), "")) for s in matching[:10]]
        shown = (
            f"{_shown(s)} ({counted(count, 'file')})"
            for s, count in zip(matching, counts, strict=False)
        )
        more = f" and {len(matching) - 10} more" if len(matching) > 10 else ""
        what = f"{len(matching)} scans match: {'; '.join(shown)}{more}; name one by its ID"
        raise SeriesportError("ambiguous", what)
    return matching[0]


def _shown(scan: Scan) -> str:
    return f"scan {scan.id if _SHOWN_ID.fullmatch(scan.id) else '?'}"


def _reference(
    catalog: Catalog, place: XnatAddress, candidate: _Candidate
) -> SeriesReference | None:
    """The series of a scan; None for one of several that has no DICOM."""
    experiment, scan, files = candidate.experiment, candidate.scan, candidate.files
    if not files:
        return None
    label = files[0].resource
    address = replace(
        place,
        subject=experiment.subject,
        experiment=experiment.label or experiment.id,
        scan=scan.id,
        resource=label,
    )
    try:
        header = _first_header(catalog, experiment.id, files)
    except SeriesportError as error:
        if error.code not in _BROKEN:
            raise
        raise SeriesportError(error.code, f"{_shown(scan)}: {error.message}") from None
    if header is None:
        if not place.scan:
            return None
        if label in DICOM_RESOURCES:
            what = f"none of the first {_HEADS} files of a scan's {label} resource is DICOM"
            raise SeriesportError("instance-invalid", what)
        return SeriesReference(
            address,
            "",
            "",
            "",
            instances=len(files),
            scan_type=scan.type,
            quality=scan.quality,
            plain=True,
        )
    series = SeriesReference.of(header, address, len(files))
    return replace(series, scan_type=scan.type, quality=scan.quality)


def _first_header(
    catalog: Catalog, experiment: str, files: Sequence[ResourceFile]
) -> Header | None:
    broken: SeriesportError | None = None
    likely = sorted(files, key=lambda f: f.size == 0 or f.is_other)
    for file in likely[:_HEADS]:
        try:
            header = header_of(catalog, experiment, file)
        except SeriesportError as error:
            if error.code not in _BROKEN:
                raise
            broken = broken or error
            continue
        if header is not None:
            return header
    if broken is not None:
        raise broken
    return None


def _each(catalog: Catalog, ask: Callable[[_Given], _Got], about: Sequence[_Given]) -> list[_Got]:
    """The answers to several questions, asked at one time within the server's limit."""
    if len(about) < 2:
        return [ask(one) for one in about]
    pool = ThreadPoolExecutor(catalog.session.server.connections, "ask")
    try:
        return list(pool.map(ask, about))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _order(found: SeriesReference) -> list[list[tuple[int, int, str]]]:
    address = cast("XnatAddress", found.address)
    return [_natural(part) for part in (address.subject, address.experiment, address.scan)]


def _natural(text: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"([0-9]{1,18})", text)
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts if p]
