"""What every transport does. A contract stands here once; the implementations do not repeat it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec, Protocol, Self, TypeVar

from seriesport.errors import SeriesportError
from seriesport.model.series import unannounced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from seriesport.model.address import Address
    from seriesport.model.instance import Header, Instance, Item, PlainFile
    from seriesport.model.series import (
        Announce,
        Expected,
        LeftOut,
        Receipt,
        Removal,
        SeriesReference,
        Written,
    )

_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a server was tried for, and how it went."""

    service: str
    """What was tried, such as `C-FIND`."""
    detail: str = ""
    """What the server said of it, in one line."""
    error: SeriesportError | None = None
    """Why it does not work."""
    needed: bool = True
    """False where a source does without it."""

    @classmethod
    def of(cls, service: str, attempt: Callable[[], str], *, needed: bool = True) -> Self:
        """Try something whose result is the detail; what it raises is the error."""
        try:
            return cls(service, attempt(), needed=needed)
        except SeriesportError as error:
            return cls(service, error=error, needed=needed)


class Transport(Protocol):
    """One source or destination. Not thread-safe: a worker opens its own.

    A transport contains no retry, no rate limit and no progress bar: `served` wraps it in them.
    Every failure is a SeriesportError; `transient` tells whether a retry makes sense, and
    `find`, `expect` and `fetch` may always be repeated.
    """

    keeps_apart: bool = False
    """Whether what is stored under different names never shares a file."""

    def persist(
        self, attempt: Callable[_Args, _Result], *args: _Args.args, **named: _Args.kwargs
    ) -> _Result:
        """Make an attempt, which may ask this transport several times, until it succeeds.

        It is repeated as often as the server's settings say, where a retry makes sense.
        """
        return attempt(*args, **named)

    def echo(self, address: Address) -> Iterator[Check]:
        """Try what will be needed of the server of an address, one after the other.

        Nothing is sent or changed there, and no series is asked for. Ends with the first check
        without which the others cannot be made.

        Raises:
            SeriesportError: scheme-unsupported, where there is no server.
        """
        what = "echo asks archives and XNATs; look into a folder or a ZIP with: seriesport ls"
        raise SeriesportError("scheme-unsupported", f"{what} ({address.scheme}:// has no server)")

    def check_destination(self, address: Address) -> None:
        """Check that an address may be stored at, as far as that can be told before anything is.

        Nothing is made, sent or changed there.

        Raises:
            SeriesportError: what would keep every series from being delivered.
        """
        ...

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
        """Bring plain files to an address that takes them, by the rules of `store`, and prove it.

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
