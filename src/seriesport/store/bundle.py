"""The bundle: a fetched series as one ZIP of stored members, and its manifest beside it."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import threading
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Self, cast

from isal.isal_zlib import crc32_combine

from seriesport.access import make_folder
from seriesport.config.settings import ZipLimits
from seriesport.dicom.part10 import encode_file_meta, load_instance
from seriesport.errors import SeriesportError, unreadable, unwritable
from seriesport.model.instance import FileSlice, PlainFile
from seriesport.store.digest import Digest, chunks, crc32, digest_member
from seriesport.store.files import COPY_CHUNK, copy_range, write_all, write_bytes, writing
from seriesport.store.sealed import DOCUMENT, parse_json, read_sealed, seal
from seriesport.store.zipfiles.records import StoredMember, end_records
from seriesport.store.zipfiles.safe import Directory, name_problem, read_directory
from seriesport.version import __version__

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping
    from pathlib import Path

    from seriesport.model.instance import Instance, Item

__all__ = [
    "Digest",
    "Manifest",
    "Member",
    "check_hash",
    "digest_member",
    "is_bundle",
    "read_bundle",
    "read_files",
    "read_manifest",
    "unpack",
    "verify_bundle",
    "write_bundle",
]

FORMAT = 1
_QUEUED = 8
_LIMITS = ZipLimits()


@dataclass(frozen=True, slots=True)
class Member:
    """One instance in a bundle. It carries no UID of the instance, series or study."""

    name: str
    """Of the ZIP's member; of a plain file its number, since its name may identify."""
    instance_number: int | None
    sop_class_uid: str
    transfer_syntax_uid: str
    size: int
    """Length of the data set in bytes, without file meta information."""
    sha256: str
    """Of the data set, in hexadecimal."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle holds, in the order of its members. It carries no identifier."""

    instances: tuple[Member, ...]
    expected: int
    """How many instances, or files, the source listed."""
    received: int
    """How many of them came, doubles and what is no DICOM included."""
    compared: str
    """What was compared with the source's list: `uids`, `sizes` or `digests`."""
    plain: bool
    """Whether the members are plain files under names of their own."""
    source: str
    """The source's kind, such as `dicom`; never its address."""
    sha256: str
    """Of the bundle file, in hexadecimal."""
    size: int
    """Of the bundle file, in bytes."""
    version: str
    """Of Seriesport."""
    format: int = FORMAT
    remarks: tuple[str, ...] = ()
    """What is odd about the instances, see `remarks`."""

    @classmethod
    def from_json(cls, lines: Iterable[str]) -> Self:
        """Read what `to_json` wrote, without its seal.

        Raises:
            ValueError, KeyError, TypeError: The text is no manifest.
        """
        data = cast("dict[str, Any]", parse_json("".join(lines) + "}"))
        if data["format"] != FORMAT:
            raise ValueError
        data["instances"] = tuple(Member(**row) for row in data["instances"])
        data["remarks"] = tuple(data.get("remarks", ()))
        return cls(**data)

    def to_json(self) -> bytes:
        """The manifest as sealed JSON, a line per number or text."""
        text = json.dumps(asdict(self), indent=1, sort_keys=True).removesuffix("\n}")
        return b"".join(seal([text.encode()], DOCUMENT))


