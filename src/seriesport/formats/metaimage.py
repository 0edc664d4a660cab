"""MetaImage (ITK): .mha, or .mhd with .raw or .zraw beside it.

A text header before binary voxels, whose first axis is the column, then row, slice and tags. The
affine leads to LPS, as DICOM's: the rows of TransformMatrix are the directions of the axes, Offset
is the place of the first voxel, ElementSpacing the distances (MetaIO's metaImage documentation, and
itk::MetaImageIO::ReadImageInformation, which takes them so).

Reading: binary voxels, raw or compressed, of one number or of RGB (RGBA loses its alpha), in one
file that stands beside the header. Without TransformMatrix, Offset or three dimensions the image
lies nowhere. A third dimension of 1 is left out. A fourth dimension is "frame", unless the header
is of this module, which adds keys of its own (SeriesportAxes1 ...) that ITK keeps as metadata.

Writing: `opts`: "suffix" (".mha", ".mhd"), "compress" (True).
"""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from seriesport.errors import SeriesportError
from seriesport.formats.axes import Axes, numbered, spatial_axes, tag_axes
from seriesport.formats.guard import check_affine, damaged, unfit
from seriesport.formats.streams import (
    Inflated,
    deflated,
    fill,
    finish,
    is_compressed,
    pieces,
    reading,
    skip,
)
from seriesport.formats.values import image_of, native, storable
from seriesport.images.room import MIB, check_room, room

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from seriesport.formats.streams import Readable
    from seriesport.images.geometry import Affine
    from seriesport.images.image import Array, Image

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_NAMES = {dtype: name for name, dtype in reversed(_TYPES.items())}
_AXES = "SeriesportAxes"
_LINE = 1000
"""Longest value of a key: MetaIO does not find what follows a line of 32 kB."""
_MAX_HEADER = 20 * MIB
_NAME = re.compile(r"[^/\\%\x00-\x1f]{1,255}")


def read(paths: Sequence[Path], opts: Mapping[str, Any]) -> Image:
    """Read one image. Memory: the array.

    Raises:
        SeriesportError: image-invalid, image-unsupported, image-too-large, geometry-irregular,
            file-unreadable.
    """
    path = _main(paths)
    with reading(path) as stream:
        fields = _fields(stream)
        shape, dtype, channels = _shape(fields), _dtype(fields), _channels(fields)
        affine = _affine(fields, len(shape))
        axes, full = _axes(fields, shape, colour=channels > 1)
        if fields["ElementDataFile"].upper() == "LOCAL":
            array = _voxels(stream, fields, (*full, channels), dtype, path, opts)
        else:
            other = _data_file(path, fields["ElementDataFile"])
            with reading(other) as data:
                skip(data, _skipped(fields, math.prod(full) * channels * dtype.itemsize, other))
                array = _voxels(data, fields, (*full, channels), dtype, other, opts)
    array = array[..., :3] if channels > 1 else array[..., 0]
    return image_of(array, axes, affine)


def write(image: Image, folder: Path, stem: str, opts: Mapping[str, Any]) -> None:
    """Make STEM.mha, or STEM.mhd with STEM.zraw or STEM.raw.

    Raises:
        SeriesportError: format-unfit, where MetaImage has no such type; geometry-irregular.
    """
    suffix = str(opts.get("suffix") or ".mha")
    compress = bool(opts.get("compress", True))
    array = storable(image.array)
    if suffix not in (".mha", ".mhd"):
        raise unfit(f"MetaImage has no files that end with {suffix!r}")
    if array.dtype.str[1:] not in _NAMES:
        raise unfit(f"MetaImage has no values of type {array.dtype}")
    beside = f"{stem}.{'zraw' if compress else 'raw'}" if suffix == ".mhd" else "LOCAL"
    data = folder / beside if suffix == ".mhd" else folder / f".{stem}.voxels"
    with data.open("wb") as out:
        out.writelines(deflated(array) if compress else pieces(array))
    header = _header(image, array, data.stat().st_size if compress else None, beside)
    with (folder / f"{stem}{suffix}").open("wb") as out:
        out.write(header.encode("ascii"))
        if suffix == ".mha":
            with data.open("rb") as voxels:
                while piece := voxels.read(MIB):
                    out.write(piece)
            data.unlink()


# Reading


