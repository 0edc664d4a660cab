"""The file transport: a folder searched to its leaves, or one file."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from seriesport.dicom.part10 import encode_file_meta, read_path
from seriesport.errors import SeriesportError, unreadable, unwritable
from seriesport.model.instance import FileSlice
from seriesport.model.series import (
    Harm,
    LeftOut,
    Proof,
    Receipt,
    ReceiptEntry,
    Removal,
    unannounced,
)
from seriesport.store.bundle import is_bundle, read_manifest
from seriesport.store.digest import chunks, digest_member, digest_payload
from seriesport.store.files import (
    PART_SUFFIX,
    check_writable,
    locked,
    sync_folder,
    write_all,
    writing,
)
from seriesport.store.keys import is_key
from seriesport.store.zipfiles.safe import name_problem
from seriesport.transports import plainfiles
from seriesport.transports.contract import Transport
from seriesport.transports.listing import Listed, Listing, key_of, rank
from seriesport.transports.placing import (
    check_folder_name,
    check_name,
    choose_folder,
    is_name,
    place,
)
from seriesport.transports.plainfiles import Twins
from seriesport.transports.zip.address import ZipAddress
from seriesport.transports.zip.transport import ZipTransport

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence

    from seriesport.config.settings import Settings
    from seriesport.dicom.part10 import Part10
    from seriesport.model.address import Address
    from seriesport.model.instance import Header, Instance, Item, Payload, PlainFile
    from seriesport.model.series import Announce, Expected, SeriesReference, Written
    from seriesport.transports.file.address import FileAddress
    from seriesport.transports.listing import SeriesKey


_WRITERS = 4
"""Files that are written at one time: most of the time goes into waiting for the disk."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was read of a file, and the state that it was in."""

    state: tuple[int, int, int, int]
    part10: Part10 | None
    problem: SeriesportError | None = None


