"""What a folder or ZIP holds: instances by series, and what keeps a series from being whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seriesport.dicom.part10 import StrayError
from seriesport.errors import SeriesportError
from seriesport.model.instance import Instance
from seriesport.model.series import Expected, Harm, LeftOut, SeriesReference
from seriesport.store.digest import chunks

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from seriesport.model.address import Address
    from seriesport.model.instance import Header, Payload

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
    bundles: list[Path] = field(default_factory=list["Path"])
    """Bundles among these."""
    duplicates: int = 0
    """Files or members that repeat another one's instance exactly."""
    series: dict[SeriesKey, list[Listed]] = field(default_factory=dict[SeriesKey, list[Listed]])
    problems: dict[int, SeriesportError] = field(default_factory=dict[int, SeriesportError])
    """What looks like DICOM but is no readable instance, by number: see `left_out`."""

    def add(self, listed: Listed) -> None:
        """List one more instance, under its series."""
        self.series.setdefault(key_of(listed.header), []).append(listed)

    def references(self, address: Address) -> list[SeriesReference]:
        """The series, in order of patient, study, series number and UID.

        Raises:
            SeriesportError: what cannot be read, where that leaves no series at all.
        """
        if not self.series:
            self._raise_first(self.problems)
        found = [self._reference(address, listed) for listed in self.series.values()]
        return sorted(found, key=rank)

    def _reference(self, address: Address, listed: list[Listed]) -> SeriesReference:
        uids = {one.header.sop_instance_uid for one in listed}
        return SeriesReference.of(listed[0].header, address, len(uids))

    def whole(self, series: SeriesReference) -> dict[str, Listed]:
        """The instances of a series by UID, in order; of exact duplicates the first.

        Raises:
            SeriesportError: instance-conflict where one UID has two contents; what a file or
                member raised that cannot be read, where it may belong to this series.
        """
        key = (series.patient_id, series.study_instance_uid, series.series_instance_uid)
        found: dict[str, Listed] = {}
        for one in sorted(self.series.get(key, []), key=lambda one: one.header.order):
            first = found.setdefault(one.header.sop_instance_uid, one)
            if first is not one:
                self._require_same(first, one)
        uid = series.series_instance_uid
        self._raise_first(n for n, error in self.problems.items() if _may_belong(error, uid))
        return found

    def left_out(self) -> list[LeftOut]:
        """Give the problems, each by its place in the order of names."""
        return [
            LeftOut(self._placed(number), self._harm(error))
            for number, error in sorted(self.problems.items())
        ]

    def _harm(self, error: SeriesportError) -> Harm:
        if not isinstance(error, StrayError):
            return Harm.ANY
        listed = any(_may_belong(error, uid) for _, _, uid in self.series)
        return Harm.ONE if listed else Harm.NONE

    def _raise_first(self, problems: Iterable[int]) -> None:
        for number in sorted(problems)[:1]:
            raise self._placed(number)

    def _placed(self, number: int) -> SeriesportError:
        place = f"{self.what} {number} of {self.total}, in order of names"
        error = self.problems[number]
        return SeriesportError(error.code, f"{place}: {error.message}")

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


def _may_belong(error: SeriesportError, series_instance_uid: str) -> bool:
    """Return True if what raised this error may be an instance of a series."""
    return not isinstance(error, StrayError) or error.series_instance_uid == series_instance_uid


def key_of(header: Header | SeriesReference) -> SeriesKey:
    """What tells a series, or that of an instance, from others."""
    return header.patient_id, header.study_instance_uid, header.series_instance_uid


def same_content(one: Instance, other: Instance) -> bool:
    """Whether two instances have the same data set, byte for byte, in the same encoding."""
    return (
        one.transfer_syntax_uid == other.transfer_syntax_uid
        and one.payload.size == other.payload.size
        and all(a == b for a, b in zip(chunks(one.payload), chunks(other.payload), strict=True))
    )


def rank(series: SeriesReference) -> tuple[str, str, int, str, str]:
    """Return the sort key of listed series: patient, study, series number and UID."""
    number = series.series_number
    value = int(number) if number.isdecimal() and number.isascii() else 2**31
    uid = series.series_instance_uid
    return series.patient_id, series.study_instance_uid, value, number, uid
