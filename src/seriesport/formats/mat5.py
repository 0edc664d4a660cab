"""Variables in MATLAB's MAT-file level 5 (the MAT-File Format document, MathWorks, chapter 1).

Numbers and text alone; what else a file holds is passed over. Sizes are checked against the file,
or against the compressed bytes, before anything is allocated. Not SciPy's reader: it would be four
fifths of what an installation weighs, and allocates what a header asks for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from seriesport.errors import SeriesportError
from seriesport.formats.guard import damaged, unfit
from seriesport.formats.streams import Inflated, exactly, fill, finish, skip
from seriesport.images.room import check_room, room

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from seriesport.formats.streams import Readable
    from seriesport.images.image import Array

_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED, _UTF16 = 1, 5, 6, 14, 15, 17
_TYPES = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
    16: "u1",
    17: "u2",
    18: "u4",
}
"""Of the values on disk."""
_CLASSES = {
    4: "u2",
    6: "f8",
    7: "f4",
    8: "i1",
    9: "u1",
    10: "i2",
    11: "u2",
    12: "i4",
    13: "u4",
    14: "i8",
    15: "u8",
}
"""Of the values in MATLAB; 4 is text."""
TEXT = 4
_CODES = {
    "f8": 9,
    "f4": 7,
    "i1": 1,
    "u1": 2,
    "i2": 3,
    "u2": 4,
    "i4": 5,
    "u4": 6,
    "i8": 12,
    "u8": 13,
}
_CLASS_CODES = {dtype: code for code, dtype in _CLASSES.items() if code != TEXT}
_COMPLEX = 0x0800
_HEADER = 128
_MAX_VARIABLES = 1000
_MAX_BYTES = (1 << 31) - 1
"""Of one variable: what MATLAB reads of this level."""
_WORD = 8


@dataclass(frozen=True, slots=True)
class Variable:
    """What a file says of a variable of numbers or text, and where its values are."""

    name: str
    kind: int
    """Its class in MATLAB."""
    shape: tuple[int, ...]
    """As in MATLAB, where the first index runs fastest."""
    complex: bool
    offset: int
    """Of its element in the file."""
    stored: int
    """Bytes that the element has in the file."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its values in MATLAB."""
        return np.dtype(_CLASSES[self.kind])

    @property
    def size(self) -> int:
        """Bytes of its values in memory."""
        return math.prod(self.shape) * self.dtype.itemsize


def variables(stream: BinaryIO, length: int) -> tuple[dict[str, Variable], str]:
    """What a file of some length holds, and its byte order, "little" or "big".

    Raises:
        SeriesportError: image-invalid; image-unsupported for level 7.3, which is HDF5.
    """
    header = exactly(stream, _HEADER)
    if b"MATLAB 7.3" in header or header.startswith(b"\x89HDF"):
        raise SeriesportError(
            "image-unsupported", "MATLAB 7.3 files are HDF5; save with the option -v7"
        )
    order = {b"IM": "little", b"MI": "big"}.get(header[126:128])
    if order is None:
        raise damaged("the file is no MAT-file of level 5")
    found: dict[str, Variable] = {}
    at = _HEADER
    for _ in range(_MAX_VARIABLES):
        if at + _WORD > length:
            break
        stream.seek(at)
        code, size, _ = _tag(stream, order)
        if size > length - at - _WORD:
            raise damaged("a variable ends behind the file's end")
        if code in (_MATRIX, _COMPRESSED):
            variable = _variable(_inside(stream, code, size, order), order, at, size)
            if variable is not None:
                found[variable.name] = variable
        at += _WORD + size
    return found, order


def load(
    stream: BinaryIO, variable: Variable, order: str, opts: Mapping[str, Any]
) -> Iterator[tuple[Array, tuple[int, ...]]]:
    """The values of a variable a plane at a time: the array (column, row), and which plane.

    Raises:
        SeriesportError: image-invalid, image-too-large.
    """
    check_room(variable.size, variable.stored, opts)
    stream.seek(variable.offset)
    code, size, _ = _tag(stream, order)
    source = _inside(stream, code, size, order)
    for _ in range(3):
        _element(source, order)
    kind, count, small = _tag(source, order)
    stored = np.dtype(_TYPES.get(kind, "V1")).newbyteorder("<" if order == "little" else ">")
    if stored.kind == "V" or count != math.prod(variable.shape) * stored.itemsize:
        raise damaged("a variable's values are not as many as its dimensions ask for")
    planes = variable.shape[:1:-1]
    plane = room(variable.shape[1::-1], stored)
    for index in np.ndindex(planes):
        if small:
            plane = np.frombuffer(small, stored, plane.size).reshape(plane.shape)
        else:
            fill(source, plane)
        with np.errstate(all="ignore"):
            values = plane.astype(variable.dtype)
        yield values, index
    if code == _COMPRESSED:
        finish(source)


