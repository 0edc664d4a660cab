"""MATLAB's .mat, level 5 (what `save -v6` and `-v7` write; 7.3 is HDF5 and refused).

Variables, in MATLAB's own order, so that `imshow(array(:, :, k), [])` shows a slice as it is:
    array: (row, column, slice, tag ...), or (row, column, rgb, slice, tag ...); without the axes
        that the image has not.
    axes: Their names, as text with spaces between.
    affine: 4 x 4, from [row; column; slice; 1], counted from 0, to RAS in mm.
    spacing: Between rows, columns and slices, in mm.
    values_NAME: The values along a tag axis, one a row: ms for echo and trigger, s/mm² for b,
        s for time, else numbers; what is no table of numbers, as JSON.
    bvalues, bvectors: Of diffusion images, s/mm² and unit vectors in LPS, a row for each volume in
        the order of the array.

Reading takes any file with one variable of numbers (`opts={"variable": NAME}` where there are
more) or with these; without `axes` it is (row, column, slice, tag). Complex values are refused.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from seriesport.errors import SeriesportError
from seriesport.formats import mat5
from seriesport.formats.axes import (
    Axes,
    decode_values,
    encode_values,
    numbered,
    spatial_axes,
    table,
    tag_axes,
)
from seriesport.formats.guard import check_affine, damaged
from seriesport.formats.streams import reading
from seriesport.formats.values import image_of, storable
from seriesport.images.geometry import lps_to_ras, spacing_of
from seriesport.images.room import check_room, room

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from seriesport.images.geometry import Affine
    from seriesport.images.image import Array, Image

_SMALL = 16 << 20
_PLANE = ("row", "column", "rgb")
_TO_MATLAB = [1, 2, 0, 3]
_FROM_MATLAB = [2, 0, 1, 3]
"""Columns of an affine, between (slice, row, column) and (row, column, slice)."""


def read(paths: Sequence[Path], opts: Mapping[str, Any]) -> Image:
    """Read one variable, with what belongs to it. Memory: the array and one slice.

    Raises:
        SeriesportError: image-invalid, image-unsupported, image-too-large, ambiguous,
            geometry-irregular, file-unreadable.
    """
    if len(paths) != 1:
        raise SeriesportError("ambiguous", f"{len(paths)} .mat files, and one can be read")
    with reading(paths[0]) as stream:
        found, order = mat5.variables(stream, paths[0].stat().st_size)
        chosen = _chosen(found, opts)
        small = {
            name: _small(stream, variable, order)
            for name, variable in found.items()
            if name in ("axes", "affine", "bvalues", "bvectors") or name.startswith("values_")
        }
        axes, dims = _axes(chosen, small)
        array = _array(stream, chosen, order, opts, axes.names, dims)
    return image_of(array, axes, _affine(small))


def write(image: Image, folder: Path, stem: str, opts: Mapping[str, Any]) -> None:  # noqa: ARG001
    """Make STEM.mat.

    Raises:
        SeriesportError: format-unfit, where MATLAB has no such type, or level 5 no such size.
    """
    array = storable(image.array)
    plane = 3 if image.colour else 2
    lead, inner = array.shape[: array.ndim - plane], array.shape[array.ndim - plane :]
    start = mat5.prefix("array", array.dtype, (*inner, *lead[::-1]))
    with (folder / f"{stem}.mat").open("wb") as out:
        out.write(mat5.header() + mat5.text("axes", " ".join(_matlab_axes(image.axes))))
        if image.affine_lps is not None:
            affine = lps_to_ras(check_affine(image.affine_lps))[:, _TO_MATLAB]
            z, y, x = spacing_of(image.affine_lps)
            out.write(mat5.numbers("affine", affine) + mat5.numbers("spacing", np.array([y, x, z])))
        for name, values in image.tags.items():
            out.write(_tag(name, values))
        if image.bvalues is not None:
            out.write(mat5.numbers("bvalues", image.bvalues.reshape(-1, 1)))
        if image.bvectors is not None:
            out.write(mat5.numbers("bvectors", image.bvectors.reshape(-1, 3)))
        out.write(start)
        for piece in array.reshape(-1, *inner):
            turned = piece.T if plane == 2 else piece.transpose(2, 1, 0)
            out.write(np.ascontiguousarray(turned).data)
        out.write(bytes(mat5.padding(array.nbytes)))


def _matlab_axes(axes: Sequence[str]) -> list[str]:
    """An image's axes in MATLAB's order."""
    return [*(a for a in axes if a in _PLANE), *(a for a in reversed(axes) if a not in _PLANE)]


def _image_axes(names: Sequence[str]) -> list[str]:
    """MATLAB's axes in an image's order."""
    return [*(a for a in reversed(names) if a not in _PLANE), *(a for a in names if a in _PLANE)]


def _key(name: str) -> str:
    """A variable's name for a tag's values."""
    return "values_" + re.sub(r"\W", "_", name, flags=re.ASCII)[:50]


def _tag(name: str, values: Sequence[Any]) -> bytes:
    numbers = table(values)
    if numbers is None or numbers.ndim > 2:
        return mat5.text(_key(name), encode_values(values))
    return mat5.numbers(_key(name), numbers.reshape(len(values), -1))


def _chosen(found: Mapping[str, mat5.Variable], opts: Mapping[str, Any]) -> mat5.Variable:
    """The variable that is the image."""
    numbers = {n: v for n, v in found.items() if v.kind != mat5.TEXT and v.size}
    name = str(opts.get("variable") or "array")
    if name not in numbers and not opts.get("variable") and len(numbers) == 1:
        name = next(iter(numbers))
    if name not in numbers:
        raise SeriesportError(
            "ambiguous", f"{len(numbers)} variables of numbers; name one in opts as variable"
        )
    if numbers[name].complex:
        raise SeriesportError("image-unsupported", "complex values are not read")
    return numbers[name]


def _small(stream: BinaryIO, variable: mat5.Variable, order: str) -> Array | str:
    """A table as it is in MATLAB, or text."""
    if variable.size > _SMALL or len(variable.shape) != 2:
        raise damaged("a variable beside the array is too large")
    table, _ = next(mat5.load(stream, variable, order, {}))
    if variable.kind != mat5.TEXT:
        return table.T
    return table.T.reshape(-1).astype("<u2").tobytes().decode("utf-16-le", "replace")


def _axes(chosen: mat5.Variable, small: Mapping[str, Array | str]) -> tuple[Axes, tuple[int, ...]]:
    """What the axes are, and the variable's shape with all of its axes."""
    stated = small.get("axes")
    if isinstance(stated, str):
        names = tuple(_image_axes(stated.split()))
    else:
        lead = [f"dim{n}" for n in range(len(chosen.shape), 3, -1)]
        names = (*lead, *spatial_axes(min(len(chosen.shape), 3)))
    # MATLAB drops trailing dimensions of 1.
    dims = chosen.shape + (1,) * (len(names) - len(chosen.shape))
    tags: dict[str, tuple[Any, ...]] = {}
    for name, length in zip(tag_axes(names), dims[::-1], strict=False):
        listed = small.get(_key(name))
        tags[name] = numbered(length) if listed is None else _values(listed)
    lengths = [len(v) for v in tags.values()]
    bvalues, bvectors = (_numbers(small.get(name)) for name in ("bvalues", "bvectors"))
    try:
        axes = Axes(
            names,
            tags,
            None if bvalues is None else bvalues.reshape(lengths),
            None if bvectors is None else bvectors.reshape([*lengths, 3]),
        )
    except ValueError:
        raise damaged("the b-values or directions do not fit the axes") from None
    return axes.checked(), dims


