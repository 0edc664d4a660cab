"""What every transport does. A contract stands here once; the implementations do not repeat it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

from seriesport.address import scheme
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from seriesport.address import Address
    from seriesport.instance import Header, Instance, Item, PlainFile


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
    COMMITTED = "committed"
    """The destination took responsibility (PS3.4 annex J, storage commitment)."""


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
        what = f"{len(lost)} of {len(self.entries)} were not delivered"
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


class Transport(Protocol):
    """One source or destination. Not thread-safe: a worker opens its own.

    A transport contains no retry, no rate limit and no progress bar: these wrap it.
    Every failure is a SeriesportError; `transient` tells whether a retry makes sense, and
    `find`, `expect` and `fetch` may always be repeated.
    """

    takes_files: ClassVar[bool] = False
    """Whether `store_files` is there."""
    keeps_apart: ClassVar[bool] = False
    """Whether what is stored under different names never shares a file."""

    def echo(self, address: Address) -> None:
        """Ask the server of an address for a sign of life, as far as it has one.

        Raises:
            SeriesportError: what keeps it from answering.
        """
        raise SeriesportError("scheme-unsupported", f"there is no server at {scheme(address)}://")

    def find(self, address: Address) -> list[SeriesReference]:
        """The series below an address, in a stable order; empty where there are none."""
        ...

    def left_out(self) -> list[LeftOut]:
        """Give what the last `find` met below its address and could not list."""
        return []

    def find_files(self, address: Address) -> SeriesReference:
        """The plain files at an address, as one set.

        Raises:
            SeriesportError: not-found; ambiguous where there are several resources.
        """
        found = [series for series in self.find(address) if series.plain]
        if len(found) == 1:
            return found[0]
        if found:
            what = f"{len(found)} sets of files are there; name the resource in the address"
            raise SeriesportError("ambiguous", what)
        raise SeriesportError("not-found", "there are no files other than DICOM")

    def expect(self, series: SeriesReference) -> dict[str, Expected]:
        """The instances that the complete series has, by what the source lists them as."""
        ...

    def uids(self, series: SeriesReference) -> set[str]:
        """The SOP Instance UIDs, or names of plain files, that the source has of a series."""
        return set(self.expect(series))

    def fetch(
        self,
        series: SeriesReference,
        expected: Mapping[str, Expected],
        have: Collection[str],
        spool: Path,
    ) -> Iterator[Item]:
        """Give the expected instances that are not in `have`, each as soon as it is there.

        `have` holds what the source lists them as. A plain file among the instances of a series
        says that the source has there something else, which was verified and can be passed over.

        A transport that receives over a network writes each instance whole into a file of its
        own below `spool` and names it in `Instance.location`; the caller takes that file over.
        What arrives is given as it came: the caller judges whether it belongs to the series.
        Ends early or raises where the source does; it never invents an end that is none.
        """
        ...

    def store(
        self,
        instances: Sequence[Instance],
        address: Address,
        name: str | None = None,
        announce: Announce = unannounced,
    ) -> Receipt:
        """Bring the instances of one series to an address, and prove it.

        Asks the destination what it has, sends only what is missing, asks again. Storing the
        same instances twice sends nothing the second time. What the destination has with other
        bytes is never replaced (destination-conflict). `name` is the folder that a folder or
        ZIP destination uses for the series; without it, one that holds the series already or
        the next free `series-001`. See `folder_of` for one that holds it under another name.
        `announce` is told what is missing before anything is sent.

        Refused instances stand in the receipt; an error is raised only where nothing can go on.
        """
        ...

    def store_files(
        self,
        files: Sequence[PlainFile],
        address: Address,
        resource: str,
        series: SeriesReference,
        name: str | None = None,
        announce: Announce = unannounced,
    ) -> Receipt:
        """Bring plain files to an address, by the rules of `store`, and prove it.

        Args:
            files: Of one resource.
            address: As for `store`.
            resource: The resource of the scan that they go to, or the folder.
            series: The series that they were made from, whose scan they belong to.
            name: How the files' names begin, where that says nothing outside of one results
                folder: an XNAT, which knows the series, puts its UID in that place.
            announce: As for `store`.
        """
        del files, address, resource, series, name, announce
        raise SeriesportError("files-unsupported", "this destination takes DICOM alone")

    def remove(self, address: Address, written: Written) -> Removal:
        """Remove what an upload wrote, where its bytes are read back and still are the same.

        What is not there any more counts as neither removed nor left. May be repeated.

        Raises:
            SeriesportError: not-found, where the destination itself is not there;
                removal-unsupported.
        """
        del address, written
        what = "DICOM has no service by which an archive can be told to delete"
        raise SeriesportError("removal-unsupported", what)

    def glance(self, address: Address, name: str) -> list[int]:
        """Give the sizes in bytes of the files that a folder or ZIP has under a name.

        It takes a look at their names and reads none of them. A server cannot be looked at: it
        is asked by `store`.
        """
        del address, name
        return []

    def folder_of(
        self, address: Address, header: Header | SeriesReference, ours: Collection[str]
    ) -> str:
        """Give the name of the folder, just below a folder or ZIP, that holds a series already.

        The first file of each folder tells; it is read once as long as the transport is open.
        Empty where there is none, and of a server, which is asked by `store`.

        Args:
            address: Of the folder or ZIP.
            header: Of an instance of the series, or the series.
            ours: Names of folders that are not looked into, the same in each call.
        """
        del address, header, ours
        return ""

    def twin_of(
        self,
        files: Sequence[PlainFile],
        address: Address,
        resource: str,
        name: str,
        ours: Collection[str],
    ) -> list[str]:
        """Give the keys that a folder has these very files under, byte for byte, each of them.

        Args:
            files: As for `store_files`; their names begin with `name`.
            address: As for `store_files`.
            resource: As for `store_files`.
            name: The key that they have with us.
            ours: Keys that are not looked for, the same in each call.
        """
        del files, address, resource, name, ours
        return []

    def close(self) -> None:
        """Release connections. Safe to call twice."""
        ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
