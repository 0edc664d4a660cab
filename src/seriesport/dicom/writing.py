"""Write elements of data sets (PS3.5 section 7): in either byte order, with or without VRs."""

from __future__ import annotations

import struct
from functools import lru_cache

from seriesport.dicom.elements import ITEM, ITEM_END, SEQUENCE_END, VALUE_AT, Syntax

EXPLICIT = Syntax()
_BYTE_ORDERS = tuple(
    tuple(struct.Struct(order + form).pack for form in ("HH2sH", "HH2s2xL", "HHL"))
    for order in "><"
)
"""What packs a short explicit head, a long one, and an implicit one, in big and little endian."""


@lru_cache(maxsize=1 << 14)
def element_head(tag: int, vr: bytes, length: int, syntax: Syntax = EXPLICIT) -> bytes:
    """Return what stands before an element's value.

    A value that is too long for its VR's short form becomes UN (PS3.5 section 6.2.2, note 5).
    """
    short, long, implicit = _BYTE_ORDERS[syntax.little]
    group, element = tag >> 16, tag & 0xFFFF
    if not syntax.explicit:
        return implicit(group, element, length)
    if VALUE_AT[vr] == 12:
        return long(group, element, vr, length)
    if length < 0x10000:
        return short(group, element, vr, length)
    return long(group, element, b"UN", length)


def element(tag: int, vr: bytes, value: bytes, syntax: Syntax = EXPLICIT) -> bytes:
    """Return an element, its value padded to an even length (PS3.5 section 6.2)."""
    value = padded(vr, value)
    return element_head(tag, vr, len(value), syntax) + value


def padded(vr: bytes, value: bytes) -> bytes:
    """Return a value of even length."""
    if not len(value) % 2:
        return value
    return value + (b"\0" if vr in (b"UI", b"OB", b"UN") else b" ")


def item_head(length: int, syntax: Syntax = EXPLICIT) -> bytes:
    """Return what stands before an item's elements."""
    return _BYTE_ORDERS[syntax.little][2](ITEM >> 16, ITEM & 0xFFFF, length)


def item_end(syntax: Syntax = EXPLICIT) -> bytes:
    """Return the delimiter of an item of undefined length."""
    return _BYTE_ORDERS[syntax.little][2](ITEM_END >> 16, ITEM_END & 0xFFFF, 0)


def sequence_end(syntax: Syntax = EXPLICIT) -> bytes:
    """Return the delimiter of a sequence of undefined length, and of encapsulated pixel data."""
    return _BYTE_ORDERS[syntax.little][2](SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0)
