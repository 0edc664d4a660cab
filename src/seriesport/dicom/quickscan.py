"""A short cut for plain data sets: top-level elements that lie in a buffer, in little endian.

It gives up, and the full walk decides, wherever anything is out of the ordinary.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from seriesport.dicom.elements import UNDEFINED, VALUE_AT

if TYPE_CHECKING:
    from collections.abc import Collection

_EXPLICIT = struct.Struct("<HH2sH").unpack_from
_IMPLICIT = struct.Struct("<HHL").unpack_from
_LONG = struct.Struct("<L").unpack_from
_MOST = 8192

Heads = dict[bytes, tuple[int, int]]
_heads: dict[bool, Heads] = {True: {}, False: {}}


def heads_of(*, explicit: bool) -> Heads:
    """Tag and length of plain elements by their first 8 bytes, as met so far: the files of a
    series share most, and a look-up takes a third of the time of decoding."""
    heads = _heads[explicit]
    if len(heads) > _MOST:
        heads.clear()
    return heads


def head(buffer: bytes, at: int, *, explicit: bool) -> tuple[int, bytes, int, int] | None:
    """Tag and VR of an element, where its value begins, and its length; None for an unknown VR.

    Raises:
        struct.error: The buffer ends in it.
    """
    if not explicit:
        group, element, length = _IMPLICIT(buffer, at)
        return group << 16 | element, b"", at + 8, length
    group, element, vr, length = _EXPLICIT(buffer, at)
    offset = VALUE_AT.get(vr)
    if offset is None:
        return None
    if offset == 12:
        length = _LONG(buffer, at + 8)[0]
    return group << 16 | element, vr, at + offset, length


def scan(
    buffer: bytes, at: int, wanted: Collection[int], last_group: int, *, explicit: bool = True
) -> tuple[dict[int, bytes], int] | None:
    """Values of elements, and where the first one of a later group begins.

    Args:
        buffer: The beginning of a file.
        at: Where the first element begins.
        wanted: Tags.
        last_group: The highest group to look at.
        explicit: Whether VRs are written.
    """
    values: dict[int, bytes] = {}
    heads, end, size = heads_of(explicit=explicit), (last_group + 1) << 16, len(buffer) - 12
    while at <= size:
        known = heads.get(buffer[at : at + 8])
        if known is not None:
            tag, length = known
            start = at + 8
        else:
            found = head(buffer, at, explicit=explicit)
            if found is None:  # also where a data set in another syntax follows
                later = int.from_bytes(buffer[at : at + 2], "little") > last_group
                return (values, at) if later else None
            tag, _, start, length = found
            if start == at + 8 and 0xFFFF < tag < end and length != UNDEFINED:
                heads[buffer[at:start]] = (tag, length)
        if tag >= end:
            return values, at
        at = start + length
        if tag in wanted:
            values[tag] = buffer[start:at]
    return None
