"""Plain data sets, read in one pass: top-level elements up to the pixels, and whether all is there.

Whatever is out of the ordinary (big endian, deflated, broken) is left to others: the
answer is None or False then, and `whole.check_whole` and pydicom decide.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from seriesport.dicom.elements import MAX_VALUE, UNDEFINED, VALUE_AT, Found, Syntax, Walker
from seriesport.dicom.quickscan import head, heads_of
from seriesport.dicom.readers import bytes_reader
from seriesport.dicom.whole import CONTENT, VALUES, check_pixels
from seriesport.errors import SeriesportError

_ROOMS = (1 << 14, 1 << 21, 1 << 26)
"""How much of a data set is read for its header: most end before the first, those that carry
vendors' own protocols before the second, those of thousands of frames before the third."""
_MAX_TAIL = 1 << 16
"""Most bytes behind native pixels that are looked at: padding, and private groups of vendors."""
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_FRAGMENTED = (b"OB", b"OW")
_NESTED = 16
_IMPLICIT = struct.Struct("<HHL").unpack_from


class OddError(ValueError):
    """The bytes are not plain enough for this reader."""


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
        except OddError:
            return None
        except (struct.error, IndexError):  # the buffer ends first
            if len(buffer) < room:
                return None
        else:
            tail = _tail(fd, offset, size, pixels)
            return Plain(buffer[:end], transfer_syntax_uid, size, values, nested, pixels, tail)
    return None


def _tail(fd: int, offset: int, size: int, pixels: Stored | None) -> bytes:
    if pixels is None or pixels.length == UNDEFINED:
        return b""
    end = pixels.offset + pixels.length
    return os.pread(fd, size - end, offset + end) if 0 < size - end <= _MAX_TAIL else b""


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
        tag, vr, start, length = element_head(buffer, at, explicit=explicit)
        if tag in _PIXELS:
            if vr == b"SQ" or start > end:
                raise OddError
            return values, nested, Stored(tag, first, start, length), start
        at = after(buffer, tag, vr, start, length, explicit=explicit)
        values[tag] = buffer[start:at]
        if length == UNDEFINED or (vr == b"SQ" and length):
            nested.append((first, at))
        elif start == first + 8 and (vr or not explicit):
            heads[buffer[first:start]] = (tag, length)
    if at > end or end < size:
        raise IndexError
    return values, nested, None, end


def after(
    buffer: bytes,
    tag: int,
    vr: bytes,
    start: int,
    length: int,
    *,
    explicit: bool = True,
    depth: int = 0,
) -> int:
    """Where an element ends.

    Raises:
        OddError: Nothing here can have an undefined length.
        struct.error: The buffer ends in it.
    """
    if length != UNDEFINED:
        return start + length
    if vr in _FRAGMENTED or tag == _PIXELS[-1]:
        return _after_fragments(buffer, start)
    if vr not in (b"SQ", b"UN", b""):
        raise OddError
    return _after_items(buffer, start, explicit=explicit, unknown=vr == b"UN", depth=depth)


def element_head(buffer: bytes, at: int, *, explicit: bool = True) -> tuple[int, bytes, int, int]:
    """See `quickscan.head`; the VR is empty where there is none, or none that is known.

    Raises:
        OddError: No element of a data set begins so.
        struct.error: The buffer ends in it.
    """
    found = head(buffer, at, explicit=explicit)
    if found is None:
        group, element, length = _IMPLICIT(buffer, at)
        vr = buffer[at + 4 : at + 6]
        known = vr.isalpha() and vr.isupper()
        found = (group << 16 | element, b"", at + 8, length >> 16 if known else length)
    if found[0] >> 16 in (0, 0xFFFE):
        raise OddError
    return found


def _after_items(buffer: bytes, at: int, *, explicit: bool, unknown: bool, depth: int) -> int:
    """Where a sequence of undefined length ends.

    Args:
        buffer: The data set.
        at: Where its first item begins.
        explicit: Whether VRs are written in it.
        unknown: Whether its VR is UN: VRs are not written then, but by some writers.
        depth: Of its nesting.
    """
    if depth > _NESTED:
        raise OddError
    while True:
        group, element, length = _IMPLICIT(buffer, at)
        at += 8
        if (group, element) == (0xFFFE, 0xE0DD):
            return at
        if (group, element) != (0xFFFE, 0xE000):
            raise OddError
        if length == UNDEFINED:
            written = explicit if not unknown else buffer[at + 4 : at + 6] in VALUE_AT
            at = after_elements(buffer, at, explicit=written, depth=depth)
        else:
            at += length


def after_elements(buffer: bytes, at: int, *, explicit: bool = True, depth: int = 0) -> int:
    """Where an item of undefined length ends."""
    while buffer[at : at + 4] != b"\xfe\xff\x0d\xe0":
        tag, vr, start, length = element_head(buffer, at, explicit=explicit)
        at = after(buffer, tag, vr, start, length, explicit=explicit, depth=depth + 1)
    return at + 8


def _after_fragments(buffer: bytes, at: int) -> int:
    """Where encapsulated pixels end (PS3.5 annex A.4), such as those of an icon in an item."""
    while True:
        group, element, length = _IMPLICIT(buffer, at)
        at += 8
        if (group, element) == (0xFFFE, 0xE0DD):
            return at
        if (group, element) != (0xFFFE, 0xE000) or length == UNDEFINED:
            raise OddError
        at += length
