"""Image: voxel values, what their axes are, where they lie; what every format reads and writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seriesport.images.frames import read_frames
from seriesport.images.geometry import lps_to_ras, spacing_of
from seriesport.images.pixels import fill
from seriesport.images.sorting import arrange

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from seriesport.images.frames import Frame
    from seriesport.images.geometry import Affine
    from seriesport.images.orders import InputOrder, Options
    from seriesport.images.sorting import Arrangement, Grid
    from seriesport.images.window import Window

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Image:
    """Voxel values and where they lie. Lengths in mm."""

    array: Array
    """Rescaled values (PS3.3 section C.11.1.1): integers where slope and intercept are whole
    numbers, else float32. MONOCHROME1 is not inverted. Axes as `axes` says."""
    axes: tuple[str, ...]
    """Of (tags..., slice, row, column, rgb) those that the array has; a tag is named after what
    it is ("time", "b", "echo", "frame" ...). A single image has row and column only."""
    tags: Mapping[str, tuple[Any, ...]]
    """For each tag axis its value at each index, see `sorting.Arrangement.tags`."""
    affine_lps: Affine | None
    """From (slice, row, column, 1) to LPS; None where the images lie nowhere in the patient."""
    spacing: tuple[float, float, float] | None
    """Between slices, rows and columns."""
    window: Window | None
    """Of the middle slice."""
    photometric: str
    frames: Grid | None = None
    """Which file and frame each slice comes from: axes (tags..., slice), with a slice axis even
    where the array has none. None where no DICOM was read."""
    bvalues: Array | None = None
    """The b-value of each volume, s/mm², axes (tags...); None where a volume has none."""
    bvectors: Array | None = None
    """The diffusion gradient direction of each volume, a unit vector in LPS, axes (tags..., 3);
    zeros where b is 0 or no direction is told. None where no volume has one."""

    @classmethod
    def read(
        cls,
        files: Sequence[Path],
        input_order: InputOrder = "auto",
        opts: Options | None = None,
    ) -> Image:
        """Read the DICOM files of one series. Memory: the array and one slice.

        Args:
            files: In any order; instances without pixels are passed over.
            input_order: What tells the images at one position apart, see `orders`.
            opts: Options of reading, see `orders`.

        Raises:
            SeriesportError: not-an-image, instance-invalid, conversion-failed where pixels
                cannot be decoded, geometry-irregular where they form no regular grid,
                order-unknown.
        """
        return cls.of(arrange(read_frames(files), input_order, opts))

    @classmethod
    def of(cls, arrangement: Arrangement) -> Image:
        """Read the pixels of frames that are in order."""
        grid = arrangement.frames
        slices = grid.shape[-1]
        array = fill(arrangement.flat)
        array = array.reshape((*grid.shape[: -1 if slices == 1 else None], *array.shape[1:]))
        axes = (*arrangement.tags, *(["slice"] if slices > 1 else []), "row", "column")
        middle = arrangement.volumes[0][slices // 2]
        affine = arrangement.affine_lps
        bvalues, bvectors = _diffusion(grid[..., 0])
        return cls(
            array=array,
            axes=axes if array.ndim == len(axes) else (*axes, "rgb"),
            tags=arrangement.tags,
            affine_lps=affine,
            spacing=None if affine is None else spacing_of(affine),
            window=middle.window,
            photometric=middle.photometric,
            frames=grid,
            bvalues=bvalues,
            bvectors=bvectors,
        )

    @property
    def affine_ras(self) -> Affine | None:
        """From (slice, row, column, 1) to RAS."""
        return None if self.affine_lps is None else lps_to_ras(self.affine_lps)

    @property
    def colour(self) -> bool:
        """Whether the last axis is red, green, blue."""
        return self.axes[-1] == "rgb"


def _diffusion(volumes: Grid) -> tuple[Array | None, Array | None]:
    """b-values and directions of each volume, from its first slice."""
    frames: list[Frame] = list(volumes.flat)
    values = [f.tags.get("b") for f in frames]
    if any(v is None for v in values):
        return None, None
    bvalues = np.array(values, np.float64).reshape(volumes.shape)
    if not bvalues.any():  # no diffusion series
        return None, None
    if not any(any(f.direction or ()) for f in frames):
        return bvalues, None
    vectors = np.array([f.direction or (0.0, 0.0, 0.0) for f in frames])
    return bvalues, vectors.reshape((*volumes.shape, 3))
