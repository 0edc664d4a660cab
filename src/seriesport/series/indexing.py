"""Indexing an Image: what `image[key]` is, and where it lies.

Integers, slices and `...` keep the geometry: a slice moves the origin, its step multiplies the
spacing, a negative step turns an axis round, an integer takes an axis away. What geometry cannot
follow is a plain array, as NumPy gives it: masks, lists of indices, `None`, a single row or
column, two of three colours, and selections of nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from operator import index
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from seriesport.formats.axes import tag_axes
from seriesport.images.geometry import SPATIAL, spacing_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seriesport.images.geometry import Affine
    from seriesport.images.image import Array, Image

Part: TypeAlias = "int | slice[Any, Any, Any]"
"""What selects along one axis."""


@dataclass(frozen=True, slots=True)
class Selection:
    """A part of an image that is an image."""

    image: Image
    """Its array is a view."""
    slices: Array
    """Which slices it has: their places in C order of the axes before row."""


def numbered_slices(image: Image) -> Array:
    """The place of each slice in C order; axes (tags..., slice), slice only where there is one."""
    lead = image.array.shape[: image.axes.index("row")]
    places: Array = np.arange(prod(lead))
    return places.reshape(lead)


def select(image: Image, key: Any) -> Selection | None:
    """A part of an image; None where the part is a plain array.

    Raises:
        IndexError: as NumPy does.
    """
    parts = _per_axis(key, image.array.shape)
    if parts is None:
        return None
    by_axis = dict(zip(image.axes, parts, strict=True))
    kept = [name for name, part in by_axis.items() if isinstance(part, slice)]
    colours = by_axis.get("rgb", 0)
    whole = isinstance(colours, int) or colours.indices(3) == (0, 3, 1)
    if not {"row", "column"} <= set(kept) or not whole:
        return None
    array: Array = image.array[parts]
    if not array.size:
        return None
    affine = None if image.affine_lps is None else _moved(image, by_axis)
    lead = parts[: image.axes.index("row")]
    return Selection(
        replace(
            image,
            array=array,
            axes=tuple(kept),
            tags={n: v[by_axis[n]] for n, v in image.tags.items() if n in kept},
            affine_lps=affine,
            spacing=None if affine is None else spacing_of(affine),
            photometric=image.photometric if "rgb" not in by_axis or "rgb" in kept else GREY,
            frames=_frames(image, by_axis),
            bvalues=_volumes(image, image.bvalues, by_axis),
            bvectors=_volumes(image, image.bvectors, by_axis),
        ),
        np.asarray(numbered_slices(image)[lead]),
    )


GREY = "MONOCHROME2"


def without(image: Image, axes: Sequence[str], array: Array) -> Selection:
    """What became of an image of which tag axes were summed up."""
    kept = tuple(a for a in image.axes if a not in axes)
    first = tuple(0 if a in axes else slice(None) for a in image.axes)
    lead = first[: image.axes.index("row")]
    made = replace(
        image,
        array=array,
        axes=kept,
        tags={n: v for n, v in image.tags.items() if n in kept},
        frames=None,
        bvalues=None,
        bvectors=None,
    )
    return Selection(made, np.asarray(numbered_slices(image)[lead]))


def _per_axis(key: Any, shape: Sequence[int]) -> tuple[Part, ...] | None:
    """An integer or a slice for every axis; None where the key has anything else."""
    given = cast("tuple[Any, ...]", key if isinstance(key, tuple) else (key,))
    parts: list[Part | None] = [_part(part) for part in given]
    if any(part is None for part in parts):
        return None
    open_ended = [i for i, part in enumerate(given) if part is Ellipsis]
    if len(open_ended) > 1 or len(given) - len(open_ended) > len(shape):
        return None  # NumPy says what is wrong
    at = open_ended[0] if open_ended else len(given)
    before, after = parts[:at], parts[at + 1 :]
    filling = [slice(None)] * (len(shape) - len(before) - len(after))
    every = [part for part in (*before, *filling, *after) if part is not None]
    return tuple(
        _within(part, length, axis) if isinstance(part, int) else part
        for axis, (part, length) in enumerate(zip(every, shape, strict=True))
    )


def _part(part: Any) -> Part | None:
    if part is Ellipsis:
        return slice(None)
    if isinstance(part, slice):
        return cast("Part", part)
    if isinstance(part, (int, np.integer)) and not isinstance(part, bool):
        return index(cast("int", part))
    return None


def _within(at: int, length: int, axis: int) -> int:
    if not -length <= at < length:
        raise IndexError(f"index {at} is out of bounds for axis {axis} with size {length}")
    return at % length


def _moved(image: Image, by_axis: Mapping[str, Part]) -> Affine:
    """The affine of a part: where its first voxel lies, and the steps from it."""
    assert image.affine_lps is not None
    affine = np.array(image.affine_lps, dtype=np.float64)
    for column, name in enumerate(SPATIAL):
        if name not in by_axis:
            continue
        part, length = by_axis[name], image.array.shape[image.axes.index(name)]
        start, stop, step = (part, part + 1, 1) if isinstance(part, int) else part.indices(length)
        affine[:3, 3] += start * affine[:3, column]
        if len(range(start, stop, step)) > 1:
            affine[:3, column] *= step
    return affine


def _tag_parts(image: Image, by_axis: Mapping[str, Part]) -> tuple[Part, ...]:
    return tuple(by_axis[name] for name in tag_axes(image.axes))


def _volumes(image: Image, values: Array | None, by_axis: Mapping[str, Part]) -> Array | None:
    return None if values is None else np.asarray(values[_tag_parts(image, by_axis)])


def _frames(image: Image, by_axis: Mapping[str, Part]) -> Array | None:
    """Frames keep a slice axis where the array has none."""
    if image.frames is None:
        return None
    part = by_axis.get("slice", slice(None))
    kept = part if isinstance(part, slice) else slice(part, part + 1)
    return image.frames[(*_tag_parts(image, by_axis), kept)]