def _variable(source: Readable, order: str, offset: int, stored: int) -> Variable | None:
    """What stands before a variable's values; None for what is neither numbers nor text."""
    flags = _words(_element(source, order, 8), "u4", order)
    kind = int(flags[0]) & 0xFF if len(flags) == 2 else 0
    if kind not in _CLASSES:
        return None
    dims = _words(_element(source, order, 256), "i4", order)
    name = _element(source, order, 256).decode("latin-1")
    if len(dims) < 2 or (dims < 0).any():
        raise damaged("a variable has fewer than two dimensions, or negative ones")
    shape = tuple(int(n) for n in dims)
    return Variable(name, kind, shape, bool(int(flags[0]) & _COMPLEX), offset, stored)


def _words(data: bytes, dtype: str, order: str) -> Array:
    """Whole words of four bytes; what is left over counts for nothing."""
    sign = "<" if order == "little" else ">"
    return np.frombuffer(data[: len(data) // 4 * 4], sign + dtype)


def _inside(stream: Readable, code: int, size: int, order: str) -> Readable:
    """What an element holds, expanded, behind the tag of its matrix."""
    if code == _MATRIX:
        return stream
    source = Inflated(stream, size)
    if _tag(source, order)[0] != _MATRIX:
        raise damaged("a compressed element holds no variable")
    return source


def _tag(source: Readable, order: Any) -> tuple[int, int, bytes]:
    """Type and length of an element, and its data where they stand in the tag itself."""
    data = exactly(source, _WORD)
    first = int.from_bytes(data[:4], order)
    if first >> 16:
        return first & 0xFFFF, min(first >> 16, 4), data[4:]
    return first, int.from_bytes(data[4:], order), b""


def _element(source: Readable, order: str, most: int = 256) -> bytes:
    """The data of a small element."""
    _, size, data = _tag(source, order)
    if data:
        return data[:size]
    if size > most:
        raise damaged("the beginning of a variable is too long")
    data = exactly(source, size)
    skip(source, -size % _WORD)
    return data


# Writing


def header() -> bytes:
    """The beginning of a file, little-endian; without the date that MATLAB writes there."""
    text = b"MATLAB 5.0 MAT-file, Platform: any, written by Seriesport"
    return text.ljust(116) + bytes(8) + b"\x00\x01IM"


def prefix(name: str, dtype: np.dtype[Any], shape: Sequence[int], kind: int | None = None) -> bytes:
    """What stands before the values of a variable, which follow in MATLAB's order, padded to 8.

    Raises:
        SeriesportError: format-unfit.
    """
    code = _CODES.get(dtype.str[1:])
    if code is None:
        raise unfit(f"MATLAB has no values of type {dtype}")
    size = math.prod(shape) * dtype.itemsize
    flags = np.array([kind or _CLASS_CODES[dtype.str[1:]], 0], "<u4").tobytes()
    dims = np.array(shape, "<i8")
    if size > _MAX_BYTES - 1024 or (dims > _MAX_BYTES).any():
        raise unfit("MAT-files of level 5 hold variables of less than 2 GB; choose npz or nifti")
    parts = _packed(_UINT32, flags) + _packed(_INT32, dims.astype("<i4").tobytes())
    parts += _packed(_INT8, name.encode("ascii")) + _tag_of(code, size)
    return _tag_of(_MATRIX, len(parts) + size + padding(size)) + parts


def padding(size: int) -> int:
    """Bytes to write behind values of a size."""
    return -size % _WORD


def text(name: str, value: str) -> bytes:
    """A whole variable of text."""
    data = value.encode("utf-16-le")
    start = prefix(name, np.dtype("<u2"), (1, len(data) // 2), TEXT)
    return start + data + bytes(padding(len(data)))


def numbers(name: str, values: Array) -> bytes:
    """A whole variable of a few float64 in one or two dimensions."""
    table = np.atleast_2d(np.asarray(values, "<f8"))
    return prefix(name, table.dtype, table.shape) + table.tobytes("F")


def _tag_of(code: int, size: int) -> bytes:
    return np.array([code, size], "<u4").tobytes()


def _packed(code: int, data: bytes) -> bytes:
    return _tag_of(code, len(data)) + data + bytes(padding(len(data)))
