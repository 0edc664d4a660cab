"""UIH's volumes in one picture: ImageType VFRAME, slices tiled row by row, and where each lies.

The layout is told by UIH (dcm2niix, UIH/README.md): (0065,xx50) has the number of slices; the
picture has ceil(sqrt(slices)) columns of tiles, and as many rows as that takes; (0065,xx51) has an
item for each slice with its Image Position (Patient).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydicom.values import convert_SQ

from seriesport.counts import counted
from seriesport.errors import SeriesportError
from seriesport.images.lookup import number, triple
from seriesport.images.mosaic import Tile

if TYPE_CHECKING:
    from seriesport.images.geometry import Plane
    from seriesport.images.lookup import Lookup

_CREATOR, _GROUP = "Image Private Header", 0x0065
_MOST = 65536


def tiles(look: Lookup, plane: Plane | None, rows: int, columns: int) -> list[Tile]:
    """The slices of a picture that holds a UIH volume.

    Args:
        look: The header, read with its sequences.
        plane: Of the first slice.
        rows: Of the picture.
        columns: Of the picture.

    Raises:
        SeriesportError: geometry-irregular where the header does not tell them.
    """
    count = number(look.private(_CREATOR, _GROUP, 0x50, "DS"))
    if plane is None or not count:
        raise _irregular("does not tell its place or its number of slices")
    if not 1 <= count <= _MOST or not count.is_integer():
        raise _irregular("cannot be divided into its slices")
    across = math.ceil(math.sqrt(count))
    down = math.ceil(count / across)
    if rows % down or columns % across:
        raise _irregular("cannot be divided into its slices")
    positions = _positions(look)
    if len(positions) != count:
        raise _irregular(
            f"tells {counted(len(positions), 'position')} for {counted(int(count), 'slice')}"
        )
    height, width = rows // down, columns // across
    return [
        Tile(i // across * height, i % across * width, height, width, replace(plane, position=p))
        for i, p in enumerate(positions)
    ]


def _positions(look: Lookup) -> list[tuple[float, float, float]]:
    items: Any = look.private(_CREATOR, _GROUP, 0x51) or []
    if isinstance(items, bytes):  # of an implicit VR, which hides that it is a sequence
        items = convert_SQ(items, is_implicit_VR=True, is_little_endian=True)
    found = [triple(item.get("ImagePositionPatient")) for item in items]
    return [position for position in found if position is not None]


def _irregular(problem: str) -> SeriesportError:
    return SeriesportError("geometry-irregular", f"the UIH volume {problem}")
