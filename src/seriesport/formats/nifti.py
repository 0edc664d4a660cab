"""NIfTI-1 and NIfTI-2 from and to arrays: .nii, .nii.gz, .hdr with .img; .bval, .bvec, .json.

NIfTI's first axis is the column, then row, slice and tags, time first among these; its first
index runs fastest, so that the bytes lie as in an Image. Its affine leads to RAS.

Reading: sform is taken where its code is not 0, else qform, else the image lies nowhere (no
affine). `opts={"form": "qform"}` turns that round. Slope and intercept are applied; whole numbers
stay integers. Dimensions of 1 at the third place are left out. A fourth dimension is "b" where
there is a .bval file, "time" (s) where the header has a unit of time, else "frame"; files that
`write` made know their own axes from a header extension. RGBA loses its alpha. cal_min and cal_max
become the window.

Writing: sform and qform with code 1 (scanner), qform only where the axes are perpendicular; slope
is 1. `opts`: "suffix" (".nii.gz", ".nii", ".hdr"), "sidecar" (a dict, written as .json).
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from seriesport.errors import SeriesportError
from seriesport.formats import gradients, nifti_header
from seriesport.formats.axes import Axes, numbered, spatial_axes, tag_axes
from seriesport.formats.guard import damaged, unfit
from seriesport.formats.streams import (
    compressing,
    fill,
    finish,
    is_compressed,
    pieces,
    reading,
    skip,
)
from seriesport.formats.values import image_of, native, rescale, storable
from seriesport.images.room import check_room, room

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from seriesport.formats.nifti_header import Header
    from seriesport.images.geometry import Affine
    from seriesport.images.image import Array, Image


def read(paths: Sequence[Path], opts: Mapping[str, Any]) -> Image:
    """Read one image, with the .bval and .bvec among `paths` or beside it.

    Memory: the array, and a second one where slope and intercept change its type.

    Raises:
        SeriesportError: image-invalid, image-unsupported, image-too-large, geometry-irregular,
            file-unreadable.
    """
    main = _main(paths)
    data = _data_file(main)
    try:
        with reading(main) as stream:
            header, single = nifti_header.read_header(stream)
            affine = nifti_header.affine_of(header, opts)
            tags_text = nifti_header.tags_text(stream, header, single=single)
            array = _voxels(stream, header, main, opts) if single else None
        if array is None:
            with reading(data) as stream:
                skip(stream, nifti_header.voxel_offset(header))
                array = _voxels(stream, header, data, opts)
        slope, intercept = cast("tuple[float | None, float | None]", header.get_slope_inter())
    except nifti_header.BAD_HEADER as error:
        raise damaged(f"the NIfTI header cannot be read ({type(error).__name__})") from None
    if slope is not None and array.dtype.kind != "V" and not nifti_header.colours(header):
        array = rescale(array, slope, intercept or 0.0)
    axes, array = _axes(header, array, tags_text)
    axes = _with_gradients(axes, main, affine, named=bool(tags_text))
    return image_of(array, axes, affine, nifti_header.window_of(header))


def write(image: Image, folder: Path, stem: str, opts: Mapping[str, Any]) -> None:
    """Make STEM.nii.gz (or what `opts` says), and STEM.bval, .bvec and .json where there is cause.

    Raises:
        SeriesportError: format-unfit, where NIfTI has no such type or not as many dimensions;
            geometry-irregular.
    """
    suffix = str(opts.get("suffix") or ".nii.gz")
    if suffix not in (".nii.gz", ".nii", ".hdr", ".img"):
        raise unfit(f"NIfTI has no files that end with {suffix!r}")
    array, order = _ordered(image)
    header = nifti_header.new_header(image, array, order)
    text = Axes(image.axes, image.tags).encode().encode() if image.tags else b""
    if suffix in (".hdr", ".img"):
        (folder / f"{stem}.hdr").write_bytes(nifti_header.block(header, text, single=False))
        with (folder / f"{stem}.img").open("wb") as out:
            _put(out, array)
    elif suffix == ".nii":
        with (folder / f"{stem}.nii").open("wb") as out:
            out.write(nifti_header.block(header, text, single=True))
            _put(out, array)
    else:
        with compressing(folder / f"{stem}.nii.gz") as out:
            out.write(nifti_header.block(header, text, single=True))
            _put(out, array)
    _write_gradients(image, order, folder, stem)
    if opts.get("sidecar"):
        text_of = json.dumps(opts["sidecar"], indent="\t", ensure_ascii=False)
        (folder / f"{stem}.json").write_text(text_of + "\n", "utf-8")


def _main(paths: Sequence[Path]) -> Path:
    """The one file that has the header."""
    found = [p for p in paths if p.name.lower().endswith((".nii", ".nii.gz", ".hdr", ".hdr.gz"))]
    if not found:
        found = [_sibling(p, ".img", ".hdr") for p in paths if _stem(p) != p.name] or [*paths]
    found = list(dict.fromkeys(found))
    if len(found) != 1:
        raise SeriesportError("ambiguous", f"{len(found)} NIfTI images, and one can be read")
    return found[0]


def _stem(path: Path) -> str:
    name = path.name
    for suffix in (".gz", ".nii", ".hdr", ".img"):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
    return name


def _sibling(path: Path, old: str, new: str) -> Path:
    """The other file of a pair, whatever the case of its suffix; compressed or not."""
    if old not in path.name.lower():
        return path
    for ending in (new, new.upper(), f"{new}.gz"):
        other = path.with_name(_stem(path) + ending)
        if other.is_file():
            return other
    return path.with_name(_stem(path) + new)


def _data_file(main: Path) -> Path:
    return _sibling(main, ".hdr", ".img")


# Reading


def _voxels(stream: BinaryIO, header: Header, path: Path, opts: Mapping[str, Any]) -> Array:
    """The stored values: tags, slice, row, column (and colour), in this machine's byte order."""
    dtype = cast("np.dtype[Any]", header.get_data_dtype())
    colours = nifti_header.colours(header)
    if (
        (dtype.kind not in "iufc" and not colours)
        or dtype.itemsize > 16
        or dtype.name == "float128"
    ):
        raise SeriesportError("image-unsupported", "values of this type are not read")
    shape = nifti_header.dimensions(header)
    size = math.prod(shape) * dtype.itemsize
    stored = path.stat().st_size
    if size > stored and not is_compressed(path):
        raise damaged(f"the header asks for {size} bytes of voxels, and the file has {stored}")
    check_room(size, stored, opts)
    if colours:
        array = room((*reversed(shape), colours), np.dtype("u1"))
        fill(stream, array)
        finish(stream)
        return array[..., :3]
    array = room(shape[::-1], dtype)
    fill(stream, array)
    finish(stream)
    return native(array)


