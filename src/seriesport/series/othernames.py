"""Read-only attributes by the names that imagedata gives them, with its conventions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from seriesport.series.attributes import Attributes

if TYPE_CHECKING:
    from seriesport.images.geometry import Affine
    from seriesport.images.image import Array


class Tags(dict[Any, Any]):
    """The values of each tag axis by its name; of each image of a slice by the slice's number.

    `tags["time"][3]` is a time; `tags[0][3]` has the values of all tag axes of image 3, a tuple.
    """

    def __init__(self, tags: dict[str, tuple[Any, ...]], slices: int) -> None:
        super().__init__(tags)
        self._slices = slices

    def __missing__(self, key: Any) -> Array:
        if isinstance(key, bool) or not isinstance(key, int) or not 0 <= key < self._slices:
            raise KeyError(key)
        values = list(self.values())
        made = np.empty(tuple(map(len, values)), dtype=object)
        for at in np.ndindex(made.shape):
            made[at] = tuple(axis[i] for axis, i in zip(values, at, strict=True))
        return made


class OtherNames(Attributes):
    """What users of imagedata look for; see docs/imagedata.md."""

    @property
    def tags(self) -> Tags:
        """For each tag axis the value at each index: s for time, ms for echo, te and trigger.

        By the number of a slice, an array of the tag axes' shape of tuples.
        """
        return Tags(super().tags, self.slices)

    @property
    def slices(self) -> int:
        """Number of slices."""
        return self._length("slice") if "slice" in self.image.axes else 1

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self._length("row")

    @property
    def columns(self) -> int:
        """Number of columns."""
        return self._length("column")

    @property
    def sliceLocations(self) -> Array | None:
        """Where each slice lies along the normal of the first, mm; None without a place."""
        positions, orientation = self.imagePositions, self.orientation
        if positions is None or orientation is None:
            return None
        return positions @ np.cross(orientation[:3], orientation[3:])

    @property
    def transformationMatrix(self) -> Affine | None:
        """From (slice, row, column, 1) to z, y, x of LPS, mm: `affine_lps` with its rows turned."""
        affine = self.affine_lps
        return None if affine is None else affine[[2, 1, 0, 3]]

    @property
    def frameOfReferenceUID(self) -> str:
        """Frame of Reference UID of the first slice; empty where it has none."""
        return str(self.getDicomAttribute("FrameOfReferenceUID") or "")

    @property
    def SOPClassUID(self) -> str:
        """SOP Class UID of the first slice as it was read; empty where it has none."""
        return str(self.getDicomAttribute("SOPClassUID") or "")

    @property
    def windowCenter(self) -> float | None:
        """Centre of the grey values to show. Set `window` to change it."""
        return None if self.window is None else self.window[0]

    @property
    def windowWidth(self) -> float | None:
        """Width of the grey values to show. Set `window` to change it."""
        return None if self.window is None else self.window[1]