def _numbers(values: Array | str | None) -> Array | None:
    return None if values is None or isinstance(values, str) else values.astype(np.float64)


def _values(listed: Array | str) -> tuple[Any, ...]:
    if isinstance(listed, str):
        return decode_values(listed)
    if listed.shape[1] == 1:
        return tuple(listed[:, 0].tolist())
    return tuple(tuple(row) for row in listed.tolist())


def _array(
    stream: BinaryIO,
    chosen: mat5.Variable,
    order: str,
    opts: Mapping[str, Any],
    axes: Sequence[str],
    dims: Sequence[int],
) -> Array:
    check_room(chosen.size, chosen.stored, opts)
    if len(dims) != len(axes):
        raise damaged("the names of the axes do not fit the array")
    whole = replace(chosen, shape=tuple(dims))
    if axes[-1] == "rgb":
        array = room((*dims[:2:-1], *dims[:3]), whole.dtype)
        target = np.moveaxis(array, -1, -3)
    else:
        array = target = room((*dims[:1:-1], *dims[:2]), whole.dtype)
    for plane, index in mat5.load(stream, whole, order, opts):
        target[index] = plane.T
    return array


def _affine(small: Mapping[str, Array | str]) -> Affine | None:
    stated = small.get("affine")
    if stated is None:
        return None
    if isinstance(stated, str) or stated.shape != (4, 4):
        raise damaged("the affine is no matrix of 4 x 4 numbers")
    return lps_to_ras(check_affine(stated.astype(np.float64)[:, _FROM_MATLAB]))
