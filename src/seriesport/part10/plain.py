"""Plain data sets, read in one pass: top-level elements up to the pixels, and whether all is there.

Whatever is out of the ordinary (big endian, deflated, unknown VRs, broken) is left to others: the
answer is None or False then, and `whole.check_whole` and pydicom decide.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from seriesport.errors import SeriesportError
from seriesport.part10.elements import MAX_VALUE, UNDEFINED, Found, Syntax, Walker
from seriesport.part10.quickscan import head, heads_of
from seriesport.part10.readers import bytes_reader
from seriesport.part10.whole import CONTENT, VALUES, check_pixels

_ROOMS = (1 << 14, 1 << 21)
"""How much of a data set is read for its header: most end before the first, those that carry
vendors' own protocols before the second."""
_PIXEL_GROUP = 0x7FE0
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_NESTED = 16
_IMPLICIT = struct.Struct("<HHL").unpack_from


class _OddError(Exception):
    """Not plain enough for this reader."""


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
class Plain:
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
        if pixels is None or pixels.offset + pixels.length != self.size:
            return False
        values = {tag: known[tag] for tag in VALUES if tag in known}
        lengths = {tag: len(known[tag]) for tag in CONTENT if tag in known}
        lengths[pixels.element] = pixels.length
        if any(len(value) > MAX_VALUE for value in values.values()):
            return False
        try:
            for start, end in self.nested:
                part = self.buffer[start:end]
                syntax = Syntax.of(self.transfer_syntax_uid)
                Walker(bytes_reader(part), len(part), syntax, descend=True).walk()
            check_pixels(Found(values, lengths), self.transfer_syntax_uid, little=True)
        except SeriesportError:
            return False
        return True


def read_plain(fd: int, offset: int, size: int, transfer_syntax_uid: str) -> Plain | None:
    """The elements of a plain data set; None where another reader has to decide.

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
            values, nested, pixels, end = _scan(buffer, size, explicit=syntax.explicit)
        except _OddError:
            return None
        except (struct.error, IndexError):  # the buffer ends first
            if len(buffer) < room:
                return None
        else:
            return Plain(buffer[:end], transfer_syntax_uid, size, values, nested, pixels)
    return None


_Scan = tuple[dict[int, bytes], list[tuple[int, int]], Stored | None, int]


def _scan(buffer: bytes, size: int, *, explicit: bool) -> _Scan:
    values: dict[int, bytes] = {}
    nested: list[tuple[int, int]] = []
    heads, end, at = heads_of(explicit=explicit), len(buffer), 0
    while at < end:
        known = heads.get(buffer[at : at + 8])
        if known is not None:
            start = at + 8
            at = start + known[1]
            values[known[0]] = buffer[start:at]
            continue
        first = at
        tag, vr, start, length = _head(buffer, at, explicit=explicit)
        if tag >> 16 == _PIXEL_GROUP:
            if vr == b"SQ" or start > end or tag not in _PIXELS:
                raise _OddError
            return values, nested, Stored(tag, first, start, length), start
        at = _after(buffer, vr, start, length, explicit=explicit)
        values[tag] = buffer[start:at]
        if length == UNDEFINED or (vr == b"SQ" and length):
            nested.append((first, at))
        elif start == first + 8:
            heads[buffer[first:start]] = (tag, length)
    if at > end or end < size:
        raise IndexError
    return values, nested, None, end


def _after(
    buffer: bytes, vr: bytes, start: int, length: int, *, explicit: bool, depth: int = 0
) -> int:
    """Where an element ends."""
    if length != UNDEFINED:
        return start + length
    if vr not in (b"SQ", b""):
        raise _OddError
    return _after_items(buffer, start, explicit=explicit, depth=depth)


def _head(buffer: bytes, at: int, *, explicit: bool) -> tuple[int, bytes, int, int]:
    found = head(buffer, at, explicit=explicit)
    if found is None or found[0] >> 16 in (0, 0xFFFE):
        raise _OddError
    return found


def _after_items(buffer: bytes, at: int, *, explicit: bool, depth: int) -> int:
    """Where a sequence of undefined length ends."""
    if depth > _NESTED:
        raise _OddError
    while True:
        group, element, length = _IMPLICIT(buffer, at)
        at += 8
        if (group, element) == (0xFFFE, 0xE0DD):
            return at
        if (group, element) != (0xFFFE, 0xE000):
            raise _OddError
        if length == UNDEFINED:
            at = _after_elements(buffer, at, explicit=explicit, depth=depth)
        else:
            at += length


def _after_elements(buffer: bytes, at: int, *, explicit: bool, depth: int) -> int:
    """Where an item of undefined length ends."""
    while buffer[at : at + 4] != b"\xfe\xff\x0d\xe0":
        _, vr, start, length = _head(buffer, at, explicit=explicit)
        at = _after(buffer, vr, start, length, explicit=explicit, depth=depth + 1)
    return at + 8
