"""Siemens mosaics: all slices of a volume tiled in one picture, and the header that explains them.

The CSA header is Siemens' own; its layout is told by nibabel's documentation ("Siemens format
DICOM with CSA header").
"""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from seriesport.errors import SeriesportError
from seriesport.images.geometry import Plane
from seriesport.images.lookup import number, triple

if TYPE_CHECKING:
    from seriesport.images.lookup import Lookup

TILED = ("MOSAIC", "VFRAME")
"""Values of Image Type that stand for a picture of many slices: Siemens', UIH's."""
_TAG = struct.Struct("<64si4siii").unpack_from
_ITEM = struct.Struct("<4i").unpack_from
_CHECKS = (77, 205)
_WANTED = (
    "NumberOfImagesInMosaic",
    "SliceNormalVector",
    "ProtocolSliceNumber",
    "SpacingBetweenSlices",
    "B_value",
    "DiffusionGradientDirection",
)


class Tile(NamedTuple):
    """A slice in a picture of many."""

    top: int
    """Its first row."""
    left: int
    """Its first column."""
    rows: int
    columns: int
    plane: Plane


def siemens_header(look: Lookup) -> dict[str, list[float]]:
    """The numbers of the CSA image header that are of use here; none where there is no header."""
    data = look.private("SIEMENS CSA HEADER", 0x0029, 0x10)
    return _fields(data) if isinstance(data, bytes) else {}


def _fields(data: bytes) -> dict[str, list[float]]:
    """Elements of a CSA header of either kind; what is broken ends it.

    In the older kind each length counts the items of the first element too (as SPM reads it).
    """
    found: dict[str, list[float]] = {}
    newer = data[:4] == b"SV10"
    at, excess = 8 if newer else 0, 0
    try:
        (count,) = struct.unpack_from("<i", data, at)
        at += 8
        for element in range(min(count, 1024)):
            name, _, _, _, items, check = _TAG(data, at)
            if check not in _CHECKS:
                break
            at += 84
            if not newer and element == 0:
                excess = items
            values: list[float] = []
            for _ in range(items):
                length = _ITEM(data, at)[1] if newer else _ITEM(data, at)[0] - excess
                text = data[at + 16 : at + 16 + length].partition(b"\0")[0].strip()
                if length < 0 or at + 16 + length > len(data):
                    return found
                if text:
                    values.append(_value(text))
                at += 16 + (length + 3) // 4 * 4
            key = name.partition(b"\0")[0].decode("latin-1")
            if key in _WANTED:
                found[key] = values
    except struct.error:
        pass
    return found


def _value(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def tiles(look: Lookup, plane: Plane | None, rows: int, columns: int) -> list[Tile]:
    """The slices of a mosaic.

    Raises:
        SeriesportError: geometry-irregular where the header does not tell.
    """
    fields = siemens_header(look)
    count = number(fields.get("NumberOfImagesInMosaic")) or number(
        look.private("SIEMENS MR HEADER", 0x0019, 0x0A, "US")
    )
    normal = triple(fields.get("SliceNormalVector"))
    gap = number(look.header.get("SpacingBetweenSlices")) or number(
        fields.get("SpacingBetweenSlices")
    )
    for value, what in (
        (plane, "place"),
        (count, "number of slices"),
        (normal, "slice normal"),
        (gap, "slice spacing"),
    ):
        if not value:
            raise _irregular(f"the Siemens mosaic does not tell its {what}")
    assert plane is not None
    assert count is not None
    assert normal is not None
    assert gap is not None
    across = math.ceil(math.sqrt(count))
    if count < 1 or rows % across or columns % across or not count.is_integer():
        raise _irregular("the Siemens mosaic cannot be divided into its slices")
    return _divided(plane, int(count), across, (rows // across, columns // across), normal, gap)


def _divided(
    plane: Plane,
    count: int,
    across: int,
    shape: tuple[int, int],
    normal: tuple[float, float, float],
    gap: float,
) -> list[Tile]:
    # Image Position is that of a picture of the mosaic's size around the first slice's centre.
    down, right = np.array(plane.orientation[3:]), np.array(plane.orientation[:3])
    first = np.array(plane.position)
    first += right * plane.spacing[1] * shape[1] * (across - 1) / 2
    first += down * plane.spacing[0] * shape[0] * (across - 1) / 2
    along = float(np.dot(plane.normal, normal))
    if abs(along) < 1 - 1e-2:
        raise _irregular("the slice normal of the Siemens mosaic is not across its slices")
    step = math.copysign(gap, along) * plane.normal
    slices: list[Tile] = []
    for i in range(count):
        x, y, z = (float(v) for v in first + i * step)
        top, left = i // across * shape[0], i % across * shape[1]
        slices.append(Tile(top, left, *shape, replace(plane, position=(x, y, z))))
    return slices


def _irregular(problem: str) -> SeriesportError:
    return SeriesportError("geometry-irregular", problem)
