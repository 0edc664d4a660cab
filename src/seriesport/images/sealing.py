"""What an image was when it was read: how a writer tells what has changed since."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from isal import isal_zlib

from seriesport.counts import counted
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seriesport.images.frames import Window
    from seriesport.images.image import Array, Image


@dataclass(frozen=True, slots=True)
class Seal:
    """What an image was when it was read, per slice; equality tells that nothing changed."""

    dtype: str
    crcs: tuple[int, ...]
    """Of each slice's values."""
    planes: tuple[tuple[float, ...], ...]
    """Of each slice: position of the first voxel, step from row to row, from column to column."""
    gap: float
    """Distance between slices in mm; 0 where there is no geometry."""
    tags: tuple[tuple[Any, ...], ...]
    """Of each slice: its values on the tag axes."""
    axes: tuple[str, ...]
    window: Window | None

    @classmethod
    def of(cls, image: Image) -> Seal:
        """Of an image as it is now."""
        return cls(
            image.array.dtype.str,
            tuple(map(checksum, slices_of(image))),
            planes_of(image),
            gap_of(image),
            tags_of(image),
            tuple(a for a in image.axes if a in image.tags),
            image.window,
        )

    def select(self, chosen: Sequence[int]) -> Seal:
        """Of some of the slices."""
        return replace(
            self,
            crcs=tuple(self.crcs[i] for i in chosen),
            planes=tuple(self.planes[i] for i in chosen) if self.planes else (),
            tags=tuple(self.tags[i] for i in chosen),
        )


def mismatch(problem: str) -> SeriesportError:
    """The error for data, geometry and header that do not fit each other."""
    return SeriesportError("geometry-mismatch", problem)


def lead_of(image: Image) -> tuple[int, ...]:
    """The lengths of the axes before row."""
    return image.array.shape[: image.axes.index("row")]


def slices_of(image: Image) -> Array:
    """The slices in a row: one axis before row, without a copy."""
    lead = len(lead_of(image))
    return image.array.reshape((-1, *image.array.shape[lead:]))


def checksum(values: Array) -> int:
    """Of a slice's values."""
    contiguous = np.ascontiguousarray(values).data.cast("B")
    return isal_zlib.crc32(cast("bytes", contiguous))  # pyright: ignore[reportUnknownMemberType] - its stub leaves the buffer untyped


def planes_of(image: Image) -> tuple[tuple[float, ...], ...]:
    """Of each slice: position of the first voxel, steps between rows and between columns."""
    if image.affine_lps is None:
        return ()
    affine = np.asarray(image.affine_lps, dtype=np.float64)
    count = image.array.shape[image.axes.index("slice")] if "slice" in image.axes else 1
    steps = (*affine[:3, 1].tolist(), *affine[:3, 2].tolist())
    places = [(affine[:3, 3] + k * affine[:3, 0]).tolist() for k in range(count)]
    volumes = int(np.prod(lead_of(image))) // max(count, 1)
    return tuple((*place, *steps) for place in places) * volumes


def gap_of(image: Image) -> float:
    """The distance between slices in mm."""
    return 0.0 if image.affine_lps is None else float(np.linalg.norm(image.affine_lps[:3, 0]))


def tags_of(image: Image) -> tuple[tuple[Any, ...], ...]:
    """Of each slice: its values on the tag axes.

    Raises:
        SeriesportError: geometry-mismatch where a tag axis has more or fewer values than indices.
    """
    shape = lead_of(image)
    names = [a for a in image.axes[: len(shape)] if a != "slice"]
    for name in names:
        values, length = image.tags.get(name), image.array.shape[image.axes.index(name)]
        if values is not None and len(values) != length:
            raise mismatch(
                f"the axis {name!r} has {counted(length, 'index', 'indices')} and"
                f" {counted(len(values), 'value')}"
            )
    found: list[tuple[Any, ...]] = []
    for index in np.ndindex(shape):
        at = dict(zip(image.axes, index, strict=False))
        found.append(tuple(image.tags[n][at[n]] for n in names if n in image.tags))
    return tuple(found)
