"""The ZIP transport: instances in members, read in place and added without touching the others."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from seriesport.dicom.part10 import read_header
from seriesport.errors import SeriesportError, unreadable
from seriesport.model.series import LeftOut, Receipt, Removal, unannounced
from seriesport.store.digest import digest_payload
from seriesport.store.files import PART_SUFFIX, check_writable, locked
from seriesport.store.zipfiles.append import append
from seriesport.store.zipfiles.leave_out import without
from seriesport.store.zipfiles.read import check_stored, member_payload, member_reader
from seriesport.store.zipfiles.safe import Directory, ZipMember, read_directory
from seriesport.transports import plainfiles
from seriesport.transports.contract import Transport
from seriesport.transports.listing import Listed, Listing, SeriesKey, key_of
from seriesport.transports.placing import check_name, choose_folder, is_name, place
from seriesport.transports.zip.selection import is_glob, select

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence

    from seriesport.config.settings import Settings
    from seriesport.model.address import Address
    from seriesport.model.instance import Header, Instance, Item, Payload
    from seriesport.model.series import Announce, Expected, SeriesReference, Written
    from seriesport.transports.zip.address import ZipAddress

_State = tuple[int, int, int, int]


class ZipTransport(Transport):
    """Series in the members of a ZIP, recognised by content; ZIPs within it are not opened.

    The whole directory is checked before any member is read, see `zipfiles.safe.read_directory`.
    Writing adds members to a copy beside, which then takes the ZIP's name: old members keep
    their bytes, and whatever happens there is one whole ZIP.
    """

    keeps_apart = True

    def __init__(self, address: Address, settings: Settings) -> None:
        self.address = cast("ZipAddress", address)
        self.settings = settings
        self.passed_over = 0
        """Members of the selection that are no DICOM instances, by the last listing."""
        self.duplicates = 0
        """Members of the series last listed that repeat an instance byte for byte."""
        self._state: dict[Path, _State] = {}
        self._directories: dict[Path, Directory] = {}
        self._listings: dict[tuple[Path, str], Listing] = {}
        self._left_out: list[LeftOut] = []
        self._sizes: dict[Path, dict[str, list[int]]] = {}
        """Of the members by their folder."""
        self._folders: dict[tuple[Path, str], dict[SeriesKey, str]] = {}
        """The folders below one by the series of their first members."""

    def find(self, address: Address) -> list[SeriesReference]:
        """See the protocol."""
        listing = self._list(cast("ZipAddress", address))
        self._left_out = listing.left_out()
        return listing.references(address)

    def left_out(self) -> list[LeftOut]:
        """See the protocol."""
        return self._left_out

    def find_files(self, address: Address) -> SeriesReference:
        """See the protocol."""
        return plainfiles.reference(address, self._plain(cast("ZipAddress", address)))

    def expect(self, series: SeriesReference) -> dict[str, Expected]:
        """See the protocol."""
        if series.plain:
            return plainfiles.expected(self._plain(cast("ZipAddress", series.address)))
        listing = self._list(cast("ZipAddress", series.address))
        expected = listing.expected(series)
        self.duplicates = listing.duplicates
        return expected

    def fetch(
        self,
        series: SeriesReference,
        expected: Mapping[str, Expected],
        have: Collection[str],
        spool: Path,  # noqa: ARG002 - the members are where they are
    ) -> Iterator[Item]:
        """See the protocol. Also zip-invalid, where a member does not have its CRC."""
        address = cast("ZipAddress", series.address)
        if series.plain:
            yield from plainfiles.missing(self._plain(address), expected, have)
            return
        listed = self._list(address).whole(series)
        members = {member.number: member for member in self._directories[address.path].members}
        with _opened(address.path) as fd:
            for uid in expected:
                if uid in listed and uid not in have:
                    if _state(fd) != self._state[address.path]:
                        raise SeriesportError("source-changed", "the ZIP changed while it was read")
                    check_stored(fd, members[listed[uid].number])
                    yield listed[uid].instance

    def check_destination(self, address: Address) -> None:
        """See the protocol: a ZIP that can be read, in a folder that may be written to."""
        path = Path(os.path.realpath(cast("ZipAddress", address).path))
        check_writable(path.parent)
        if path.exists():
            with _opened(path) as fd:
                self._read_directory(path, fd)

    def store(
        self,
        instances: Sequence[Instance],
        address: Address,
        name: str | None = None,
        announce: Announce = unannounced,
    ) -> Receipt:
        """See the protocol."""
        target = cast("ZipAddress", address)
        path = Path(os.path.realpath(target.path))
        with locked(path.with_name(f".{path.name}.lock{PART_SUFFIX}")):
            directory, listing = self._present(path)
            names = [member.name for member in directory.members] if directory else []
            folder = _folder(target, names, listing, instances, name)
            present = [
                one
                for series in listing.series.values()
                for one in series
                if one.name.startswith(folder)
            ]
            taken = {n.removeprefix(folder) for n in names if n.startswith(folder)}
            placement = place(instances, present, taken)
            if placement.missing:
                announce([one.uid for _, _, one in placement.missing])
                additions = [(folder + file, instance) for _, file, instance in placement.missing]
                written = append(path, directory, additions)
                for (index, _, _), entry in zip(placement.missing, written, strict=True):
                    placement.entries[index] = entry
        return Receipt(tuple(entry for entry in placement.entries if entry is not None))

    def remove(self, address: Address, written: Written) -> Removal:
        """See the protocol. A copy without the members takes the ZIP's name.

        A ZIP that held nothing else goes as a whole.

        Raises:
            SeriesportError: not-found, file-unreadable, file-unwritable, and what `store` raises
                of a damaged ZIP.
        """
        target = cast("ZipAddress", address)
        path = Path(os.path.realpath(target.path))
        below = f"{target.selection.rstrip('/')}/" if target.selection else ""
        with locked(path.with_name(f".{path.name}.lock{PART_SUFFIX}")), _opened(path) as fd:
            self._read_directory(path, fd)
            directory = self._directories[path]
            folder = f"{below}{written.name}/"
            ours = [one for one in directory.members if one.name.startswith(folder)]
            gone = [one for one in ours if _has_bytes(path, fd, one, written.sha256)]
            if gone:
                without(path, directory, gone)
        return Removal(len(gone), sum(not one.is_folder for one in ours) - len(gone))

    def glance(self, address: Address, name: str) -> list[int]:
        """See the protocol."""
        target = cast("ZipAddress", address)
        path = Path(os.path.realpath(target.path))
        with _opened(path) as fd:
            self._read_directory(path, fd)
        if path not in self._sizes:
            sizes: dict[str, list[int]] = {}
            for member in self._directories[path].members:
                sizes.setdefault(member.name.rpartition("/")[0], []).append(member.size)
            self._sizes[path] = sizes
        below = f"{target.selection}/" if target.selection else ""
        return self._sizes[path].get(below + name, [])

    def folder_of(
        self, address: Address, header: Header | SeriesReference, ours: Collection[str]
    ) -> str:
        """See the protocol."""
        target = cast("ZipAddress", address)
        path = Path(os.path.realpath(target.path))
        below = f"{target.selection}/" if target.selection else ""
        with _opened(path) as fd:
            self._read_directory(path, fd)
            if (path, below) not in self._folders:
                members = self._directories[path].members
                self._folders[path, below] = _folders(path, fd, members, below, ours)
        return self._folders[path, below].get(key_of(header), "")

    def close(self) -> None:
        """See the protocol."""
        self._forget()

    def _present(self, path: Path) -> tuple[Directory | None, Listing]:
        """What a destination has; nothing where there is no file yet."""
        if not path.exists():
            return None, Listing("member")
        with _opened(path) as fd:
            self._read_directory(path, fd)
            listing = self._listing(path, "", fd)
        return self._directories[path], listing

    def _list(self, address: ZipAddress) -> Listing:
        with _opened(address.path) as fd:
            self._read_directory(address.path, fd)
            listing = self._listing(address.path, address.selection, fd)
        self.passed_over = listing.passed_over
        return listing

    def _plain(self, address: ZipAddress) -> dict[str, Payload]:
        """The selected members by name, checked."""
        with _opened(address.path) as fd:
            self._read_directory(address.path, fd)
            members = _selected(self._directories[address.path], address.selection)
            for member in members:
                member.require_readable()
                check_stored(fd, member)
        return {member.name: member_payload(address.path, member, 0) for member in members}

    def _read_directory(self, path: Path, fd: int) -> None:
        """Read and check the directory, unless the file is what it was."""
        state = _state(fd)
        if self._state.get(path) != state:
            self._forget()
            self._directories[path] = read_directory(fd, self.settings.zip_limits)
            self._state[path] = state

    def _listing(self, path: Path, selection: str, fd: int) -> Listing:
        key = (path, selection)
        if key not in self._listings:
            self._listings[key] = _scan(path, fd, self._directories[path], selection)
        return self._listings[key]

    def _forget(self) -> None:
        self._state.clear()
        self._directories.clear()
        self._listings.clear()
        self._sizes.clear()
        self._folders.clear()


@contextmanager
def _opened(path: Path) -> Generator[int]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise SeriesportError("not-found", "the ZIP does not exist") from None
    except OSError as error:
        raise unreadable(error, "the ZIP") from error
    try:
        yield fd
    except OSError as error:
        raise unreadable(error, "the ZIP") from error
    finally:
        os.close(fd)


def _state(fd: int) -> _State:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _scan(path: Path, fd: int, directory: Directory, selection: str) -> Listing:
    """Read the headers of the selected members."""
    listing = Listing("member", total=len(directory.members))
    for member in _selected(directory, selection):
        try:
            listed = _read(path, fd, member)
        except SeriesportError as error:
            if error.code == "zip-bomb":
                raise
            listing.problems[member.number] = error
            continue
        if listed is None:
            listing.passed_over += 1
        else:
            listing.add(listed)
    return listing


def _selected(directory: Directory, selection: str) -> list[ZipMember]:
    members = [member for member in directory.members if not member.is_folder]
    if not selection:
        return members
    chosen = select((member.name for member in members), selection)
    return [member for member in members if member.name in chosen]


def _read(path: Path, fd: int, member: ZipMember) -> Listed | None:
    member.require_readable()
    part10 = read_header(member_reader(fd, member), member.size)
    if part10 is None:
        return None
    payload = member_payload(path, member, part10.data_set_offset)
    return Listed(member.number, member.name, part10.header, part10.transfer_syntax_uid, payload)


def _folders(
    path: Path, fd: int, members: Iterable[ZipMember], below: str, ours: Collection[str]
) -> dict[SeriesKey, str]:
    """Give the folders just below one, other than ours, by the series of their first members."""
    firsts: dict[str, ZipMember] = {}
    for member in sorted(members, key=lambda member: member.name):
        folder, slash, _ = member.name.removeprefix(below).rpartition("/")
        if slash and "/" not in folder and member.name.startswith(below) and not member.is_folder:
            firsts.setdefault(folder, member)
    found: dict[SeriesKey, str] = {}
    for folder, member in firsts.items():
        if folder in ours or not is_name(folder):
            continue
        with suppress(SeriesportError):
            listed = _read(path, fd, member)
            if listed is not None:
                found.setdefault(key_of(listed.header), folder)
    return found


def _has_bytes(path: Path, fd: int, member: ZipMember, sha256: Collection[str]) -> bool:
    """Return True if a member holds an instance whose data set has one of some digests."""
    if member.is_folder:
        return False
    try:
        listed = _read(path, fd, member)
    except SeriesportError:
        return False
    return listed is not None and digest_payload(listed.payload).sha256 in sha256


def _folder(
    address: ZipAddress,
    names: list[str],
    listing: Listing,
    instances: Sequence[Instance],
    name: str | None,
) -> str:
    """The folder for a series in the ZIP, with a `/` at its end, or empty for the root."""
    parts = address.selection.split("/") if address.selection else []
    for part in parts:
        check_name(part)
    if is_glob(address.selection):
        raise SeriesportError("address-invalid", "a pattern cannot say where in a ZIP to write")
    below = "".join(f"{part}/" for part in parts)
    if name is None:
        inside = Listing("member")
        for one in (one for found in listing.series.values() for one in found):
            if one.name.startswith(below):
                inside.add(one)
        folder = choose_folder(instances, inside, names, below)
    else:
        check_name(name)
        folder = below + name
    above = {folder[:i] for i, c in enumerate(folder) if c == "/"} | {folder}
    if above.intersection(names):
        problem = "the ZIP has a member where a folder would have to be"
        raise SeriesportError("destination-conflict", problem)
    return f"{folder}/" if folder else ""
