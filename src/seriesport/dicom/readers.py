"""Ways to read the bytes of a DICOM file or data set: from a file, memory, or a deflated stream."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from typing import BinaryIO

Reader = Callable[[int, int], bytes]
"""Gives up to so many bytes from a position. Positions never go back beyond the last one."""

MAX_INFLATED = 8 << 30
"""Longest data set that a deflated one may become, in bytes."""
_CHUNK = 1 << 16


def invalid(problem: str) -> SeriesportError:
    """The error for a data set that breaks the encoding rules."""
    return SeriesportError("instance-invalid", problem)


def fd_reader(fd: int, offset: int = 0) -> Reader:
    """A reader of an open file, from an offset."""
    pread = os.pread
    return lambda at, count: pread(fd, count, offset + at)


def bytes_reader(data: bytes | memoryview) -> Reader:
    """A reader of bytes in memory."""
    view = memoryview(data)
    return lambda at, count: bytes(view[at : at + count])


def shifted(read: Reader, offset: int) -> Reader:
    """A reader of what another one gives from an offset."""
    return lambda at, count: read(offset + at, count)


class ForwardReader:
    """A reader of a stream that cannot go back, such as one that is being inflated."""

    def __init__(self, next_chunk: Callable[[], bytes]) -> None:
        self._next = next_chunk
        self._kept = b""
        self._at = 0

    def __call__(self, at: int, count: int) -> bytes:
        """Up to `count` bytes from `at`; bytes before `at` are dropped."""
        while self._at + len(self._kept) < at + count:
            if self._at + len(self._kept) <= at:
                self._at += len(self._kept)
                self._kept = b""
            chunk = self._next()
            if not chunk:
                break
            self._kept += chunk
        self._kept = self._kept[max(0, at - self._at) :]
        self._at = max(at, self._at)
        return self._kept[:count]


def stream_reader(stream: BinaryIO) -> Reader:
    """A reader of a binary stream, from where it stands; it need not be seekable."""
    return ForwardReader(lambda: stream.read(_CHUNK))


class Inflater:
    """The bytes of a deflated data set (PS3.5 annex A.5), in bounded pieces.

    Args:
        read: Gives the deflated bytes.
        size: How many there are.
    """

    def __init__(self, read: Reader, size: int) -> None:
        self._read = read
        self._size = size
        self._at = 0
        self._engine = zlib.decompressobj(-zlib.MAX_WBITS)
        self.total = 0

    def __call__(self) -> bytes:
        """The next piece; empty at the end of the stream.

        Raises:
            SeriesportError: instance-truncated, instance-invalid.
        """
        engine = self._engine
        while not engine.eof:
            data = engine.unconsumed_tail
            if not data:
                data = self._read(self._at, min(_CHUNK, self._size - self._at))
                self._at += len(data)
            try:
                piece = engine.decompress(data, _CHUNK)
            except zlib.error:
                raise invalid("the deflated data set cannot be inflated") from None
            if not data and not piece:
                raise SeriesportError("instance-truncated", "the deflated data set has no end")
            self.total += len(piece)
            if self.total > MAX_INFLATED:
                raise invalid(f"the deflated data set has more than {MAX_INFLATED >> 30} GiB")
            if piece:
                return piece
        # A padding byte, and the CRC and length that some writers append as if this were gzip.
        if self._at - len(engine.unused_data) + 9 < self._size:
            raise invalid("bytes follow the deflated data set")
        return b""
