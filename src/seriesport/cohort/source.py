"""Where an entry of the cohort points to: its source and its destinations."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from seriesport.cohort.table import CODE
from seriesport.errors import SeriesportError
from seriesport.model.address import Address, DicomAddress, XnatAddress, identity, parse
from seriesport.model.identifiers import is_uid
from seriesport.model.instance import OPAQUE_UID

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seriesport.cohort.check import Row
    from seriesport.config.schema import Problems


class Identifiers(NamedTuple):
    """What names a series; empty where the entry does not say."""

    patient: str = ""
    study: str = ""
    accession: str = ""
    series: str = ""
    series_number: str = ""


def same_number(one: str, other: str) -> bool:
    """Whether two integer strings (PS3.5 section 6.2, IS) have the same value."""
    try:
        return int(one) == int(other)
    except ValueError:
        return one == other


class Places:
    """Reads the addresses and patterns of entries; what repeats is read once."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._addresses: dict[str, Address | SeriesportError] = {}
        self._lists: dict[tuple[str, ...], tuple[Address, ...]] = {}
        self._shared: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._patterns: dict[tuple[str, str], re.Pattern[str]] = {}

    def shared(self, items: Iterable[str]) -> tuple[str, ...]:
        """One tuple for all entries with the same items."""
        key = tuple(items)
        return self._shared.setdefault(key, key)

    def set_defaults(self, defaults: Row) -> None:
        """Read the file's defaults; what is wrong with them is told here, with their line."""
        for key in ("source", "template", "geometry"):
            self._address(defaults, key, defaults.values.get(key))
        self.destinations(defaults, defaults.values)
        self.description(defaults, defaults.values)
        self.scan_type(defaults, defaults.values)

    def source(self, row: Row, values: dict[str, Any]) -> tuple[Address, Identifiers] | None:
        """The source and what identifies the series in it; None where that cannot be read."""
        if "source" not in values:
            self._problems.add(CODE, row.line, "the entry has no source")
            return None
        address = self._address(row, "source", values["source"])
        if address is None:
            return None
        given = Identifiers(
            values.get("patient", ""),
            values.get("study", ""),
            values.get("accession", ""),
            values.get("series", ""),
            "" if "template" in values else values.get("series_number", ""),
        )
        try:
            _check_filters(address, values)
            return _place(address, given)
        except _Unfit as unfit:
            self._problems.add(CODE, row.line_of(unfit.key), str(unfit))
            return None

    def beside(self, row: Row, values: dict[str, Any], key: str) -> Address | None:
        """The address of a template or a geometry, where there is one."""
        return self._address(row, key, values[key]) if key in values else None

    def destinations(self, row: Row, values: dict[str, Any]) -> tuple[Address, ...] | None:
        """The destinations; None where one cannot be read."""
        key = tuple(values.get("destinations", ()))
        known = self._lists.get(key)
        if known is not None:
            return known
        found: list[Address] = []
        for item, text in enumerate(key):
            address = self._address(row, "destinations", text, item)
            problem = _destination_problem(address, found)
            if problem:
                self._add(CODE, row, "destinations", problem, item)
            elif address is not None:
                found.append(address)
        if len(found) < len(key):
            return None
        self._lists[key] = tuple(found)
        return self._lists[key]

    def _address(self, row: Row, key: str, text: object, item: int | None = None) -> Address | None:
        if not isinstance(text, str):
            return None
        if text not in self._addresses:
            try:
                self._addresses[text] = parse(text)
            except SeriesportError as error:
                self._addresses[text] = error
        found = self._addresses[text]
        if isinstance(found, SeriesportError):
            number = "" if item is None else f", item {item + 1}"
            self._add(found.code, row, key, f"{key}{number}: {found.message}", item)
            return None
        return found

    def _add(self, code: str, row: Row, key: str, text: str, item: int | None = None) -> None:
        """Note a problem, unless it is a default's, which was noted with the default's line."""
        if key in row.values:
            self._problems.add(code, row.line_of(key, item), text)

    def description(self, row: Row, values: dict[str, Any]) -> re.Pattern[str] | None:
        """The pattern that series descriptions are searched for, where there is one."""
        for key in ("description", "description_regex"):
            if key in values:
                return self._pattern(row, key, values[key])
        return None

    def scan_type(self, row: Row, values: dict[str, Any]) -> re.Pattern[str] | None:
        """The pattern that types of scans are searched for, where there is one."""
        return (
            self._pattern(row, "scan_type", values["scan_type"]) if "scan_type" in values else None
        )

    def _pattern(self, row: Row, key: str, written: str) -> re.Pattern[str] | None:
        if (key, written) not in self._patterns:
            glob = key != "description_regex"
            regex = r"\A" + fnmatch.translate(written) if glob else written
            try:
                self._patterns[key, written] = re.compile(regex)
            except (re.error, OverflowError, RecursionError):
                text = f"{key} is not a regular expression that Python can read"
                self._add(CODE, row, key, text)
                return None
        return self._patterns[key, written]