def _main(paths: Sequence[Path]) -> Path:
    found = [p for p in paths if p.suffix.lower() in (".mha", ".mhd")] or list(paths)
    if len(found) != 1:
        raise SeriesportError("ambiguous", f"{len(found)} MetaImages, and one can be read")
    return found[0]


def _fields(stream: BinaryIO) -> dict[str, str]:
    """The header's lines up to ElementDataFile; the stream then stands before the voxels."""
    fields: dict[str, str] = {}
    left = _MAX_HEADER
    while "ElementDataFile" not in fields:
        line = _line(stream, left)
        left -= len(line)
        key, sign, value = line.decode("latin-1").partition("=")
        if not sign:
            raise damaged("a line of the MetaImage header has no '='")
        fields[key.strip()] = value.strip()
    return fields


def _line(stream: BinaryIO, limit: int) -> bytes:
    line = stream.readline(limit)
    if not line.endswith(b"\n") and b"ElementDataFile" not in line:
        raise damaged("the file ends, or grows too long, within its MetaImage header")
    return line


def _numbers(fields: Mapping[str, str], count: int, *keys: str) -> list[float] | None:
    """The numbers of the first key that is there."""
    text = next((fields[k] for k in keys if k in fields), None)
    if text is None:
        return None
    try:
        numbers = [float(word) for word in text.split()]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise damaged(f"{keys[0]} is not {count} numbers")
    return numbers


def _whole(fields: Mapping[str, str], key: str, default: str, low: int, high: int) -> int:
    text = fields.get(key, default)
    if not re.fullmatch(r"-?[0-9]{1,18}", text) or not low <= int(text) <= high:
        raise damaged(f"{key} is not a whole number from {low} to {high}")
    return int(text)


def _shape(fields: Mapping[str, str]) -> list[int]:
    """Sizes, of the column first."""
    if fields.get("ObjectType", "Image").lower() != "image":
        raise SeriesportError("image-unsupported", "the MetaIO file holds no image")
    count = _whole(fields, "NDims", "", 2, 10)
    sizes = _numbers(fields, count, "DimSize") or []
    if not sizes or not all(1 <= n < 2**40 and n.is_integer() for n in sizes):
        raise damaged("DimSize is not made of positive whole numbers")
    return [int(n) for n in sizes]


def _dtype(fields: Mapping[str, str]) -> np.dtype[Any]:
    name = fields.get("ElementType", "").upper().removesuffix("_ARRAY")
    if name not in _TYPES:
        raise SeriesportError("image-unsupported", "values of this ElementType are not read")
    if not _truth(fields, "BinaryData", default=True):
        raise SeriesportError("image-unsupported", "voxels written as text are not read")
    key = "ElementByteOrderMSB" if "ElementByteOrderMSB" in fields else "BinaryDataByteOrderMSB"
    return np.dtype(_TYPES[name]).newbyteorder(">" if _truth(fields, key, default=False) else "<")


def _truth(fields: Mapping[str, str], key: str, *, default: bool) -> bool:
    value = fields.get(key, "")
    return value[:1] in ("T", "t", "1") if value else default


def _channels(fields: Mapping[str, str]) -> int:
    channels = _whole(fields, "ElementNumberOfChannels", "1", 1, 1 << 20)
    if channels not in (1, 3, 4):
        raise SeriesportError("image-unsupported", f"voxels of {channels} values are not read")
    return channels


def _affine(fields: Mapping[str, str], dimensions: int) -> Affine | None:
    """From (slice, row, column, 1) to LPS."""
    n = dimensions
    matrix = _numbers(fields, n * n, "TransformMatrix", "Rotation", "Orientation")
    offset = _numbers(fields, n, "Offset", "Origin", "Position")
    spacing = _numbers(fields, n, "ElementSpacing", "ElementSize") or [1.0] * n
    if n < 3 or (matrix is None and offset is None):
        return None
    rows = np.eye(n) if matrix is None else np.array(matrix).reshape(n, n)
    affine = np.eye(4)
    affine[:3, :3] = (rows[:3, :3] * np.array(spacing[:3])[:, None])[::-1].T
    affine[:3, 3] = (offset or [0.0] * n)[:3]
    return check_affine(affine)


