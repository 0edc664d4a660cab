"""Instances that came in a context whose transfer syntax is not that of their pixels."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from seriesport.dicom.elements import UNDEFINED
from seriesport.dicom.toplevel import read_top_level
from seriesport.dicom.whole import is_mislabelled
from seriesport.dimse.contexts import COMPRESSED, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from seriesport.model.instance import FileSlice

if TYPE_CHECKING:
    from seriesport.model.instance import Instance

_FIRST_READ = 1 << 16
_PREFIX = "1.2.840.10008.1.2."
_START_OF_FRAME = {
    0xC0: ("4.50", "4.51"),
    0xC1: ("4.51",),
    0xC3: ("4.70", "4.57"),
    0xF7: ("4.80", "4.81"),
}
"""By marker of JPEG and JPEG-LS (ISO/IEC 10918-1 table B.1, 14495-1 annex C)."""


def right_syntaxes(instance: Instance) -> tuple[str, ...]:
    """Return the transfer syntaxes that an instance's pixels may be of; none if its own is one."""
    payload = instance.payload
    if not isinstance(payload, FileSlice):
        return ()
    fd = os.open(payload.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = read_top_level(fd, payload.offset, payload.size, instance.transfer_syntax_uid)
        pixels = None if found is None else found.pixels
        if pixels is None or not is_mislabelled(pixels.length, instance.transfer_syntax_uid):
            return ()
        if pixels.length != UNDEFINED:
            return EXPLICIT_LITTLE, IMPLICIT_LITTLE
        return _compressed(os.pread(fd, _FIRST_READ, payload.offset + pixels.offset))
    finally:
        os.close(fd)


def _compressed(items: bytes) -> tuple[str, ...]:
    """Return the transfer syntaxes of the first fragment, which follows the offset table."""
    stream = items[16 + int.from_bytes(items[4:8], "little") :]
    found: tuple[str, ...] = ()
    if stream.startswith(b"\xff\x4f\xff\x51"):
        found = _jpeg_2000(stream)
    elif stream.startswith(b"\xff\xd8"):
        found = _jpeg(stream)
    elif stream[4:8] == (64).to_bytes(4, "little"):  # the first segment's offset (PS3.5 G.5)
        found = ("5",)
    return tuple(_PREFIX + syntax for syntax in found) or COMPRESSED


def _jpeg_2000(stream: bytes) -> tuple[str, ...]:
    """By the markers CAP of HTJ2K, and COD, which tells the transformation (ISO/IEC 15444-1)."""
    cod = stream.find(b"\xff\x52")
    irreversible = stream[cod + 13 : cod + 14] == b"\0"
    if b"\xff\x50" in stream[:cod]:
        return ("4.203",) if irreversible else ("4.201", "4.202", "4.203")
    return ("4.91",) if irreversible else ("4.90", "4.91")


def _jpeg(stream: bytes) -> tuple[str, ...]:
    at = 2
    while at + 4 <= len(stream) and stream[at] == 0xFF:
        if stream[at + 1] in _START_OF_FRAME:
            return _START_OF_FRAME[stream[at + 1]]
        at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return ()
