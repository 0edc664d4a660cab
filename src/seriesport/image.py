"""Image: voxel values, what their axes are, where they lie; what every format reads and writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import iter_pixels

from seriesport.errors import SeriesportError
from seriesport.frames import BAD_DATA, quiet, read_frames
from seriesport.geometry import lps_to_ras, spacing_of
from seriesport.sorting import arrange

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from seriesport.frames import Frame, Window
    from seriesport.geometry import Affine
    from seriesport.orders import InputOrder, Options
    from seriesport.sorting import Arrangement, Grid

Array = np.ndarray[Any, np.dtype[Any]]

_INTEGERS = (np.int16, np.uint16, np.int32, np.uint32)


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
        array = _fill(grid)
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


def pixels(frames: Sequence[Frame]) -> Iterator[Array]:
    """The decoded, not rescaled, pixels of frames of one file; palettes and YBR become RGB.

    Raises:
        SeriesportError: conversion-failed.
    """
    path, instance = frames[0].path, frames[0].instance
    header = pydicom.Dataset()
    try:
        with quiet():
            for array in iter_pixels(path, ds_out=header, indices=[f.index for f in frames]):
                yield _finished(array, header, frames[0])
    except BAD_DATA as error:
        raise SeriesportError(
            "conversion-failed",
            f"the pixels of instance {instance} cannot be decoded ({type(error).__name__})",
        ) from None


def _finished(array: Array, header: pydicom.Dataset, frame: Frame) -> Array:
    if frame.photometric == "PALETTE COLOR":
        array = apply_color_lut(array, header)
        return (array >> 8).astype(np.uint8) if array.dtype == np.uint16 else array
    if frame.has_modality_lut:
        return apply_modality_lut(array, header)
    return array


def rescaled(array: Array, frame: Frame) -> Array:
    """One frame's values (PS3.3 section C.11.1.1), as float32 where they change."""
    if array.ndim > 2 or frame.has_modality_lut or (frame.slope, frame.intercept) == (1, 0):
        return array
    return array.astype(np.float32) * np.float32(frame.slope) + np.float32(frame.intercept)


def _diffusion(volumes: Grid) -> tuple[Array | None, Array | None]:
    """b-values and directions of each volume, from its first slice."""
    frames: list[Frame] = list(volumes.flat)
    values = [f.tags.get("b") for f in frames]
    if any(v is None for v in values):
        return None, None
    bvalues = np.array(values, np.float64).reshape(volumes.shape)
    if all(f.direction is None for f in frames):
        return bvalues, None
    vectors = np.array([f.direction or (0.0, 0.0, 0.0) for f in frames])
    return bvalues, vectors.reshape((*volumes.shape, 3))


def _fill(grid: Grid) -> Array:
    """Decode every frame into its place, rescaled, one slice at a time; axis 0 is of slices."""
    frames: list[Frame] = list(grid.flat)
    places: dict[Path, list[tuple[Frame, int]]] = {}
    for at, frame in enumerate(frames):
        places.setdefault(frame.path, []).append((frame, at))
    scaled = not frames[0].has_modality_lut and frames[0].samples == 1
    whole = all(f.slope.is_integer() and f.intercept.is_integer() for f in frames)
    array: Array | None = None
    for path_places in places.values():
        path_places.sort(key=lambda p: p[0].index)
        decoded = pixels([f for f, _ in path_places])
        for (frame, at), image in zip(path_places, decoded, strict=True):
            if array is None:
                dtype = image.dtype if whole or not scaled else _float_for(image.dtype)
                array = _room((len(frames), *image.shape), dtype)
            if image.shape != array.shape[1:]:
                raise SeriesportError("geometry-irregular", "the images differ in size")
            if whole or not scaled:
                array = array.astype(np.result_type(array, image), copy=False)
                array[at] = image
            else:
                array[at] = image * frame.slope + frame.intercept
    assert array is not None
    return _rescale_whole(array, frames) if scaled and whole else array


def _room(shape: tuple[int, ...], dtype: np.dtype[Any] | type[np.floating[Any]]) -> Array:
    try:
        return np.empty(shape, dtype)
    except MemoryError:
        raise SeriesportError(
            "conversion-failed", "the series is too large for this machine's memory"
        ) from None


def _float_for(stored: np.dtype[Any]) -> type[np.floating[Any]]:
    return np.float32 if stored.itemsize <= 2 else np.float64


def _rescale_whole(array: Array, frames: Sequence[Frame]) -> Array:
    """Apply whole-numbered slopes and intercepts, in place where the result fits."""
    if {(f.slope, f.intercept) for f in frames} == {(1.0, 0.0)} or array.dtype.kind == "f":
        return array
    ends = [
        int(end(array[at])) * int(f.slope) + int(f.intercept)
        for at, f in enumerate(frames)
        for end in (np.min, np.max)
    ]
    low, high = min(ends), max(ends)
    fits = [d for d in (array.dtype, *map(np.dtype, _INTEGERS)) if _holds(d, low, high)]
    target = fits[0] if fits else np.dtype(np.float64)
    same = target.itemsize == array.dtype.itemsize and target.kind in "iu"
    out = array.view(target) if same else np.empty(array.shape, target)
    for at, frame in enumerate(frames):
        wide = array[at].astype(np.int64)
        out[at] = wide * int(frame.slope) + int(frame.intercept)
    return out


def _holds(dtype: np.dtype[Any], low: int, high: int) -> bool:
    limits = np.iinfo(dtype)
    return limits.min <= low and high <= limits.max
