"""Data sets in implicit VR, made explicit (PS3.5 section 7.1) in one pass over their bytes.

Values stay the bytes that they are; a VR comes from PS3.6, or from pydicom's dictionary of private
elements by their creator (PS3.5 section 7.8). What nobody knows is UN, or a sequence where its
length is undefined (PS3.5 section 6.2.2). Group lengths, which would be wrong then, are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from pydicom.datadict import dictionary_VR, private_dictionary_VR

from seriesport.dicom.elements import ITEM, ITEM_END, MAX_DEPTH, SEQUENCE_END, UNDEFINED, Syntax
from seriesport.dicom.heads import head
from seriesport.dicom.writing import element_head, item_end, item_head, sequence_end
from seriesport.errors import SeriesportError

_IMPLICIT = Syntax(explicit=False)
_SIGNED, _LUT_DESCRIPTOR, _LUT_DATA = 0x00280103, 0x00283002, 0x00283006
_CREATORS = range(0x10, 0x100)
_UNIT = {
    **dict.fromkeys((b"SS", b"US", b"OW"), 2),
    **dict.fromkeys((b"AT", b"FL", b"OF", b"OL", b"SL", b"UL"), 4),
    **dict.fromkeys((b"FD", b"OD", b"OV", b"SV", b"UV"), 8),
}
"""Bytes of one value of binary VRs."""
_LENGTHS_MEANT = 6
"""Up to this group, element 0000 is no retired group length."""


class ImplicitError(ValueError):
    """The bytes are not a plain data set in implicit VR little endian."""


@dataclass(slots=True)
class _Scope:
    """What the elements of a data set, or of an item, have told so far about those that follow."""

    signed: bool
    """Whether Pixel Representation says so, here or in what holds the item."""
    depth: int = 0
    single: bool = False
    """Whether the look-up table has one entry."""
    creators: dict[int, str] = field(default_factory=dict[int, str])
    """Of private blocks, by group and the first byte of the elements."""

    def learn(self, tag: int, value: bytes) -> None:
        """Take notice of an element."""
        if tag >> 16 & 1 and tag & 0xFFFF in _CREATORS:
            self.creators[tag] = value.decode("latin-1").strip(" \0")
        elif tag == _SIGNED:
            self.signed = value[:2] == b"\1\0"
        elif tag == _LUT_DESCRIPTOR:
            self.single = value[:2] == b"\1\0"

    def vr(self, tag: int) -> bytes:
        """The one VR of an element (PS3.5 annex A.1, PS3.6 section 6)."""
        block = tag & 0xFFFF0000 | tag >> 8 & 0xFF
        vr = _vr(tag, self.creators.get(block, "") if tag >> 16 & 1 else "")
        if b" " not in vr:
            return vr
        if vr == b"US or SS":
            return b"SS" if self.signed else b"US"
        return b"US" if tag == _LUT_DATA and self.single else b"OW"


def to_explicit(data: bytes, *, signed: bool) -> bytes:
    """Encode a data set without pixels in explicit VR little endian.

    Args:
        data: In implicit VR little endian.
        signed: Whether Pixel Representation says so, which the VR of some values follows.

    Raises:
        ImplicitError: It has no such form.
    """
    try:
        out, _ = _elements(data, 0, len(data), _Scope(signed), delimited=False)
    except SeriesportError:
        raise ImplicitError from None
    return b"".join(out)


_Parts = tuple[list[bytes], int]
"""Encoded parts, and where what they were made of ends."""


def _elements(data: bytes, at: int, end: int, scope: _Scope, *, delimited: bool) -> _Parts:
    """The elements of a data set or an item."""
    out: list[bytes] = []
    while at < end:
        tag, _, at, length = head(data, at, _IMPLICIT)
        if tag == ITEM_END and delimited:
            return out, at
        vr = scope.vr(tag)
        if length == UNDEFINED or vr == b"SQ":
            parts, at = _sequence(data, at, end, length, scope)
            size = UNDEFINED if length == UNDEFINED else sum(map(len, parts))
            out += (element_head(tag, b"SQ", size), *parts)
            continue
        value = data[at : at + length]
        at += length
        scope.learn(tag, value)
        if tag >> 16 & 1 and length % _UNIT.get(vr, 1):
            vr = b"UN"  # the dictionary knows another release of the vendor's software
        if tag & 0xFFFF or tag >> 16 <= _LENGTHS_MEANT:
            out += (element_head(tag, vr, length), value)
    if at != end or delimited:
        raise ImplicitError
    return out, at


def _sequence(data: bytes, at: int, end: int, length: int, scope: _Scope) -> _Parts:
    """The items of a sequence, with its delimiter if it has one."""
    if scope.depth > MAX_DEPTH // 2:
        raise ImplicitError
    parts: list[bytes] = []
    stop = end if length == UNDEFINED else at + length
    while at < stop or length == UNDEFINED:
        tag, _, at, size = head(data, at, _IMPLICIT)
        if tag == SEQUENCE_END and length == UNDEFINED:
            return [*parts, sequence_end()], at
        if tag != ITEM:
            raise ImplicitError
        delimited = size == UNDEFINED
        inner = _Scope(scope.signed, scope.depth + 1)
        item, at = _elements(data, at, stop if delimited else at + size, inner, delimited=delimited)
        whole = UNDEFINED if delimited else sum(map(len, item))
        parts += (item_head(whole), *item)
        if delimited:
            parts.append(item_end())
    if at != stop:
        raise ImplicitError
    return parts, at


@lru_cache(maxsize=1 << 14)
def _vr(tag: int, creator: str) -> bytes:
    """The VR of an element, or those that it may have, as pydicom names them."""
    element = tag & 0xFFFF
    try:
        if not tag >> 16 & 1:
            return b"UL" if not element else dictionary_VR(tag).encode()
        if element in _CREATORS:
            return b"LO"
        return private_dictionary_VR(tag, creator).encode() if creator else b"UN"
    except KeyError:
        return b"UN"
