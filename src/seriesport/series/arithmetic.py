"""NumPy on a Series: which results are images again, and which are plain arrays.

An image again, with the geometry and header of the operand whose shape it has:
- element-wise functions and operators, comparisons included (a mask is an image);
- sums, means, extremes and the like along tag axes, with the first header along them;
- flips.
Everything else is a plain array: reductions over slices, rows or columns, reshaping, transposing,
sorting, stacking, products of matrices; and arithmetic between images that lie in different places.
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from operator import index
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from seriesport.images.geometry import SPATIAL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from seriesport.images.image import Array, Image

SAME_PLACE = 1e-3
"""Largest difference of two affines, in mm, that counts as rounding."""

_ELEMENTWISE = """angle around astype clip copy empty_like fix full_like imag isclose iscomplex
isneginf isposinf isreal nan_to_num ones_like real real_if_close round sinc where zeros_like"""
_REDUCING = """all amax amin any argmax argmin average count_nonzero max mean median min nanargmax
nanargmin nanmax nanmean nanmedian nanmin nanpercentile nanprod nanquantile nanstd nansum nanvar
percentile prod ptp quantile std sum var"""


def _functions(names: str) -> frozenset[Any]:
    return frozenset(getattr(np, name) for name in names.split() if hasattr(np, name))


ELEMENTWISE = _functions(_ELEMENTWISE)
"""Functions whose result has the values of the same places."""
REDUCING = _functions(_REDUCING)
"""Functions that may go along an axis."""


def axis_of(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The `axis` that a call gives, None without one; `keepdims` makes it None too."""
    parameters = _parameters(function)
    given = dict(zip(parameters, args, strict=False)) | dict(kwargs)
    return None if given.get("keepdims") is True else given.get("axis")


@lru_cache(maxsize=64)
def _parameters(function: Any) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def summed_axes(image: Image, axis: Any) -> tuple[str, ...] | None:
    """The names of the axes that a reduction takes away, if these are tag axes all."""
    if axis is None:
        return None
    given = cast("tuple[Any, ...]", axis if isinstance(axis, tuple) else (axis,))
    try:
        names = tuple(image.axes[index(one)] for one in given)
    except (TypeError, IndexError):
        return None
    return names if set(names) <= set(image.tags) else None


def flips(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[int, ...] | None:
    """The axes that a call of np.flip turns round; None for any other function."""
    if function is not np.flip:
        return None
    axis = axis_of(function, args, kwargs)
    dimensions = len(np.shape(args[0]))
    if axis is None:
        return tuple(range(dimensions))
    return cast("tuple[int, ...]", axis if isinstance(axis, tuple) else (axis,))


def one_place(images: Sequence[Image], like: Image) -> bool:
    """Whether all images that lie somewhere, and have as many slices, rows and columns as `like`,
    lie in the same place."""
    size = _extent(like)
    affines = [i.affine_lps for i in images if i.affine_lps is not None and _extent(i) == size]
    return all(np.allclose(a, affines[0], rtol=0, atol=SAME_PLACE) for a in affines[1:])


def _extent(image: Image) -> tuple[int, ...]:
    lengths = zip(image.axes, image.array.shape, strict=True)
    return tuple(n for axis, n in lengths if axis in SPATIAL)


def unwrapped(value: Any, unwrap: Callable[[Any], Any]) -> Any:
    """Arguments with the images in them as arrays, lists and dictionaries too."""
    if isinstance(value, (list, tuple)):
        made = [unwrapped(v, unwrap) for v in cast("Sequence[Any]", value)]
        return tuple(made) if isinstance(value, tuple) else made
    if isinstance(value, dict):
        return {k: unwrapped(v, unwrap) for k, v in cast("dict[Any, Any]", value).items()}
    return unwrap(value)


def found(value: Any, kind: type) -> list[Any]:
    """The images among arguments."""
    if isinstance(value, kind):
        return [value]
    if isinstance(value, (list, tuple)):
        return [one for v in cast("Sequence[Any]", value) for one in found(v, kind)]
    if isinstance(value, dict):
        return [one for v in cast("dict[Any, Any]", value).values() for one in found(v, kind)]
    return []


def is_image_like(result: Any, like: Image) -> bool:
    """Whether a result has a value for each voxel of an image."""
    return isinstance(result, np.ndarray) and cast("Array", result).shape == like.array.shape