class FileTransport(Transport):
    """Series in files below a folder, told apart by series UID and recognised by content.

    Files that are no DICOM instances are passed over and counted, DICOMDIR among them. Links
    to files and folders are followed, each folder once. A file that looks like DICOM and cannot
    be read, or a link that leads nowhere, may be part of any series: `expect` then raises. A
    bundle below the folder is listed by its own address, as `ZipTransport` serves it.
    """

    keeps_apart = True

    def __init__(self, address: Address, settings: Settings) -> None:
        self.address = cast("FileAddress", address)
        self.settings = settings
        self.passed_over = 0
        """Files below the address that are no DICOM instances, by the last listing."""
        self.duplicates = 0
        """Files of the series last listed that repeat an instance byte for byte."""
        self._seen: dict[str, _Seen] = {}
        self._whole: tuple[SeriesReference | None, dict[str, Listed]] = (None, {})
        """The series that was expected last, as it was listed then."""
        self._left_out: list[LeftOut] = []
        self._folders: dict[Path, dict[SeriesKey, list[str]]] = {}
        """The folders below one by the series of their first files."""
        self._twins: dict[Path, Twins] = {}
        self._zips = ZipTransport(address, settings)
        """Reads the bundles below the folder."""

    def find(self, address: Address) -> list[SeriesReference]:
        """See the protocol."""
        listing = self._list(_path(address))
        self._left_out = listing.left_out()
        found = self._find_bundles(listing.bundles)
        if listing.series or not found:
            found += listing.references(address)
        return sorted(found, key=rank)

    def left_out(self) -> list[LeftOut]:
        """See the protocol."""
        return self._left_out

    def find_files(self, address: Address) -> SeriesReference:
        """See the protocol. Of one file, those beside it that may belong to it come too."""
        return plainfiles.reference(address, _plain(_path(address)))

    def expect(self, series: SeriesReference) -> dict[str, Expected]:
        """See the protocol."""
        if isinstance(series.address, ZipAddress):
            return self._zips.expect(series)
        if series.plain:
            return plainfiles.expected(_plain(_path(series.address)))
        listing = self._list(_path(series.address))
        self._whole = series, listing.whole(series)
        expected = listing.expected(series)
        self.duplicates = listing.duplicates
        return expected

    def fetch(
        self,
        series: SeriesReference,
        expected: Mapping[str, Expected],
        have: Collection[str],
        spool: Path,
    ) -> Iterator[Item]:
        """See the protocol."""
        if isinstance(series.address, ZipAddress):
            yield from self._zips.fetch(series, expected, have, spool)
            return
        if series.plain:
            yield from plainfiles.missing(_plain(_path(series.address)), expected, have)
            return
        known, listed = self._whole
        if known != series:
            listed = self._list(_path(series.address)).whole(series)
        for uid in expected:
            if uid in listed and uid not in have:
                yield self._unchanged(listed[uid])

    def check_destination(self, address: Address) -> None:
        """See the protocol: a folder that may be written to, or made under a folder's name."""
        root = _path(address)
        if os.path.lexists(root):
            _check_is_folder(root)
        else:
            check_folder_name(root.name)
        check_writable(root)

    def store(
        self,
        instances: Sequence[Instance],
        address: Address,
        name: str | None = None,
        announce: Announce = unannounced,
    ) -> Receipt:
        """See the protocol."""
        root = _path(address)
        if root.exists():
            _check_is_folder(root)
        if name is not None:
            check_name(name)
            return _receipt(self._fill(root / name, instances, announce))
        if root.is_dir():
            self._list(root)  # headers are read before others have to wait
        with _turn(root):
            folder, held = self._choose(root, instances)
            # Its first instance makes a new folder the series' own, for good.
            first = [] if held else self._fill(folder, instances, announce, most=1)
        entries = self._fill(folder, instances, announce)
        for index, entry in enumerate(first):
            if entry is not None and entry.sent:
                entries[index] = entry
        return _receipt(entries)

    def store_files(
        self,
        files: Sequence[PlainFile],
        address: Address,
        resource: str,
        series: SeriesReference,
        name: str | None = None,
        announce: Announce = unannounced,
    ) -> Receipt:
        """See the protocol. They lie in a folder that is named as the resource.

        Raises:
            SeriesportError: address-invalid, name-unsafe, destination-conflict where a folder's
                name is a file's, file-unwritable, file-unreadable.
        """
        del series, name
        folder = _path(address)
        if resource:
            check_name(resource)
            folder /= resource
        for number, file in enumerate(files, 1):
            if problem := name_problem(file.name):
                raise SeriesportError("name-unsafe", f"the name of file {number} {problem}")
        announce([file.uid for file in files if not os.path.lexists(folder / file.name)])
        with ThreadPoolExecutor(_WRITERS) as pool:
            return Receipt(tuple(pool.map(partial(_store_file, folder), files)))

    def remove(self, address: Address, written: Written) -> Removal:
        """See the protocol. Folders that get empty go too, but for that of the address.

        Raises:
            SeriesportError: not-found, address-invalid, file-unreadable, file-unwritable.
        """
        root = _path(address)
        if not root.is_dir():
            raise SeriesportError("not-found", "the destination folder is not there")
        below = written.name if written.resource is None else written.resource
        if below:
            check_name(below)
        folder = root / below
        if not folder.is_dir():
            return Removal(0, 0)
        try:
            with _turn(folder):
                paths = _places(folder, written)
                gone = [path for path in paths if _remove_file(path, written)]
                left = sum(os.path.lexists(path) for path in paths)
        except OSError as error:
            raise unwritable(error) from error
        for parent in {*(path.parent for path in paths), folder} - {root}:
            with suppress(OSError):  # it is not empty, or gone
                parent.rmdir()
        return Removal(len(gone), left)

    def glance(self, address: Address, name: str) -> list[int]:
        """See the protocol."""
        path = _path(address) / name
        if path.is_dir():
            return [state[2] for _, state, error in _files(path) if error is None]
        return [path.stat().st_size] if path.is_file() else []

    def folder_of(
        self, address: Address, header: Header | SeriesReference, ours: Collection[str]
    ) -> str:
        """See the protocol. A folder that holds other series, too, is none."""
        root, series = _path(address), key_of(header)
        if root not in self._folders:
            self._folders[root] = self._first_of_each(root, ours)
        for name in self._folders[root].get(series, []):
            if self._list(root / name).series.keys() == {series}:
                return name
        return ""

    def twin_of(
        self,
        files: Sequence[PlainFile],
        address: Address,
        resource: str,
        name: str,
        ours: Collection[str],
    ) -> list[str]:
        """See the protocol."""
        folder = _path(address) / resource
        if folder not in self._twins:
            self._twins[folder] = Twins(folder, ours)
        return self._twins[folder].keys(files, name)

    def close(self) -> None:
        """See the protocol."""
        self._seen.clear()
        self._whole = (None, {})
        self._folders.clear()
        self._twins.clear()
        self._zips.close()

    def _find_bundles(self, paths: Sequence[Path]) -> list[SeriesReference]:
        """Find the series in bundles; a damaged one is left out by its key."""
        found: list[SeriesReference] = []
        for number, path in enumerate(paths, 1):
            try:
                found += self._find_bundled(path)
            except SeriesportError as error:
                name = path.stem if is_key(path.stem) else f"{number} of {len(paths)}"
                what = SeriesportError(error.code, f"bundle {name}: {error.message}")
                self._left_out.append(LeftOut(what, Harm.ANY))
        return found

    def _find_bundled(self, path: Path) -> list[SeriesReference]:
        address = ZipAddress(path)
        if read_manifest(path).plain:
            return [self._zips.find_files(address)]
        return self._zips.find(address)

    def _choose(self, root: Path, instances: Sequence[Instance]) -> tuple[Path, bool]:
        """Choose the series' folder; tell whether it holds some of it already."""
        listing = self._list(root)
        taken = {entry.name for entry in root.iterdir() if not _is_empty(entry)}
        keys = {key_of(instance.header) for instance in instances}
        return root / choose_folder(instances, listing, taken), not keys.isdisjoint(listing.series)

    def _fill(
        self,
        folder: Path,
        instances: Sequence[Instance],
        announce: Announce,
        most: int | None = None,
    ) -> list[ReceiptEntry | None]:
        """Write what a folder lacks of a series, at most so many; None for what is still to come.

        Raises:
            SeriesportError: destination-conflict where the folder holds another series.
        """
        with _turn(folder):
            listing = self._list(folder)
            if not listing.series.keys() <= {key_of(instance.header) for instance in instances}:
                raise SeriesportError("destination-conflict", "the folder holds another series")
            present = [one for series in listing.series.values() for one in series]
            placement = place(instances, present, {entry.name for entry in folder.iterdir()})
            missing = placement.missing[:most]
            announce([one.uid for _, _, one in missing])
            with ThreadPoolExecutor(_WRITERS) as pool:
                paths = [folder / file for _, file, _ in missing]
                written = pool.map(write_instance, paths, [one for _, _, one in missing])
                for (index, _, _), entry in zip(missing, written, strict=True):
                    placement.entries[index] = entry
            sync_folder(folder)
        return placement.entries

    def _first_of_each(self, root: Path, ours: Collection[str]) -> dict[SeriesKey, list[str]]:
        """Give the folders just below one, other than ours, by the series of their first files."""
        with os.scandir(root) as scan:
            folders = sorted(e.name for e in scan if e.name not in ours and e.is_dir())
        found: dict[SeriesKey, list[str]] = {}
        for name in filter(is_name, folders):
            path, state, error = next(_entries(f"{root}/{name}", [], set()), ("", _UNKNOWN, None))
            seen = self._look(path, state) if path and error is None else None
            if seen is not None and seen.part10 is not None:
                found.setdefault(key_of(seen.part10.header), []).append(name)
        return found

    def _list(self, root: Path) -> Listing:
        """Look at every file; only what is new or changed since the last look is read."""
        listing = Listing("file")
        cut = len(str(root).rstrip("/")) + 1
        for path, state, error in _files(root):
            listing.total += 1
            seen = _Seen(state, None, error) if error else self._look(path, state)
            if seen.problem is not None:
                listing.problems[listing.total] = seen.problem
            elif seen.part10 is None:
                listing.passed_over += 1
                if path.endswith(".zip") and path != str(root) and is_bundle(Path(path)):
                    listing.bundles.append(Path(path))
            else:
                listing.add(_listed(listing.total, path, path[cut:], seen.part10))
        self.passed_over = listing.passed_over
        return listing

    def _look(self, path: str, state: tuple[int, int, int, int]) -> _Seen:
        seen = self._seen.get(path)
        if seen is not None and seen.state == state:
            return seen
        try:
            read = read_path(path)
        except SeriesportError as error:
            seen = _Seen(state, None, error)
        else:
            seen = _Seen(state, None) if read is None else _Seen(_state(read[1]), read[0])
        self._seen[path] = seen
        return seen

    def _unchanged(self, listed: Listed) -> Instance:
        """The instance, if its file still is what was listed."""
        path = str(cast("FileSlice", listed.payload).path)
        try:
            same = _state(os.stat(path)) == self._seen[path].state  # noqa: PTH116 - it is text
        except OSError as error:
            place = f"file {listed.number}, in order of names"
            raise SeriesportError("source-changed", f"{place}, is gone") from error
        if not same:
            place = f"file {listed.number}, in order of names"
            raise SeriesportError("source-changed", f"{place}, changed while it was read")
        return listed.instance


