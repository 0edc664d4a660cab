"""Where an entry of the cohort points to: its source and its destinations."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING, Any

from seriesport.cohort.table import CODE
from seriesport.errors import SeriesportError
from seriesport.model.address import Address
from seriesport.model.identifiers import Identifiers, UnfitError
from seriesport.transports.registry import parse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seriesport.cohort.check import Row
    from seriesport.config.schema import Problems


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
            return address.with_identifiers(given)
        except UnfitError as unfit:
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


def _destination_problem(address: Address | None, others: list[Address]) -> str | None:
    if address is None:
        return None
    if address.destination_problem:
        return address.destination_problem
    return _TWICE if address.identity in {other.identity for other in others} else None


def _check_filters(address: Address, values: dict[str, Any]) -> None:
    if "template" in values:
        named = [key for key in _OF_DICOM if values.get(key)]
        if named:
            raise UnfitError(
                named[0], f"{named[0]} does not go with template: the source is no DICOM"
            )
        if not -(2**31) <= int(values.get("series_number", 0)) < 2**31:
            raise UnfitError(
                "series_number", "series_number is larger than DICOM can write (2147483647)"
            )
    for key in _WITH_TEMPLATE:
        if key in values and "template" not in values:
            raise UnfitError(key, f"{key} goes with template alone")
    for key in ("scan_type", "quality"):
        if values.get(key) and not address.has_scans:
            raise UnfitError(key, f"{key} goes with an xnat:// source alone")