_OF_DICOM = (
    "patient", "study", "accession", "series", "modality", "description", "description_regex",
    "scan_type", "quality", "min_instances", "max_series",
)  # fmt: skip
_TWICE = "destinations names one place twice"
_WITH_TEMPLATE = ("geometry", "series_description")


class _Unfit(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


def _destination_problem(address: Address | None, others: list[Address]) -> str | None:
    if isinstance(address, DicomAddress) and (address.patient or address.study):
        return "a destination ends with the AE title; the images carry their own identifiers"
    if isinstance(address, XnatAddress) and not address.experiment:
        return "an xnat:// destination names project, subject and experiment, and a scan or none"
    return _TWICE if address and identity(address) in map(identity, others) else None


def _check_filters(address: Address, values: dict[str, Any]) -> None:
    if "template" in values:
        named = [key for key in _OF_DICOM if values.get(key)]
        if named:
            raise _Unfit(named[0], f"{named[0]} does not go with template: the source is no DICOM")
        if not -(2**31) <= int(values.get("series_number", 0)) < 2**31:
            raise _Unfit(
                "series_number", "series_number is larger than DICOM can write (2147483647)"
            )
    for key in _WITH_TEMPLATE:
        if key in values and "template" not in values:
            raise _Unfit(key, f"{key} goes with template alone")
    for key in ("scan_type", "quality"):
        if values.get(key) and not isinstance(address, XnatAddress):
            raise _Unfit(key, f"{key} goes with an xnat:// source alone")


def _place(address: Address, given: Identifiers) -> tuple[Address, Identifiers]:
    if isinstance(address, DicomAddress):
        return _in_archive(address, given)
    if isinstance(address, XnatAddress):
        for key, value in zip(given._fields, given, strict=True):
            if value and key != "series_number":
                text = "an xnat:// source names subject, experiment and scan in its address"
                raise _Unfit(key, f"{key} does not go here: {text}")
    return address, given


def _in_archive(address: DicomAddress, given: Identifiers) -> tuple[DicomAddress, Identifiers]:
    """Bring together what the address names and what the entry does."""
    for key in ("study", "series"):
        text = getattr(given, key)
        if text and not _may_be_uid(text):
            raise _Unfit(key, f"{key} is no DICOM UID (three numbers or more, with dots between)")
    if given.accession and is_uid(given.accession):
        raise _Unfit(
            "accession", "accession has the form of a UID; if it is the study's, write study:"
        )
    merged = given
    if address.patient or address.study:
        merged = _merge(_carried(address), given)
    study = merged.study or merged.accession
    series = merged.series or merged.series_number
    if series and not study:
        key = "series" if merged.series else "series_number"
        raise _Unfit(key, f"{key} needs its study, or its accession number, beside it")
    return replace(address, patient=merged.patient, study=study, series=series), merged


def _may_be_uid(text: str) -> bool:
    """Return True for a UID, also for one that breaks rules which archives do not keep."""
    return OPAQUE_UID.fullmatch(text) is not None and text.count(".") > 1


def _carried(address: DicomAddress) -> Identifiers:
    by_uid, series_by_uid = is_uid(address.study), is_uid(address.series)
    return Identifiers(
        patient=address.patient,
        study=address.study if by_uid else "",
        accession="" if by_uid else address.study,
        series=address.series if series_by_uid else "",
        series_number="" if series_by_uid else address.series,
    )


def _merge(carried: Identifiers, given: Identifiers) -> Identifiers:
    merged = carried
    for key in ("patient", "study", "accession", "series", "series_number"):
        here, there = getattr(given, key), getattr(carried, key)
        if here and there and here != there:
            raise _Unfit(key, f"{key} is another one than in the source's address; name it once")
        if here:
            merged = merged._replace(**{key: here})
    for one, other in (("study", "accession"), ("series", "series_number")):
        if getattr(merged, one) and getattr(merged, other):
            key = one if getattr(given, one) else other
            raise _Unfit(
                key, f"the source's address names the {one} already, in another way; name it once"
            )
    return merged