def _axes(header: Header, array: Array, text: bytes) -> tuple[Axes, Array]:
    """What the axes are, and the array with these."""
    shape = array.shape
    if text:
        axes = Axes.decode(text)
        return axes, _stated(array, axes)
    dimensions = 2 if shape[4] == 1 else 3
    tags = {f"dim{7 - i}": numbered(n) for i, n in enumerate(shape[:3]) if n > 1}
    if shape[3] > 1:
        times = nifti_header.times(header, shape[3])
        tags |= {"frame": numbered(shape[3])} if times is None else {"time": times}
    names = (*tags, *spatial_axes(dimensions, colour=nifti_header.colours(header) > 0))
    full = [*(len(v) for v in tags.values()), *shape[7 - dimensions :]]
    return Axes(names, tags), array.reshape(full)


def _stated(array: Array, axes: Axes) -> Array:
    """The array with the axes that its own extension states."""
    order = _time_last(axes.lead)
    volume = array.shape[4 if "slice" in axes.names else 5 :]
    full = [*(len(axes.tags[name]) for name in order), *volume]
    if math.prod(full) != array.size:
        raise damaged("the names or values of the axes do not fit the array")
    array = array.reshape(full)
    lead = len(order)
    return array.transpose([*map(order.index, axes.lead), *range(lead, array.ndim)])


def _with_gradients(axes: Axes, main: Path, affine: Affine | None, *, named: bool) -> Axes:
    """With what .bval and .bvec beside the image say; a dimension that is not `named` is "b"."""
    order = _time_last(axes.lead)
    lengths = [len(axes.tags[name]) for name in order]
    bval, bvec = (main.with_name(_stem(main) + suffix) for suffix in (".bval", ".bvec"))
    values, vectors = gradients.read(bval, bvec, affine, math.prod(lengths))
    if values is None:
        return axes
    back = [*map(order.index, axes.lead)]
    if vectors is not None:
        vectors = vectors.reshape([*lengths, 3]).transpose([*back, len(back)])
    table = values.reshape(lengths).transpose(back)
    names, tags = axes.names, axes.tags
    if axes.lead in (("time",), ("frame",)) and not named:
        names, tags = ("b", *names[1:]), {"b": tuple(values.tolist())}
    return Axes(names, tags, table, vectors)


# Writing


def _time_last(names: Sequence[str]) -> list[str]:
    """Tag axes in the file's order: time comes next to the volume, as NIfTI wants it."""
    return sorted(names, key=lambda name: name == "time")


def _ordered(image: Image) -> tuple[Array, list[str]]:
    """The array with tag axes in the file's order, and their names."""
    names = tag_axes(image.axes)
    order = _time_last(names)
    array = image.array.transpose(
        [*(names.index(n) for n in order), *range(len(names), image.array.ndim)]
    )
    return storable(array), order


def _write_gradients(image: Image, order: Sequence[str], folder: Path, stem: str) -> None:
    """.bval and .bvec, in the order of the file's volumes."""
    names = tag_axes(image.axes)
    back = [names.index(name) for name in order]
    values, vectors = image.bvalues, image.bvectors
    if values is not None:
        values = values.transpose(back).reshape(-1)
    if vectors is not None:
        vectors = vectors.transpose([*back, len(back)]).reshape(-1, 3)
    gradients.write(values, vectors, image.affine_lps, folder, stem)


def _put(out: BinaryIO, array: Array) -> None:
    out.writelines(pieces(array))
