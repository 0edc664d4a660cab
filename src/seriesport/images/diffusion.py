"""b-values and diffusion gradient directions, the standard's and the vendors'.

Directions are unit vectors in the patient's coordinates (LPS), zeros where an image has none.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from seriesport.images.lookup import number, triple
from seriesport.images.mosaic import siemens_header

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seriesport.images.geometry import Plane
    from seriesport.images.lookup import Lookup

Direction = tuple[float, float, float]
Diffusion = tuple[float | None, Direction | None]
"""b-value (s/mm²) and direction."""

_MACRO, _DIRECTIONS = "MRDiffusionSequence", "DiffusionGradientDirectionSequence"
NOWHERE = (0.0, 0.0, 0.0)
"""The direction of an image that has none."""
_NO_DIRECTION = ("NONE", "ISOTROPIC")
_RELATIVE = ("GE", "CANON")
"""Vendors whose directions are relative to the image in classic instances, whatever element holds
them; in the functional groups of Enhanced ones they are the patient's."""
_COMMENT = re.compile(r"b=(\d+)\(([-+.\d]+),([-+.\d]+),([-+.\d]+)\)")
_SIGNS = ((-1, -1, -1), (1, -1, 1), (1, 1, 1))
"""Of their frequency, phase and slice components, in sagittal, coronal and axial images."""
_GE_OFFSET = 100_000
"""GE adds 1e9 to b-values that it has made of several shells."""
_GE_LARGEST = 10_000


def diffusion_of(look: Lookup, plane: Plane | None) -> Diffusion:
    """The b-value and direction of a frame; None for what is not told."""
    maker = _maker(look)
    b, direction = _standard(look)
    if direction and maker.startswith(_RELATIVE) and not look.get(_MACRO, _DIRECTIONS, ""):
        direction = _in_patient(direction, look, plane)
    vendor = _VENDORS.get(maker[:2])
    if vendor and (b is None or (direction is None and b > 0) or vendor is _united):
        other = vendor(look, plane)
        b = other[0] if b is None else b
        direction = other[1] or direction if vendor is _united else direction or other[1]
    if b is None:
        return None, None
    if b == 0 or str(look.get(_MACRO, "DiffusionDirectionality")) in _NO_DIRECTION:
        return b, NOWHERE
    return b, None if direction is None else _unit(direction)


def maybe_unweighted(look: Lookup) -> bool:
    """Return True for an image without b-value of a vendor that writes none where it is 0."""
    return (
        _maker(look).startswith(("TOSHIBA", "CANON"))
        and "DERIVED" not in (look.header.get("ImageType") or [])
        and _COMMENT.match(_comment(look)) is None
    )


def _maker(look: Lookup) -> str:
    return str(look.header.get("Manufacturer") or "").upper()


def _in_patient(vector: Direction, look: Lookup, plane: Plane | None) -> Direction | None:
    """Turn a direction that is relative to the image into LPS, as dcm2niix does.

    It is told along frequency, phase and slice. Which of the image's axes these are follows from
    the phase encoding direction, and their signs from the nearest of the body's planes. None where
    the phase encoding direction is not told.
    """
    phase = look.get("MRFOVGeometrySequence", "InPlanePhaseEncodingDirection")
    if plane is None or not phase:
        return None
    nearest = int(np.argmax(np.abs(plane.normal)))
    frequency, encoding, across = np.multiply(vector, _SIGNS[nearest])
    if str(phase).startswith("COL"):
        right, down = -frequency, -encoding
    else:
        right, down = -encoding, frequency
    row, column = np.array(plane.orientation[:3]), np.array(plane.orientation[3:])
    x, y, z = (float(v) for v in right * row + down * column + across * plane.normal)
    return (x, y, z)


def as_classic(
    vector: Direction, maker: str, phase: str, orientation: Sequence[float]
) -> Direction | None:
    """Return a direction in LPS as classic instances of a vendor have it; see `_in_patient`.

    Args:
        vector: In LPS.
        maker: Manufacturer.
        phase: In-plane Phase Encoding Direction; empty where it is not told.
        orientation: Image Orientation (Patient).
    """
    if not maker.upper().startswith(_RELATIVE) or not any(vector):
        return vector
    if not phase:
        return None
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    normal = np.cross(row, column)
    right, down, across = (float(np.dot(vector, axis)) for axis in (row, column, normal))
    frequency, encoding = (-right, -down) if phase.startswith("COL") else (down, -right)
    signs = _SIGNS[int(np.argmax(np.abs(normal)))]
    x, y, z = (float(v) for v in np.multiply((frequency, encoding, across), signs))
    return (x, y, z)


def _unit(vector: Direction) -> Direction:
    length = math.hypot(*vector)
    if length < 1e-3:
        return NOWHERE
    x, y, z = (round(v / length, 9) + 0.0 for v in vector)
    return (x, y, z)


def _standard(look: Lookup) -> Diffusion:
    """MR Diffusion macro (PS3.3 section C.8.13.5.9), which some write into classic images."""
    b = number(look.get(_MACRO, "DiffusionBValue"))
    items = look.get(_MACRO, _DIRECTIONS, "")
    found = items[0].get("DiffusionGradientOrientation") if items else None
    return b, triple(found or look.header.get("DiffusionGradientOrientation"))


def _siemens(look: Lookup, _: Plane | None) -> Diffusion:
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
    direction = _parts(look, "GEMS_ACQU_01", 0x0019, (0xBB, 0xBC, 0xBD), "DS")
    return b, direction and _in_patient(direction, look, plane)


def _parts(
    look: Lookup, creator: str, group: int, elements: tuple[int, ...], vr: str
) -> Direction | None:
    """A vector whose components stand in elements of their own."""
    parts = [number(look.private(creator, group, element, vr)) for element in elements]
    return None if None in parts else triple(parts)


def _philips(look: Lookup, _: Plane | None) -> Diffusion:
    b = number(look.private("Philips Imaging DD 001", 0x2001, 0x03, "FL"))
    creator = "Philips MR Imaging DD 001"
    return b, _parts(look, creator, 0x2005, (0xB0, 0xB1, 0xB2), "FL")


def _united(look: Lookup, plane: Plane | None) -> Diffusion:
    """b-value, and direction, which is told along row, column and slice."""
    creator = "Image Private Header"
    b = number(look.private(creator, 0x0065, 0x09, "FD"))
    direction = triple(look.private(creator, 0x0065, 0x37, "FD"))
    if direction is None or plane is None:
        return b, None
    axes = np.array([plane.orientation[:3], plane.orientation[3:], plane.normal])
    x, y, z = (float(v) for v in direction @ axes)
    return b, (x, y, z)


def _canon(look: Lookup, plane: Plane | None) -> Diffusion:
    """The direction of an Image Comments such as b=1500(0.445,0.000,0.895): phase, frequency and
    slice (dcm2niix, Canon/README.md). It counts with the standard's b-value alone."""
    found = _COMMENT.match(_comment(look))
    try:
        parts = [float(part) for part in found.groups()] if found else []
    except ValueError:
        parts = []
    b = number(look.get(_MACRO, "DiffusionBValue"))
    if not parts or b is None or round(b) != parts[0]:
        return None, None
    return None, _in_patient((parts[2], parts[1], parts[3]), look, plane)


def _comment(look: Lookup) -> str:
    return str(look.header.get("ImageComments") or "")


_VENDORS: dict[str, Callable[[Lookup, Plane | None], Diffusion]] = {
    "SI": _siemens,
    "GE": _ge,
    "PH": _philips,
    "UI": _united,
    "CA": _canon,
    "TO": _canon,
}
"""By the first letters of Manufacturer."""
