"""A short cut for plain data sets: top-level elements that lie in a buffer, in little endian.

It gives up, and the full walk decides, wherever anything is out of the ordinary.
"""

from __future__ import annotations

import struct

from seriesport.part10.elements import VALUE_AT

_EXPLICIT = struct.Struct("<L2sH").unpack_from
_IMPLICIT = struct.Struct("<LL").unpack_from
_LONG = struct.Struct("<L").unpack_from


def swapped(tag: int) -> int:
    """A tag as the little-endian number that a data set begins its element with."""
    return (tag & 0xFFFF) << 16 | tag >> 16


def scan_explicit(
    buffer: bytes, at: int, wanted: dict[int, int], last_group: int
) -> tuple[dict[int, bytes], int] | None:
    """Values of explicit little endian elements, and where the first one of a later group begins.

    Args:
        buffer: The beginning of a file.
        at: Where the first element begins.
        wanted: Tags by their swapped form.
        last_group: The highest group to look at.
    """
    values: dict[int, bytes] = {}
    size = len(buffer) - 12
    value_at = VALUE_AT.get
    while at <= size:
        tag, vr, length = _EXPLICIT(buffer, at)
        offset = value_at(vr)
        if tag & 0xFFFF > last_group:
            return values, at
        if offset == 8:
            start = at + 8
        elif offset == 12:
            start = at + 12
            length = _LONG(buffer, at + 8)[0]
        else:
            return None
        at = start + length
        if tag in wanted:
            values[wanted[tag]] = buffer[start:at]
    return None


def scan_implicit(
    buffer: bytes, at: int, wanted: dict[int, int], last_group: int
) -> tuple[dict[int, bytes], int] | None:
    """The same for implicit little endian."""
    values: dict[int, bytes] = {}
    size = len(buffer) - 12
    while at <= size:
        tag, length = _IMPLICIT(buffer, at)
        if tag & 0xFFFF > last_group:
            return values, at
        start = at + 8
        at = start + length
        if tag in wanted:
            values[wanted[tag]] = buffer[start:at]
    return None