def write_bundle(
    path: Path,
    items: Iterable[Item],
    *,
    source: str,
    digests: Mapping[str, Digest] | None = None,
    expected: int | None = None,
    compared: str = "uids",
    remarks: tuple[str, ...] = (),
) -> Manifest:
    """Write a series as a bundle with its manifest, each whole or not at all.

    The same content gives the same bytes. Memory is bounded, whatever the series' size.

    Args:
        path: The bundle, `KEY.zip`; the manifest becomes `KEY.json` after it.
        items: In any order, all of one kind; they are stored in the order of `Item.order`.
        source: The source's kind: `dicom`, `file`, `zip`, `xnat`.
        digests: Digests that are known already, by `Item.uid`. What is copied is checked
            against them; instances without one are read twice.
        expected: How many instances the source lists, if not as many as are given.
        compared: What was compared with the source's list.
        remarks: What is odd about the instances, for the manifest.

    Raises:
        SeriesportError: source-changed where a data set is not what its digest says,
            file-unreadable, file-unwritable, incomplete where there are no instances,
            name-unsafe where a plain file's name is no path below its resource.
    """
    ordered = sorted(items, key=lambda item: item.order)
    if not ordered:
        raise SeriesportError("incomplete", "there are no instances to bundle")
    rows: list[Member] = []
    entries: list[bytes] = []
    with writing(path, sync_name=False) as stream, _hashed(stream) as sink:
        for number, item in enumerate(ordered, 1):
            digest = (digests or {}).get(item.uid) or digest_member(item)
            member, meta = _member(number, item, digest, sink.position)
            sink.write(member.header + meta)
            _copy(item, digest, sink)
            entries.append(member.entry)
            rows.append(_row(number, item, digest))
        directory = b"".join(entries)
        sink.write(directory + end_records(len(entries), len(directory), sink.position))
    manifest = Manifest(
        tuple(rows),
        len(rows) if expected is None else expected,
        len(rows) if expected is None else expected,
        compared,
        isinstance(ordered[0], PlainFile),
        source,
        sink.sha256.hexdigest(),
        sink.position,
        __version__,
        remarks=remarks,
    )
    write_bytes(manifest_path(path), manifest.to_json())  # which syncs both names
    return manifest


def manifest_path(bundle: Path) -> Path:
    """Where a bundle's manifest lies."""
    return bundle.with_suffix(".json")


def is_bundle(path: Path) -> bool:
    """Return True for a ZIP with a manifest beside it, whole or damaged.

    The JSON beside a ZIP of DICOM that was converted is a BIDS sidecar, which lists no instances.
    """
    if path.suffix != ".zip":
        return False
    try:
        data = json.loads(manifest_path(path).read_bytes())
    except OSError:
        return False
    except (ValueError, RecursionError):
        return True
    return not isinstance(data, dict) or "instances" in data


def read_manifest(bundle: Path) -> Manifest:
    """The manifest of a bundle.

    Raises:
        SeriesportError: bundle-damaged, where there is none or it cannot be read.
    """
    try:
        return read_sealed(manifest_path(bundle), Manifest.from_json)
    except SeriesportError as error:
        what = "is damaged" if error.code == "file-damaged" else "cannot be read"
        raise SeriesportError("bundle-damaged", f"the bundle's manifest {what}") from error


def verify_bundle(path: Path, manifest: Manifest, *, full: bool = True) -> None:
    """Check a bundle against its manifest: by size, and if `full` by the hash of every byte.

    Raises:
        SeriesportError: bundle-damaged.
    """
    try:
        with path.open("rb") as stream:
            if os.fstat(stream.fileno()).st_size != manifest.size:
                raise SeriesportError("bundle-damaged", "the bundle has not its manifest's size")
            if full and _file_sha256(stream) != manifest.sha256:
                raise SeriesportError("bundle-damaged", "the bundle has not its manifest's hash")
    except OSError as error:
        problem = f"the bundle cannot be read: {os.strerror(error.errno or 0)}"
        raise SeriesportError("bundle-damaged", problem) from error


def check_hash(path: Path, sha256: str) -> None:
    """Check that a file has a SHA-256.

    Raises:
        SeriesportError: bundle-damaged.
    """
    try:
        with path.open("rb") as stream:
            if _file_sha256(stream) != sha256:
                raise SeriesportError("bundle-damaged", "the ZIP is not the one that was recorded")
    except OSError as error:
        problem = f"the ZIP cannot be read: {os.strerror(error.errno or 0)}"
        raise SeriesportError("bundle-damaged", problem) from error


def read_bundle(path: Path) -> list[Instance]:
    """The instances of a bundle, in its order; each payload is a slice of the bundle file.

    Raises:
        SeriesportError: bundle-damaged.
    """
    try:
        return [
            load_instance(path, member.data_offset, member.size)
            for member in _directory(path).members
        ]
    except SeriesportError as error:
        problem = f"the bundle cannot be read: {error.message}"
        raise SeriesportError("bundle-damaged", problem) from error


