"""Bytes of image files, plain or compressed by gzip, read and written in pieces."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

import numpy as np
from isal import igzip, igzip_threaded, isal_zlib

from seriesport.errors import unreadable
from seriesport.formats.guard import damaged

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from seriesport.images.image import Array

GZIP_LEVEL = 2
"""Of isal: 2 takes as long as 1, a fifth less than 3, and is within 3 percent of zlib's level 6."""
PIECE = 1 << 20
_TRAILING = 16 * PIECE
"""Most that is read behind an image's last voxel."""
_GZIP_MAGIC = b"\x1f\x8b"
_BAD_GZIP = (
    cast("type[Exception]", igzip.BadGzipFile),
    cast("type[Exception]", isal_zlib.IsalError),
    EOFError,
)


def is_compressed(path: Path) -> bool:
    """Whether a file is a gzip file.

    Raises:
        SeriesportError: file-unreadable.
    """
    try:
        with path.open("rb") as raw:
            return raw.read(2) == _GZIP_MAGIC
    except OSError as error:
        raise unreadable(error) from error


@contextmanager
def reading(path: Path) -> Generator[BinaryIO]:
    """A stream of a file's bytes, expanded where it is a gzip file.

    Raises:
        SeriesportError: file-unreadable; image-invalid where the compression is damaged.
    """
    try:
        compressed = is_compressed(path)
        with path.open("rb") as raw:
            stream = cast("BinaryIO", igzip.open(raw, "rb")) if compressed else raw  # pyright: ignore[reportUnknownMemberType] partly typed
            yield stream
    except _BAD_GZIP:
        raise damaged("the file's compression is damaged, or the file ends too early") from None
    except OSError as error:
        raise unreadable(error) from error


class Readable(Protocol):
    """What gives its next bytes, up to a number of them; none at its end."""

    def read(self, size: int, /) -> bytes:
        """The next bytes."""
        ...


class _Engine(Protocol):
    eof: bool
    unconsumed_tail: bytes

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class Inflated:
    """The bytes that a zlib stream (RFC 1950) expands to, no more at a time than are asked for."""

    def __init__(self, source: Readable, size: int | None = None) -> None:
        """Inflate `size` bytes of a source, or all that it has."""
        self._source = source
        self._left = size
        self._engine = cast("_Engine", isal_zlib.decompressobj())  # pyright: ignore[reportUnknownMemberType] partly typed

    def read(self, size: int, /) -> bytes:
        """The next bytes.

        Raises:
            SeriesportError: image-invalid, where the compression is damaged.
        """
        try:
            while not self._engine.eof:
                data = self._engine.unconsumed_tail or self._more()
                if piece := self._engine.decompress(data, size):
                    return piece
                if not data:
                    raise damaged("the compression ends too early")
        except _BAD_GZIP:
            raise damaged("the compression is damaged") from None
        return b""

    def _more(self) -> bytes:
        size = PIECE if self._left is None else min(PIECE, self._left)
        data = self._source.read(size)
        self._left = None if self._left is None else self._left - len(data)
        return data


def deflated(array: Array) -> Iterator[bytes]:
    """An array's bytes as a zlib stream, in pieces."""
    engine: Any = isal_zlib.compressobj(GZIP_LEVEL)  # pyright: ignore[reportUnknownMemberType] partly typed
    for piece in pieces(array):
        if data := engine.compress(piece):
            yield data
    yield engine.flush()


@contextmanager
def compressing(path: Path) -> Generator[BinaryIO]:
    """A stream that deflates in blocks on two threads; its header carries neither name nor time."""
    stream = igzip_threaded.open(  # pyright: ignore[reportUnknownMemberType] partly typed
        path, "wb", compresslevel=GZIP_LEVEL, threads=2, block_size=PIECE
    )
    with cast("BinaryIO", stream) as out:
        yield out


def exactly(stream: Readable, count: int) -> bytes:
    """The next bytes of a stream, all of them.

    Raises:
        SeriesportError: image-invalid, where there are fewer.
    """
    found = bytearray()
    while len(found) < count and (piece := stream.read(min(PIECE, count - len(found)))):
        found += piece
    if len(found) < count:
        raise damaged("the file ends too early")
    return bytes(found)


def skip(stream: Readable, count: int) -> None:
    """Pass over the next bytes of a stream.

    Raises:
        SeriesportError: image-invalid, where there are fewer.
    """
    while count > 0:
        count -= len(exactly(stream, min(PIECE, count)))


def finish(stream: Readable) -> None:
    """Read on to a stream's end, where its checksum is, unless that is far away.

    Raises:
        SeriesportError: image-invalid, where the compression is damaged.
    """
    for _ in range(_TRAILING // PIECE):
        if not stream.read(PIECE):
            return


def fill(stream: Readable, array: Array) -> None:
    """Read an array's bytes in place.

    Raises:
        SeriesportError: image-invalid, where there are fewer.
    """
    view = array.reshape(-1).view(np.uint8).data
    at = 0
    while at < len(view):
        piece = stream.read(min(PIECE, len(view) - at))
        if not piece:
            raise damaged("the file ends before its last voxel")
        view[at : at + len(piece)] = piece
        at += len(piece)


def pieces(array: Array) -> Iterator[memoryview]:
    """An array's bytes in the order of its axes, without a second array as large as it."""
    if array.flags.c_contiguous:
        view = array.reshape(-1).view(np.uint8).data
        for at in range(0, len(view), PIECE):
            yield view[at : at + PIECE]
    elif array.ndim == 1:
        yield np.ascontiguousarray(array).view(np.uint8).data
    else:
        for part in array:
            yield from pieces(part)
