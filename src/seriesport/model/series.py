"""A series as sources and destinations speak of it, and how far its arrival is proven."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from seriesport.counts import part
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from seriesport.model.address import Address
    from seriesport.model.instance import Header


@dataclass(frozen=True, slots=True)
class SeriesReference:
    """A series that a source has, by its full address. Text is as the source gave it, unpadded."""

    address: Address
    patient_id: str
    study_instance_uid: str
    series_instance_uid: str
    accession_number: str = ""
    modality: str = ""
    series_number: str = ""
    series_description: str = ""
    instances: int | None = None
    """How many instances the source says there are, where it says so: a hint, never proof."""
    scan_type: str = ""
    """XNAT's type of the scan."""
    quality: str = ""
    """XNAT's quality of the scan."""
    plain: bool = False
    """Whether it is a set of plain files; its address alone tells then which."""

    @classmethod
    def of(cls, header: Header, address: Address, instances: int | None = None) -> Self:
        """The series that an instance with this header is of."""
        return cls(
            address,
            header.patient_id,
            header.study_instance_uid,
            header.series_instance_uid,
            accession_number=header.accession_number,
            modality=header.modality,
            series_number=header.series_number,
            series_description=header.series_description,
            instances=instances,
        )


class Harm(StrEnum):
    """Which series may be incomplete, because something could not be listed."""

    NONE = "none"
    ONE = "one"
    """A listed one, whose `expect` raises."""
    ANY = "any"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something below an address that looks like a part of a series and cannot be listed."""

    error: SeriesportError
    """Why; its message says where, by a number or a key."""
    harm: Harm


@dataclass(frozen=True, slots=True)
class Expected:
    """One instance, or file, that a complete series has, with what the source tells about it."""

    listed: str
    """What the source lists it as: the SOP Instance UID, or the file's name in XNAT."""
    sop_class_uid: str | None = None
    instance_number: int | None = None
    transfer_syntax_uids: tuple[str, ...] = ()
    place: int | None = None
    """Place in the source's listing from 1, where that has names in place of numbers."""
    size: int | None = None
    """Of the file in bytes, where the source tells."""
    md5: str = ""
    """Of the file in hexadecimal, where the source tells."""


class Proof(StrEnum):
    """How far the arrival of an instance at a destination is proven, weakest first."""

    SENT = "sent"
    """The destination accepted it."""
    LISTED = "listed"
    """The destination lists it afterwards."""
    DIGEST = "digest"
    """The destination's bytes were read back, or its digest compared, and are the same."""


@dataclass(frozen=True, slots=True)
class ReceiptEntry:
    """What became of one instance."""

    uid: str
    sent: bool
    """False where the destination had it already, or where it was not accepted."""
    proof: Proof | None
    """None where it did not arrive."""
    code: str = ""
    """Reason code where it did not arrive."""
    detail: str = ""
    """One line without identifiers: the status, a warning."""

    @property
    def arrived(self) -> bool:
        """Whether the destination lists it, or better."""
        return self.proof not in (None, Proof.SENT)


@dataclass(frozen=True, slots=True)
class Receipt:
    """Per instance, in the order given to `store`, what was sent and how far it is proven."""

    entries: tuple[ReceiptEntry, ...]

    @property
    def complete(self) -> bool:
        """Whether every instance is at the destination, listed there or better."""
        return all(entry.arrived for entry in self.entries)

    def require_complete(self) -> Receipt:
        """Give itself, if every instance is at the destination.

        Raises:
            SeriesportError: the commonest reason of those that are not.
        """
        lost = [entry for entry in self.entries if not entry.arrived]
        if not lost:
            return self
        code, _ = Counter(entry.code or "store-unverified" for entry in lost).most_common(1)[0]
        details = "; ".join(sorted({entry.detail for entry in lost if entry.detail})[:3])
        what = f"{part(len(lost), len(self.entries), 'instance', 'was', 'were')} not delivered"
        raise SeriesportError(code, f"{what} ({details})" if details else what)


Announce = Callable[[Collection[str]], None]
"""Told the UIDs, or names of plain files, that a destination lacks, before the first is sent."""


def unannounced(uids: Collection[str]) -> None:
    """Take no note of what is about to be sent."""
    del uids


@dataclass(frozen=True, slots=True)
class Written:
    """What an upload wrote at a destination, so that it may be removed from there."""

    sha256: Collection[str]
    """SHA-256 of each data set, or of each plain file, in hexadecimal."""
    series: SeriesReference
    name: str
    """The series' folder in a folder or ZIP, as given to `store`."""
    resource: str | None = None
    """Of plain files, as given to `store_files`; None for instances."""
    files: Sequence[str] = ()
    """Names of the plain files."""


@dataclass(frozen=True, slots=True)
class Removal:
    """What became of what was to be removed."""

    removed: int
    """Instances or files that were removed."""
    left: int
    """Those that stay, since their bytes are not the ones that were written."""
