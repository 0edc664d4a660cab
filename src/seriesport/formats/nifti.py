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
from seriesport.files import unreadable
from seriesport.formats import gradients, nifti_header
from seriesport.formats.axes import (
    axes_of,
    checked_axes,
    decode_tags,
    encode_tags,
    numbered,
    tag_axes,
)
from seriesport.formats.guard import check_room, damaged, room, unfit
from seriesport.formats.streams import (
    compressing,
    fill,
    is_compressed,
    pieces,
    reading,
    skip,
)
from seriesport.formats.values import image_of, native, rescale, storable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from seriesport.formats.nifti_header import Header
    from seriesport.geometry import Affine
    from seriesport.image import Array, Image

_MAX_SIDECAR = 16 << 20


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
    axes, tags, array = _axes(header, array, tags_text, main, affine)
    return image_of(array, axes, tags, affine, nifti_header.window_of(header))


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
    text = b"" if not tag_axes(image.axes) else encode_tags(image.axes, image.tags).encode()
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
    gradients.write_tables(image, folder, stem)
    if opts.get("sidecar"):
        text_of = json.dumps(opts["sidecar"], indent="\t", ensure_ascii=False)
        (folder / f"{stem}.json").write_text(text_of + "\n", "utf-8")


def read_sidecar(paths: Sequence[Path]) -> dict[str, Any] | None:
    """The JSON sidecar among `paths` or beside the image, for `opts={"sidecar": ...}`.

    Raises:
        SeriesportError: image-invalid, file-unreadable.
    """
    path = _beside(_main(paths), ".json", paths)
    if not path.is_file():
        return None
    try:
        with path.open("rb") as stream:
            data: Any = json.loads(stream.read(_MAX_SIDECAR))
    except OSError as error:
        raise unreadable(error) from error
    except (ValueError, RecursionError):
        raise damaged("the sidecar is no JSON") from None
    if not isinstance(data, dict):
        raise damaged("the sidecar is no JSON object")
    return cast("dict[str, Any]", data)


# Files that belong together


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


def _beside(main: Path, suffix: str, paths: Sequence[Path]) -> Path:
    given = [p for p in paths if p.suffix == suffix]
    return given[0] if len(given) == 1 else main.with_name(_stem(main) + suffix)


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
        return array[..., :3]
    array = room(shape[::-1], dtype)
    fill(stream, array)
    return native(array)


def _axes(
    header: Header, array: Array, text: bytes, main: Path, affine: Affine | None
) -> tuple[tuple[str, ...], dict[str, tuple[Any, ...]], Array]:
    """Names and values of the axes, and the array with these."""
    shape = array.shape
    colour = nifti_header.colours(header) > 0
    if text:
        axes, tags = decode_tags(text)
        return axes, tags, _stated(array, axes, tags, shape)
    dimensions = 2 if shape[4] == 1 else 3
    sizes = {f"dim{7 - i}": n for i, n in enumerate(shape[:3]) if n > 1}
    named: dict[str, tuple[Any, ...]] = {name: numbered(n) for name, n in sizes.items()}
    extra: dict[str, tuple[Any, ...]] = {}
    if shape[3] > 1:
        fourth, values, extra = _fourth(header, shape[3], main, affine)
        named[fourth] = values
    axes = axes_of(tuple(named), dimensions, colour=colour)
    kept = [len(v) for v in named.values()] + list(shape[4 if dimensions == 3 else 5 :])
    return axes, named | extra, array.reshape(kept)


def _stated(
    array: Array, axes: Sequence[str], tags: Mapping[str, tuple[Any, ...]], shape: Sequence[int]
) -> Array:
    """The array with the axes that its own extension states."""
    names = tag_axes(axes)
    order = _time_last(names)
    spatial = shape[4:] if "slice" in axes else shape[5:]
    full = [*(len(tags[name]) for name in order), *spatial]
    if math.prod(full) != array.size:
        raise damaged("the names or values of the axes do not fit the array")
    array = array.reshape(full)
    array = array.transpose([*(order.index(n) for n in names), *range(len(names), array.ndim)])
    checked_axes(axes, tags, array.shape)
    return array


def _fourth(
    header: Header, volumes: int, main: Path, affine: Affine | None
) -> tuple[str, tuple[Any, ...], dict[str, tuple[Any, ...]]]:
    """Name and values of the fourth dimension, and what else is known along it."""
    bval = main.with_name(_stem(main) + ".bval")
    bvec = main.with_name(_stem(main) + ".bvec")
    tags = gradients.tags(bval, bvec, affine, volumes)
    if "b" in tags:
        return "b", tags.pop("b"), tags
    times = nifti_header.times(header, volumes)
    return ("frame", numbered(volumes), {}) if times is None else ("time", times, {})


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


def _put(out: BinaryIO, array: Array) -> None:
    out.writelines(pieces(array))