def _check_is_folder(path: Path) -> None:
    if not path.is_dir():
        raise SeriesportError("destination-conflict", "the destination folder is a file")


def _path(address: Address) -> Path:
    return cast("FileAddress", address).path


@contextmanager
def _turn(folder: Path) -> Generator[None]:
    """Let no other process write into a folder, which is made."""
    with locked(folder / f".lock{PART_SUFFIX}"):
        yield


def _is_empty(path: Path) -> bool:
    """Return True for a folder that was made, and left before a file was in it."""
    return path.is_dir() and all(one.name.endswith(PART_SUFFIX) for one in path.iterdir())


def _receipt(entries: Iterable[ReceiptEntry | None]) -> Receipt:
    return Receipt(tuple(entry for entry in entries if entry is not None))


def _state(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _listed(number: int, path: str, name: str, part10: Part10) -> Listed:
    payload = FileSlice(path, part10.data_set_offset, part10.size)
    return Listed(number, name, part10.header, part10.transfer_syntax_uid, payload)


_Found = tuple[str, tuple[int, int, int, int], SeriesportError | None]
_UNKNOWN = (0, 0, 0, 0)


def _files(root: Path) -> Iterator[_Found]:
    """Every regular file below a folder, in order of names, each folder once.

    Raises:
        SeriesportError: not-found, file-unreadable.
    """
    try:
        status = root.stat()
    except FileNotFoundError:
        raise SeriesportError("not-found", "the file or folder does not exist") from None
    except OSError as error:
        raise unreadable(error) from error
    if not root.is_dir():
        yield str(root), _state(status), None
        return
    visited = {(status.st_dev, status.st_ino)}
    waiting = [str(root)]
    while waiting:
        folder = waiting.pop()
        folders: list[str] = []
        yield from _entries(folder, folders, visited)
        waiting += reversed(folders)


def _entries(folder: str, folders: list[str], visited: set[tuple[int, int]]) -> Iterator[_Found]:
    try:
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        yield folder, _UNKNOWN, unreadable(error, "a folder")
        return
    for entry in entries:
        try:
            status = entry.stat()
            if entry.is_dir():
                if (status.st_dev, status.st_ino) not in visited:
                    visited.add((status.st_dev, status.st_ino))
                    folders.append(entry.path)
            elif entry.is_file() and not entry.name.endswith(PART_SUFFIX):
                yield entry.path, _state(status), None
        except OSError as error:
            yield entry.path, _UNKNOWN, unreadable(error)


def write_instance(path: Path, instance: Instance) -> ReceiptEntry:
    """Write one instance into a new file, whole or not at all, and read it back.

    The caller syncs the folder.

    Raises:
        SeriesportError: file-unwritable, file-unreadable, source-changed.
    """
    meta = encode_file_meta(
        instance.header.sop_class_uid, instance.uid, instance.transfer_syntax_uid
    )
    sha256 = hashlib.sha256()
    try:
        with writing(path, replace=False, sync_name=False) as stream:
            write_all(stream, meta)
            for chunk in chunks(instance.payload):
                sha256.update(chunk)
                write_all(stream, chunk)
    except SeriesportError as error:
        if error.code != "destination-conflict":
            raise
        return ReceiptEntry(instance.uid, sent=False, proof=None, code=error.code)
    written = FileSlice(path, len(meta), instance.payload.size)
    if digest_member(replace(instance, payload=written)).sha256 == sha256.hexdigest():
        return ReceiptEntry(instance.uid, sent=True, proof=Proof.DIGEST)
    return ReceiptEntry(
        instance.uid,
        sent=True,
        proof=None,
        code="store-unverified",
        detail="the file reads back with other bytes",
    )


def _store_file(folder: Path, file: PlainFile) -> ReceiptEntry:
    """Write one plain file, whole or not at all, unless it is there; read it back."""
    path = folder / file.name
    wanted = digest_member(file).sha256
    sent = False
    if not os.path.lexists(path):
        try:
            with writing(path, replace=False) as stream:
                for chunk in chunks(file.payload):
                    write_all(stream, chunk)
            sent = True
        except SeriesportError as error:
            if error.code != "destination-conflict":
                raise
    if path.is_file():
        there = FileSlice(path, 0, path.stat().st_size)
        if there.size == file.payload.size:
            found = digest_member(replace(file, payload=there)).sha256
            if found == wanted:
                return ReceiptEntry(file.uid, sent=sent, proof=Proof.DIGEST)
    code = "store-unverified" if sent else "destination-conflict"
    detail = "the file reads back with other bytes" if sent else "another file has its name"
    return ReceiptEntry(file.uid, sent=sent, proof=None, code=code, detail=detail)


def _plain(path: Path) -> dict[str, Payload]:
    """The files of a folder to its leaves, or a file and what belongs to it, by relative path."""
    try:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.is_file())
        else:
            path.stat()
            names = (p.name for p in path.parent.iterdir() if p.is_file())
            found = [path.with_name(name) for name in sorted(plainfiles.beside(path.name, names))]
        folder = path if path.is_dir() else path.parent
        return {p.relative_to(folder).as_posix(): FileSlice(p, 0, p.stat().st_size) for p in found}
    except OSError as error:
        raise unreadable(error, "the source") from error


def _places(folder: Path, written: Written) -> list[Path]:
    """Where in a folder what was written may be."""
    if written.resource is None:
        return sorted(p for p in folder.iterdir() if not p.name.endswith(PART_SUFFIX))
    return [folder / name for name in written.files if not name_problem(name)]


def _remove_file(path: Path, written: Written) -> bool:
    """Remove a file if it has bytes that were written; return True if so."""
    if path.is_symlink() or not path.is_file():
        return False
    before = _state(path.stat())
    payload: Payload = FileSlice(path, 0, before[2])
    if written.resource is None:
        read = read_path(str(path))
        if read is None:
            return False
        payload = FileSlice(path, read[0].data_set_offset, read[0].size)
    if digest_payload(payload).sha256 not in written.sha256 or _state(path.lstat()) != before:
        return False
    path.unlink()
    return True
