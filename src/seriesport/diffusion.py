"""b-values and diffusion gradient directions, the standard's and the vendors'.

Directions are unit vectors in the patient's coordinates (LPS), zeros where an image has none.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from seriesport.lookup import number, triple
from seriesport.mosaic import siemens_header

if TYPE_CHECKING:
    from collections.abc import Callable

    from seriesport.geometry import Plane
    from seriesport.lookup import Lookup

Direction = tuple[float, float, float]
Diffusion = tuple[float | None, Direction | None]
"""b-value (s/mm²) and direction."""

_MACRO = "MRDiffusionSequence"
_NO_DIRECTION = ("NONE", "ISOTROPIC")
_GE_OFFSET = 100_000
"""GE adds 1e9 to b-values that it has made of several shells."""
_GE_LARGEST = 10_000


def diffusion_of(look: Lookup, plane: Plane | None) -> Diffusion:
    """The b-value and direction of a frame; None for what is not told."""
    b, direction = _standard(look)
    if b is None or (direction is None and b > 0):
        vendor = _VENDORS.get(str(look.header.get("Manufacturer") or "")[:2].upper())
        other = vendor(look, plane) if vendor else (None, None)
        b = other[0] if b is None else b
        direction = direction or other[1]
    if direction is not None:
        direction = _unit(direction)
    elif b == 0 or str(look.get(_MACRO, "DiffusionDirectionality")) in _NO_DIRECTION:
        direction = (0.0, 0.0, 0.0)
    return b, direction if b is not None else None


def _unit(vector: Direction) -> Direction:
    length = math.hypot(*vector)
    if length < 1e-3:
        return (0.0, 0.0, 0.0)
    x, y, z = (round(v / length, 9) + 0.0 for v in vector)
    return (x, y, z)


def _standard(look: Lookup) -> Diffusion:
    """MR Diffusion macro (PS3.3 section C.8.13.5.9), which some write into classic images."""
    b = number(look.get(_MACRO, "DiffusionBValue"))
    items = look.get(_MACRO, "DiffusionGradientDirectionSequence", "")
    found = items[0].get("DiffusionGradientOrientation") if items else None
    return b, triple(found or look.header.get("DiffusionGradientOrientation"))


def _siemens(look: Lookup, plane: Plane | None) -> Diffusion:
    del plane
    creator = "SIEMENS MR HEADER"
    b = number(look.private(creator, 0x0019, 0x0C, "IS"))
    direction = triple(look.private(creator, 0x0019, 0x0E, "FD"))
    if b is None and "DIFFUSION" in (look.header.get("ImageType") or []):
        fields = siemens_header(look)
        b = number(fields.get("B_value"))
        direction = triple(fields.get("DiffusionGradientDirection"))
    return b, direction


def _ge(look: Lookup, plane: Plane | None) -> Diffusion:
    b = number(look.private("GEMS_PARM_01", 0x0043, 0x39, "IS"))
    if b is not None and b > _GE_LARGEST:
        b %= _GE_OFFSET
    parts = [number(look.private("GEMS_ACQU_01", 0x0019, e, "DS")) for e in (0xBB, 0xBC, 0xBD)]
    along = look.header.get("InPlanePhaseEncodingDirection")
    if not b or plane is None or None in parts or along is None:
        return b, None
    # They are relative to the image: to its rows and columns, as the phase encoding runs.
    first, second, across = (float(v or 0) for v in parts)
    right, down = (second, -first) if str(along).startswith("COL") else (-first, -second)
    if str(along).startswith("COL"):
        across = -across
    turned = (
        right * np.array(plane.orientation[:3])
        + down * np.array(plane.orientation[3:])
        + across * plane.normal
    )
    x, y, z = (float(v) for v in turned)
    return b, (x, y, z)


def _philips(look: Lookup, plane: Plane | None) -> Diffusion:
    del plane
    b = number(look.private("Philips Imaging DD 001", 0x2001, 0x03, "FL"))
    creator = "Philips MR Imaging DD 001"
    parts = [number(look.private(creator, 0x2005, e, "FL")) for e in (0xB0, 0xB1, 0xB2)]
    return b, None if None in parts else triple(parts)


def _united(look: Lookup, plane: Plane | None) -> Diffusion:
    del plane
    creator = "Image Private Header"
    b = number(look.private(creator, 0x0065, 0x09, "FD"))
    return b, triple(look.private(creator, 0x0065, 0x37, "FD"))


_VENDORS: dict[str, Callable[[Lookup, Plane | None], Diffusion]] = {
    "SI": _siemens,
    "GE": _ge,
    "PH": _philips,
    "UI": _united,
}
"""By the first letters of Manufacturer."""
