"""A quick look into the header of an image: top-level elements of plain data sets.

One read and one pass over the elements, some forty times faster than a full decoding; what is
out of the ordinary (big endian, deflated, no preamble, broken) is pydicom's to read.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.datadict import dictionary_VR, tag_for_keyword

from seriesport.part10.elements import UNDEFINED, VALUE_AT, Syntax
from seriesport.part10.quickscan import scan_explicit, swapped

if TYPE_CHECKING:
    from pathlib import Path

_ROOMS = (1 << 15, 1 << 21)
"""How much of a file is read for its header: most end before the first, those that carry vendors'
own protocols before the second."""
_SYNTAX = 0x00020010
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_NESTED = 16
_EXPLICIT = struct.Struct("<HH2sH").unpack_from
_IMPLICIT = struct.Struct("<HHL").unpack_from
_LONG = struct.Struct("<L").unpack_from
_BINARY = {"US": "<u2", "SS": "<i2", "UL": "<u4", "SL": "<i4", "FL": "<f4", "FD": "<f8"}
_DECIMAL = ("DS", "IS")


class _OddError(Exception):
    """Not plain enough for this reader."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Where the pixels of a file lie."""

    element: int
    """Tag."""
    offset: int
    length: int
    """In bytes; of encapsulated ones `elements.UNDEFINED`."""


@dataclass(frozen=True, slots=True)
class Header:
    """Elements before the pixels; `get` is as a pydicom data set's."""

    buffer: bytes
    syntax: str
    """Transfer Syntax UID."""
    places: dict[int, tuple[int, int, bytes]]
    """For each top-level tag its value's offset and length, and its VR where it is written."""
    pixels: Stored | None

    def __contains__(self, keyword: str) -> bool:
        return _tag_and_vr(keyword)[0] in self.places

    def raw(self, tag: int) -> bytes:
        """The bytes of a value, none where the element is missing."""
        offset, length, _ = self.places.get(tag, (0, 0, b""))
        return self.buffer[offset : offset + length]

    def get(self, keyword: str) -> Any:
        """The value of an attribute: a number, text, a list of them, or None. Sequences are
        true or false only.
        """
        tag, vr = _tag_and_vr(keyword)
        if tag not in self.places:
            return None
        if vr == "SQ":
            offset, _, _ = self.places[tag]
            return self.buffer[offset : offset + 4] == b"\xfe\xff\x00\xe0"
        return decoded(self.raw(tag), vr)

    def private(self, creator: str, group: int, element: int, vr: str) -> Any:
        """The value of a private element (PS3.5 section 7.8), decoded as the VR says."""
        name = creator.encode()
        for block in range(0x10, 0x20):
            if self.raw(group << 16 | block).strip(b" \0") == name:
                raw = self.raw(group << 16 | block << 8 | element)
                return decoded(raw, vr) if vr else raw or None
        return None


def decoded(raw: bytes, vr: str) -> Any:
    """The value of an element, little endian. Raises ValueError where it is none."""
    if vr in _BINARY:
        kind = np.dtype(_BINARY[vr])
        numbers = np.frombuffer(raw[: len(raw) // kind.itemsize * kind.itemsize], kind).tolist()
        return numbers[0] if len(numbers) == 1 else numbers or None
    text = raw.decode("latin-1").strip(" \0")
    if not text:
        return None
    parts: list[Any] = [part.strip(" \0") for part in text.split("\\")]
    if vr in _DECIMAL:
        parts = [float(part) for part in parts if part]
    return parts[0] if len(parts) == 1 else parts


@cache
def _tag_and_vr(keyword: str) -> tuple[int, str]:
    tag = tag_for_keyword(keyword)
    return (-1, "") if tag is None else (tag, dictionary_VR(tag))


def quick_header(path: Path) -> Header | None:
    """The header of a plain file; None where another reader has to decide.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb", buffering=0) as stream:
        buffer = b""
        for room in _ROOMS:
            more = stream.read(room - len(buffer))
            buffer += more
            try:
                return _header(buffer)
            except _OddError:
                return None
            except (struct.error, IndexError):  # the buffer ends first
                if not more:
                    return None
    return None


def _header(buffer: bytes) -> Header:
    meta = scan_explicit(buffer, 132, {swapped(_SYNTAX): _SYNTAX}, 2)
    if buffer[128:132] != b"DICM" or meta is None or _SYNTAX not in meta[0]:
        raise _OddError
    uid = meta[0][_SYNTAX].decode("latin-1").rstrip("\0 ")
    syntax = Syntax.of(uid)
    if syntax.deflated or not syntax.little:
        raise _OddError
    places, pixels = _places(buffer, meta[1], explicit=syntax.explicit)
    return Header(buffer, uid, places, pixels)


def _places(
    buffer: bytes, at: int, *, explicit: bool
) -> tuple[dict[int, tuple[int, int, bytes]], Stored | None]:
    places: dict[int, tuple[int, int, bytes]] = {}
    value_at, size = VALUE_AT.get, len(buffer)
    vr = b""
    while at < size:
        if explicit:
            group, element, vr, length = _EXPLICIT(buffer, at)
            offset = value_at(vr)
            if offset == 12:
                length = _LONG(buffer, at + 8)[0]
            elif offset is None:
                raise _OddError
        else:
            group, element, length = _IMPLICIT(buffer, at)
            offset = 8
        start = at + offset
        tag = group << 16 | element
        if tag in _PIXELS:
            return places, Stored(tag, start, length)
        if length == UNDEFINED:
            if vr == b"UN":
                raise _OddError
            at = _after_items(buffer, start, explicit=explicit, depth=0)
            length = at - start
        else:
            at = start + length
        places[tag] = (start, length, vr)
    if at > size:
        raise IndexError
    return places, None


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
    vr = b"SQ"
    while True:
        group, element, length = _IMPLICIT(buffer, at)
        if (group, element) == (0xFFFE, 0xE00D):
            return at + 8
        start = at + 8
        if explicit:
            vr = buffer[at + 4 : at + 6]
            offset = VALUE_AT.get(vr)
            if offset is None:
                raise _OddError
            start = at + offset
            length = length >> 16 if offset == 8 else _LONG(buffer, at + 8)[0]
        if length == UNDEFINED:
            if vr != b"SQ":
                raise _OddError
            at = _after_items(buffer, start, explicit=explicit, depth=depth + 1)
        else:
            at = start + length
