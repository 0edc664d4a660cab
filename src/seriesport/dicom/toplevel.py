"""Read the top-level elements of a data set, up to the pixels, in one pass; and is all there?

Whatever is out of the ordinary (big endian, deflated, broken) is left to others: the
answer is None or False then, and `whole.check_whole` and pydicom decide.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from seriesport.dicom.elements import MAX_VALUE, UNDEFINED, Syntax
from seriesport.dicom.heads import BEHIND_TAGS, FIRST_TAG, Selection, collect, cut, head
from seriesport.dicom.readers import bytes_reader, invalid
from seriesport.dicom.reading import end_of
from seriesport.dicom.walker import Found, Walker
from seriesport.dicom.whole import CONTENT, VALUES, check_pixels
from seriesport.errors import SeriesportError

_ROOMS = (1 << 14, 1 << 21, 1 << 26)
"""How much of a data set is read for its header: most end before the first, those that carry
vendors' own protocols before the second, those of thousands of frames before the third."""
_MAX_TAIL = 1 << 16
"""Most bytes behind native pixels that are looked at: padding, and private groups of vendors."""
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_BEFORE_PIXELS = Selection(None, behind=_PIXELS[0], sequences=False)


@dataclass(frozen=True, slots=True)
class Stored:
    """Where pixels lie."""

    element: int
    """Tag."""
    head: int
    """Of the element's first byte, from the data set's first."""
    offset: int
    """Of the first byte of its value."""
    length: int
    """In bytes; of encapsulated ones `elements.UNDEFINED`."""


@dataclass(frozen=True, slots=True)
class TopLevel:
    """The top-level elements of a data set, up to its pixels."""

    buffer: bytes
    """From the data set's first byte to where the value of the pixels begins."""
    transfer_syntax_uid: str
    size: int
    """Of the data set, in bytes."""
    values: dict[int, bytes]
    """By tag, encoded; a sequence with its items."""
    nested: list[tuple[int, int]]
    """Where sequences begin and end that are to be looked into."""
    pixels: Stored | None
    tail: bytes = b""
    """What stands behind native pixels, where it is short."""

    @property
    def encoded(self) -> bytes:
        """The data set before its pixels."""
        return self.buffer if self.pixels is None else self.buffer[: self.pixels.head]

    def raw(self, tag: int) -> bytes:
        """The bytes of a value, none where the element is missing."""
        return self.values.get(tag, b"")

    @property
    def whole(self) -> bool:
        """Whether `check_whole` is certain to accept the data set; else it has to be asked."""
        pixels, known = self.pixels, self.values
        if pixels is None or pixels.offset + pixels.length + len(self.tail) != self.size:
            return False
        values = {tag: known[tag] for tag in VALUES if tag in known}
        lengths = {tag: len(known[tag]) for tag in CONTENT if tag in known}
        lengths[pixels.element] = pixels.length
        if any(len(value) > MAX_VALUE for value in values.values()):
            return False
        try:
            syntax = Syntax.of(self.transfer_syntax_uid)
            for part in (*(self.buffer[start:end] for start, end in self.nested), self.tail):
                Walker(bytes_reader(part), len(part), syntax, descend=True).walk()
            check_pixels(Found(values, lengths), self.transfer_syntax_uid, little=True)
        except SeriesportError:
            return False
        return True


def read_top_level(fd: int, offset: int, size: int, transfer_syntax_uid: str) -> TopLevel | None:
    """Read the elements of a data set; return None where another reader has to decide.

    Args:
        fd: Of an open file.
        offset: Of the data set's first byte in it.
        size: Of the data set, in bytes.
        transfer_syntax_uid: How it is encoded.

    Raises:
        OSError: The file cannot be read.
    """
    syntax = Syntax.of(transfer_syntax_uid)
    if syntax.deflated or not syntax.little:
        return None
    for room in _ROOMS:
        buffer = os.pread(fd, min(room, size), offset)
        try:
            values, nested, pixels, end = _scan(buffer, size, syntax)
        except SeriesportError as error:
            if error.code != "instance-truncated" or len(buffer) < room:
                return None
        else:
            tail = _tail(fd, offset, size, pixels)
            return TopLevel(buffer[:end], transfer_syntax_uid, size, values, nested, pixels, tail)
    return None


def _tail(fd: int, offset: int, size: int, pixels: Stored | None) -> bytes:
    if pixels is None or pixels.length == UNDEFINED:
        return b""
    end = pixels.offset + pixels.length
    return os.pread(fd, size - end, offset + end) if 0 < size - end <= _MAX_TAIL else b""


_Scan = tuple[dict[int, bytes], list[tuple[int, int]], Stored | None, int]


def _scan(buffer: bytes, size: int, syntax: Syntax) -> _Scan:
    """Return values, where nested ones lie, the pixels, and where what comes before these ends.

    Raises:
        SeriesportError: instance-truncated where the buffer ends first, instance-invalid.
    """
    values: dict[int, bytes] = {}
    nested: list[tuple[int, int]] = []
    at, end = 0, len(buffer)
    while at < end:
        at = collect(buffer, at, syntax, _BEFORE_PIXELS, values, end, end - 8)
        if at >= end:
            break
        tag, vr, start, length = head(buffer, at, syntax)
        if tag < FIRST_TAG or tag >= BEHIND_TAGS:
            raise invalid("something other than an element stands in a data set")
        if tag in _PIXELS:
            if vr == b"SQ":
                raise invalid("pixels are a sequence")
            if start > end:
                raise cut()
            return values, nested, Stored(tag, at, start, length), start
        following = end_of(buffer, at, syntax) if length == UNDEFINED else start + length
        if following > end:
            raise cut()
        values[tag] = buffer[start:following]
        if length == UNDEFINED or (vr == b"SQ" and length):
            nested.append((at, following))
        at = following
    if end < size:
        raise cut()
    return values, nested, None, end