def _axes(
    fields: Mapping[str, str], shape: Sequence[int], *, colour: bool
) -> tuple[Axes, list[int]]:
    """What the axes are, and the array's shape without colour."""
    if f"{_AXES}1" in fields:
        keys = (f"{_AXES}{i}" for i in itertools.count(1))
        parts = itertools.takewhile(fields.__contains__, keys)
        axes = Axes.decode("".join(fields[part] for part in parts))
    else:
        names = ["frame", *(f"dim{i}" for i in range(5, 11))]
        tags = {names[i]: numbered(n) for i, n in reversed([*enumerate(shape[3:])]) if n > 1}
        dimensions = 2 if len(shape) == 2 or shape[2] == 1 else 3
        axes = Axes((*tags, *spatial_axes(dimensions, colour=colour)), tags)
    full = [*axes.lengths, *(shape[2::-1] if "slice" in axes.names else shape[1::-1])]
    if math.prod(full) != math.prod(shape):
        raise damaged("the names or values of the axes do not fit the array")
    return axes, full


def _data_file(path: Path, name: str) -> Path:
    """The file with the voxels: one that stands in the same folder, whatever the header says."""
    if name.upper().startswith("LIST") or "%" in name:
        raise SeriesportError("image-unsupported", "voxels in several files are not read")
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise SeriesportError("name-unsafe", "ElementDataFile leads out of its folder")
    return path.with_name(name)


def _skipped(fields: Mapping[str, str], size: int, path: Path) -> int:
    """Bytes before the voxels; -1 says that these end the file."""
    count = _whole(fields, "HeaderSize", "0", -1, 1 << 30)
    return max(0, path.stat().st_size - size) if count == -1 else count


def _voxels(
    stream: Readable,
    fields: Mapping[str, str],
    shape: Sequence[int],
    dtype: np.dtype[Any],
    path: Path,
    opts: Mapping[str, Any],
) -> Array:
    size, stored = math.prod(shape) * dtype.itemsize, path.stat().st_size
    compressed = _truth(fields, "CompressedData", default=False)
    if size > stored and not compressed and not is_compressed(path):
        raise damaged(f"the header asks for {size} bytes of voxels, and the file has {stored}")
    check_room(size, stored, opts)
    array = room(shape, dtype)
    source = Inflated(stream) if compressed else stream
    fill(source, array)
    finish(source)
    return native(array)


# Writing


def _header(image: Image, array: Array, compressed: int | None, data: str) -> str:
    sizes = list(array.shape[: array.ndim - image.colour])[::-1]
    flat = "slice" not in image.axes and (image.affine_lps is not None or len(sizes) > 2)
    if flat:
        sizes.insert(2, 1)
    n = len(sizes)
    lines = ["ObjectType = Image", f"NDims = {n}", "BinaryData = True"]
    lines += ["BinaryDataByteOrderMSB = False", f"CompressedData = {compressed is not None}"]
    if compressed is not None:
        lines.append(f"CompressedDataSize = {compressed}")
    lines += _place(image, n)
    if image.tags:
        text = Axes.of(image).encode()
        parts = range(0, len(text), _LINE)
        lines += [f"{_AXES}{i} = {text[at : at + _LINE]}" for i, at in enumerate(parts, 1)]
    lines.append("DimSize = " + _text(sizes))
    if image.colour:
        lines.append("ElementNumberOfChannels = 3")
    lines += [f"ElementType = {_NAMES[array.dtype.str[1:]]}", f"ElementDataFile = {data}"]
    return "\n".join(lines) + "\n"


def _place(image: Image, n: int) -> list[str]:
    if image.affine_lps is None:
        return []
    affine = check_affine(image.affine_lps)[:, [2, 1, 0, 3]]
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    matrix, offset, spacing = np.eye(n), np.zeros(n), np.ones(n)
    matrix[:3, :3] = (affine[:3, :3] / lengths).T
    offset[:3], spacing[:3] = affine[:3, 3], lengths
    times = image.tags.get("time", ())
    if len(times) > 1 and tag_axes(image.axes)[-1:] == ("time",):
        spacing[3] = abs(times[-1] - times[0]) / (len(times) - 1) or 1
    return [
        f"TransformMatrix = {_text(matrix.reshape(-1))}",
        f"Offset = {_text(offset)}",
        f"CenterOfRotation = {_text(np.zeros(n))}",
        f"ElementSpacing = {_text(spacing)}",
    ]


def _text(numbers: Sequence[float] | Array) -> str:
    return " ".join(f"{float(v) + 0.0:.17g}" for v in numbers)
