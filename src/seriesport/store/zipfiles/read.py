"""The bytes of one ZIP member: a slice of the file, or inflated as they are read."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from isal import isal_zlib

from seriesport.dicom.readers import ForwardReader, Reader, fd_reader
from seriesport.errors import SeriesportError
from seriesport.model.instance import FileSlice
from seriesport.store.digest import crc32
from seriesport.store.files import COPY_CHUNK
from seriesport.store.zipfiles.records import STORED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from _typeshed import WriteableBuffer

    from seriesport.model.instance import Payload
    from seriesport.store.zipfiles.safe import ZipMember

_CHUNK = 1 << 16
_INFLATE_ERROR = cast("type[Exception]", isal_zlib.IsalError)


class _Engine(Protocol):
    """The part of a zlib decompressor that is used here."""

    eof: bool
    unconsumed_tail: bytes
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Inflater:
    """The bytes of a deflated member in pieces. Neither its size nor its CRC is believed."""

    def __init__(self, fd: int, member: ZipMember) -> None:
        self._fd = fd
        self._member = member
        make = cast("Callable[[int], _Engine]", isal_zlib.decompressobj)  # pyright: ignore[reportUnknownMemberType] - its stub leaves zdict untyped
        self._engine = make(-isal_zlib.MAX_WBITS)
        self._at = 0
        self._total = 0
        self._crc = 0

    def __call__(self) -> bytes:
        """The next piece; empty at the end.

        Raises:
            SeriesportError: zip-invalid, where the member is damaged; zip-bomb, where it has
                more bytes than the directory says.
        """
        while not self._engine.eof:
            data = self._input()
            try:
                piece = self._engine.decompress(data, _CHUNK)
            except _INFLATE_ERROR:
                raise self._damaged("cannot be inflated") from None
            if piece:
                return self._counted(piece)
            if not data:
                raise self._damaged("ends too early")
        if self._total != self._member.size or self._crc != self._member.crc32:
            raise self._damaged("has not the CRC or the size that the directory says")
        return b""

    def _input(self) -> bytes:
        data = self._engine.unconsumed_tail
        if not data:
            count = min(_CHUNK, self._member.compressed - self._at)
            data = os.pread(self._fd, count, self._member.data_offset + self._at)
            self._at += len(data)
        return data

    def _counted(self, piece: bytes) -> bytes:
        self._total += len(piece)
        self._crc = crc32(piece, self._crc)
        if self._total > self._member.size:
            problem = f"member {self._member.number} has more bytes than the directory says"
            raise SeriesportError("zip-bomb", problem)
        if self._total == self._member.size and self._crc != self._member.crc32:
            raise self._damaged("has not the CRC that the directory says")
        return piece

    def _damaged(self, problem: str) -> SeriesportError:
        return SeriesportError("zip-invalid", f"member {self._member.number} {problem}")


class _InflatingStream(io.RawIOBase):
    """A stream of a deflated member's bytes from `skip` on."""

    def __init__(self, path: Path, member: ZipMember, skip: int) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._next = _Inflater(self._fd, member)
        self._left = skip
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        while not self._piece:
            piece = self._next()
            if not piece:
                return 0
            skipped = min(self._left, len(piece))
            self._left -= skipped
            self._piece = memoryview(piece)[skipped:]
        view = memoryview(buffer).cast("B")
        count = min(len(view), len(self._piece))
        view[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()


@dataclass(frozen=True, slots=True)
class DeflatedSlice:
    """A data set in a deflated member, behind its file meta information."""

    path: Path
    member: ZipMember
    offset: int
    """Of the data set's first byte in the expanded member."""

    @property
    def size(self) -> int:
        """Length of the data set in bytes."""
        return self.member.size - self.offset

    def open(self) -> BinaryIO:
        """Give a stream that inflates as it is read; its end is checked like a whole member's."""
        stream = _InflatingStream(self.path, self.member, self.offset)
        return cast("BinaryIO", io.BufferedReader(stream, _CHUNK))


def member_payload(path: Path, member: ZipMember, offset: int) -> Payload:
    """The data set that begins at an offset in a member."""
    if member.method == STORED:
        return FileSlice(path, member.data_offset + offset, member.size - offset)
    return DeflatedSlice(path, member, offset)


def member_reader(fd: int, member: ZipMember) -> Reader:
    """A reader of a member's bytes, in an open ZIP."""
    if member.method == STORED:
        return fd_reader(fd, member.data_offset)
    return ForwardReader(_Inflater(fd, member))


def check_stored(fd: int, member: ZipMember) -> None:
    """Compare a stored member with its CRC; a deflated one is compared whenever it is read.

    Raises:
        SeriesportError: zip-invalid.
    """
    if member.method != STORED:
        return
    crc, at = 0, 0
    while at < member.size:
        data = os.pread(fd, min(COPY_CHUNK, member.size - at), member.data_offset + at)
        if not data:
            break
        crc = crc32(data, crc)
        at += len(data)
    if at != member.size or crc != member.crc32:
        problem = f"member {member.number} has not the CRC that the directory says"
        raise SeriesportError("zip-invalid", problem)
