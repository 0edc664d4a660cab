"""Voxel values on their way between files and an Image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from seriesport.formats.guard import check_affine
from seriesport.images.geometry import spacing_of
from seriesport.images.image import Image
from seriesport.images.room import MIB, room

if TYPE_CHECKING:
    from seriesport.formats.axes import Axes
    from seriesport.images.geometry import Affine
    from seriesport.images.image import Array
    from seriesport.images.window import Window


def image_of(
    array: Array, axes: Axes, affine_lps: Affine | None, window: Window | None = None
) -> Image:
    """An image that was read from a file other than DICOM.

    Raises:
        SeriesportError: geometry-irregular; image-invalid, where axes and array differ.
    """
    affine = None if affine_lps is None else check_affine(affine_lps)
    axes.checked(array.shape)
    return Image(
        array=array,
        axes=axes.names,
        tags=dict(axes.tags),
        affine_lps=affine,
        spacing=None if affine is None else spacing_of(affine),
        window=window,
        photometric="RGB" if axes.names[-1] == "rgb" else "MONOCHROME2",
        bvalues=axes.bvalues,
        bvectors=axes.bvectors,
    )


def native(array: Array) -> Array:
    """The same values in this machine's byte order, swapped in place."""
    if array.dtype.isnative:
        return array
    return array.byteswap(inplace=True).view(array.dtype.newbyteorder("="))


def storable(array: Array) -> Array:
    """An array of a type that files know: truth values become uint8, half floats float32."""
    if array.dtype.kind == "b":
        return array.view(np.uint8)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def rescale(array: Array, slope: float, intercept: float) -> Array:
    """Apply a slope and an intercept; whole numbers stay integers where they fit.

    What was stored in 16 bits or less becomes float32 else, what was wider float64.
    """
    if (slope, intercept) == (1, 0) or not array.size:
        return array
    if array.dtype.kind in "iu" and float(slope).is_integer() and float(intercept).is_integer():
        ends = sorted(int(end(array)) * int(slope) + int(intercept) for end in (np.min, np.max))
        target = smallest(ends[0], ends[1], array.dtype)
        if target is not None:
            return _applied(array, int(slope), int(intercept), target)
    narrow = array.dtype.itemsize <= 2 or array.dtype == np.float32
    dtype = array.dtype if array.dtype.kind == "c" else np.dtype("f4" if narrow else "f8")
    return _applied(array, slope, intercept, dtype)


def _applied(array: Array, slope: float, intercept: float, dtype: np.dtype[Any]) -> Array:
    flat = array.reshape(-1)
    out = room(flat.shape, dtype)
    wide = np.dtype("i8") if dtype.kind in "iu" else np.result_type(dtype, np.float64)
    with np.errstate(all="ignore"):  # values beyond the type become infinite
        for at in range(0, flat.size, MIB):
            piece = flat[at : at + MIB].astype(wide)
            piece *= slope
            piece += intercept
            out[at : at + MIB] = piece
    return out.reshape(array.shape)


def smallest(low: int, high: int, first: np.dtype[Any]) -> np.dtype[Any] | None:
    """The type that holds a range of integers: `first` if it does, else the narrowest other."""
    for name in (first, "i2", "u2", "i4", "u4", "i8"):
        dtype = np.dtype(name)
        if dtype.kind in "iu" and np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return dtype
    return None
