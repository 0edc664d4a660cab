"""One frame of an Enhanced instance as a classic one: its functional groups' attributes."""

from __future__ import annotations

import struct
from functools import lru_cache

from seriesport.errors import SeriesportError
from seriesport.images.encoded import Element, Elements, items, number, text

SHARED, PER_FRAME = 0x52009229, 0x52009230
_FRAME_COUNT = 0x00280008
_DROPPED = frozenset(
    {
        SHARED,
        PER_FRAME,
        0x00209221,  # Dimension Organization Sequence
        0x00209222,  # Dimension Index Sequence
        0x00209311,  # Dimension Organization Type
        0x00280009,  # Frame Increment Pointer
        0x00181063,  # Frame Time
        0x00181065,  # Frame Time Vector
        0x3004000C,  # Grid Frame Offset Vector
        _FRAME_COUNT,
    }
)
_RENAMED = {
    0x00189074: 0x0008002A,  # Frame Acquisition DateTime: Acquisition DateTime
    0x00189082: 0x00180081,  # Effective Echo Time: Echo Time
    0x00209153: 0x00181060,  # Nominal Cardiac Trigger Delay Time: Trigger Time
    0x00209156: 0x00200012,  # Frame Acquisition Number: Acquisition Number
    0x00209128: 0x00200100,  # Temporal Position Index: Temporal Position Identifier
    0x00089007: 0x00080008,  # Frame Type: Image Type
}
_KEPT = frozenset({0x00081140, 0x00089124})
"""Referenced Image Sequence, Derivation Image Sequence: no macros to be opened."""
_NUMBERS = {0x00180081: b"DS", 0x00181060: b"DS", 0x00200012: b"IS", 0x00200100: b"IS"}
"""VRs of classic attributes whose Enhanced counterparts are binary numbers."""
_DIRECTION, _ORIENTATION = 0x00189076, 0x00189089
_STAMP, _DATE, _TIME = 0x0008002A, 0x00080022, 0x00080032
_PULSE, _SCANNING = 0x00189008, 0x00180020
_SCANNING_SEQUENCES = {b"SPIN": ("SE",), b"GRADIENT": ("GR",), b"BOTH": ("GR", "SE")}


def flatten(elements: Elements, frame: int) -> Elements:
    """The attributes of a frame, as a classic instance has them.

    Raises:
        SeriesportError: instance-invalid where there are no groups for the frame.
    """
    if SHARED not in elements and PER_FRAME not in elements and _FRAME_COUNT not in elements:
        return elements
    found = {t: e for t, e in elements.items() if t not in _DROPPED}
    if SHARED in elements:
        for group in _groups(elements[SHARED])[:1]:
            _merge(found, group)
    if PER_FRAME in elements:
        groups = _groups(elements[PER_FRAME])
        if frame >= len(groups):
            raise SeriesportError("instance-invalid", "a frame has no functional groups")
        _merge(found, groups[frame])
    stamp = found[_STAMP].value.decode("latin-1") if _STAMP in found else ""
    if elements.get(_STAMP) != found.get(_STAMP) and stamp[:14].isdigit():
        found[_DATE] = text(b"DA", stamp[:8])
        found[_TIME] = text(b"TM", stamp[8:].partition("+")[0].partition("-")[0].strip())
    pulse = found[_PULSE].value.strip() if _PULSE in found else b""
    if pulse in _SCANNING_SEQUENCES:
        found.setdefault(_SCANNING, text(b"CS", *_SCANNING_SEQUENCES[pulse]))
    return found


@lru_cache(maxsize=4)
def _groups(sequence: Element) -> list[Elements]:
    return items(sequence)


def _merge(found: Elements, group: Elements) -> None:
    """Bring the attributes of each macro up; private macros and those of many items stay whole."""
    for tag, element in group.items():
        macros = items(element) if element.vr == b"SQ" and not tag >> 16 & 1 else []
        if len(macros) != 1 or tag in _KEPT:
            found[tag] = element
            continue
        for inner, value in macros[0].items():
            found[_RENAMED.get(inner, inner)] = _classic(_RENAMED.get(inner, inner), value)
        if _DIRECTION in macros[0]:
            for direction in items(macros[0][_DIRECTION])[:1]:
                found |= {t: e for t, e in direction.items() if t == _ORIENTATION}


def _classic(tag: int, element: Element) -> Element:
    vr = _NUMBERS.get(tag)
    if vr is None or element.vr == vr or not element.value:
        return element
    form = {b"FD": "<d", b"US": "<H", b"UL": "<L"}.get(element.vr)
    if form is None or len(element.value) != struct.calcsize(form):
        return element
    return number(vr, struct.unpack(form, element.value)[0])