def read_files(path: Path) -> list[PlainFile]:
    """The files of a bundle of plain files, in its order; payloads as by `read_bundle`.

    Raises:
        SeriesportError: bundle-damaged.
    """
    return [
        PlainFile(member.name, FileSlice(path, member.data_offset, member.size))
        for member in _directory(path).members
    ]


def unpack(path: Path, folder: Path) -> list[Path]:
    """Write the members of a bundle into a folder, under their names and in the bundle's order.

    The files are not synced: they are meant for a temporary folder.

    Raises:
        SeriesportError: bundle-damaged, file-unwritable.
    """
    paths: list[Path] = []
    directory = _directory(path)
    try:
        make_folder(folder)
        with path.open("rb") as bundle:
            for member in directory.members:
                paths.append(folder / member.name)
                paths[-1].parent.mkdir(parents=True, exist_ok=True)
                with paths[-1].open("wb") as file:
                    copy_range(bundle.fileno(), member.data_offset, file.fileno(), 0, member.size)
    except EOFError:
        raise SeriesportError("bundle-damaged", "the bundle ends too early") from None
    except OSError as error:
        raise unwritable(error) from error
    return paths


def _directory(path: Path) -> Directory:
    try:
        with path.open("rb") as stream:
            return read_directory(stream.fileno(), _LIMITS)
    except OSError as error:
        raise SeriesportError("bundle-damaged", unreadable(error, "the bundle").message) from error
    except SeriesportError as error:
        raise SeriesportError("bundle-damaged", error.message) from error


def _file_sha256(stream: BinaryIO) -> str:
    sha256 = hashlib.sha256()
    while chunk := stream.read(COPY_CHUNK):
        sha256.update(chunk)
    return sha256.hexdigest()


def _member(number: int, item: Item, digest: Digest, offset: int) -> tuple[StoredMember, bytes]:
    """A member's records and the file meta information that begins it."""
    if isinstance(item, PlainFile):
        if problem := name_problem(item.name):
            raise SeriesportError("name-unsafe", f"the name of file {number} {problem}")
        return StoredMember(item.name, digest.size, digest.crc32, offset), b""
    meta = encode_file_meta(item.header.sop_class_uid, item.uid, item.transfer_syntax_uid)
    crc = crc32_combine(crc32(meta), digest.crc32, digest.size)
    return StoredMember(f"{number:06d}.dcm", len(meta) + digest.size, crc, offset), meta


def _row(number: int, item: Item, digest: Digest) -> Member:
    if isinstance(item, PlainFile):
        return Member(f"{number:06d}", None, "", "", digest.size, digest.sha256)
    return Member(
        f"{number:06d}.dcm",
        item.header.instance_number,
        item.header.sop_class_uid,
        item.transfer_syntax_uid,
        digest.size,
        digest.sha256,
    )


def _copy(item: Item, digest: Digest, sink: _Sink) -> None:
    crc = 0
    for chunk in chunks(item.payload):
        crc = crc32(chunk, crc)
        sink.write(chunk)
    if crc != digest.crc32 or item.payload.size != digest.size:
        raise SeriesportError("source-changed", "a data set changed between two readings")


class _Sink:
    """A file that is written from beginning to end, and hashed in a second thread meanwhile."""

    def __init__(self, stream: BinaryIO) -> None:
        self.position = 0
        self.sha256 = hashlib.sha256()
        self._stream = stream
        self._queue: queue.Queue[bytes] = queue.Queue(_QUEUED)
        self._thread = threading.Thread(target=self._hash, name="bundle-hash", daemon=True)
        self._thread.start()

    def write(self, data: bytes) -> None:
        write_all(self._stream, data)
        self._queue.put(data)
        self.position += len(data)

    def finish(self) -> None:
        self._queue.put(b"")
        self._thread.join()

    def _hash(self) -> None:
        while data := self._queue.get():
            self.sha256.update(data)


@contextmanager
def _hashed(stream: BinaryIO) -> Generator[_Sink]:
    sink = _Sink(stream)
    try:
        yield sink
        os.fsync(stream.fileno())  # the hash goes on meanwhile
    finally:
        sink.finish()
