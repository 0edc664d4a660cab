"""What a folder or ZIP holds: instances by series, and what keeps a series from being whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seriesport.digest import chunks
from seriesport.errors import SeriesportError
from seriesport.instance import Instance
from seriesport.transports.protocol import Expected, SeriesReference

if TYPE_CHECKING:
    from seriesport.address import Address
    from seriesport.instance import Header, Payload

SeriesKey = tuple[str, str, str]
"""PatientID, Study Instance UID and Series Instance UID."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One instance, where it was found."""

    number: int
    """Position among all files or members, from 1: how messages name it."""
    name: str
    """Path below the folder, or the member's name. May hold identifiers: never in a message."""
    header: Header
    transfer_syntax_uid: str
    payload: Payload

    @property
    def instance(self) -> Instance:
        """The instance as the protocol gives it."""
        return Instance(self.header, self.transfer_syntax_uid, self.payload)


@dataclass(slots=True)
class Listing:
    """All instances of a folder or ZIP."""

    what: str
    """`file` or `member`, for messages."""
    total: int = 0
    """Files or members that were looked at."""
    passed_over: int = 0
    """Those that are no DICOM instances."""
    duplicates: int = 0
    """Files or members that repeat another one's instance exactly."""
    series: dict[SeriesKey, list[Listed]] = field(default_factory=dict[SeriesKey, list[Listed]])
    problems: dict[int, SeriesportError] = field(default_factory=dict[int, SeriesportError])
    """What looks like DICOM but cannot be read, by number: it may belong to any series."""

    def add(self, listed: Listed) -> None:
        """List one more instance, under its series."""
        self.series.setdefault(key_of(listed.header), []).append(listed)

    def references(self, address: Address) -> list[SeriesReference]:
        """The series, in order of patient, study, series number and UID.

        Raises:
            SeriesportError: what cannot be read, where that leaves no series at all.
        """
        if not self.series:
            self._raise_problem()
        found = [self._reference(address, listed) for listed in self.series.values()]
        return sorted(found, key=_rank)

    def _reference(self, address: Address, listed: list[Listed]) -> SeriesReference:
        uids = {one.header.sop_instance_uid for one in listed}
        return SeriesReference.of(listed[0].header, address, len(uids))

    def whole(self, series: SeriesReference) -> dict[str, Listed]:
        """The instances of a series by UID, in order; of exact duplicates the first.

        Raises:
            SeriesportError: instance-conflict where one UID has two contents; what the file or
                member raised that cannot be read, as it may belong to this series.
        """
        key = (series.patient_id, series.study_instance_uid, series.series_instance_uid)
        found: dict[str, Listed] = {}
        for one in sorted(self.series.get(key, []), key=lambda one: one.header.order):
            first = found.setdefault(one.header.sop_instance_uid, one)
            if first is not one:
                self._require_same(first, one)
        self._raise_problem()
        return found

    def _raise_problem(self) -> None:
        if self.problems:
            number = min(self.problems)
            place = f"{self.what} {number} of {self.total}, in order of names"
            error = self.problems[number]
            raise SeriesportError(error.code, f"{place}: {error.message}")

    def _require_same(self, first: Listed, other: Listed) -> None:
        if not same_content(first.instance, other.instance):
            raise SeriesportError(
                "instance-conflict",
                f"{self.what}s {first.number} and {other.number} of {self.total} have one SOP"
                " Instance UID and different contents",
            )
        self.duplicates += 1

    def expected(self, series: SeriesReference) -> dict[str, Expected]:
        """The same as the protocol gives it. Raises what `whole` raises."""
        self.duplicates = 0
        return {
            uid: Expected(
                uid,
                one.header.sop_class_uid,
                one.header.instance_number,
                (one.transfer_syntax_uid,),
            )
            for uid, one in self.whole(series).items()
        }


def key_of(header: Header) -> SeriesKey:
    """What tells the series of an instance from others."""
    return header.patient_id, header.study_instance_uid, header.series_instance_uid


def same_content(one: Instance, other: Instance) -> bool:
    """Whether two instances have the same data set, byte for byte, in the same encoding."""
    return (
        one.transfer_syntax_uid == other.transfer_syntax_uid
        and one.payload.size == other.payload.size
        and all(a == b for a, b in zip(chunks(one.payload), chunks(other.payload), strict=True))
    )


def _rank(series: SeriesReference) -> tuple[str, str, int, str, str]:
    number = series.series_number
    rank = int(number) if number.isdecimal() and number.isascii() else 2**31
    uid = series.series_instance_uid
    return series.patient_id, series.study_instance_uid, rank, number, uid
