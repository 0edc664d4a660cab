"""NumPy's .npz, readable with `numpy.load(path, allow_pickle=False)`; not compressed.

Members:
    array: Rescaled values; integers where slope and intercept are whole numbers, else floats.
    axes: The names of the array's axes, of (tag ..., slice, row, column, rgb) those it has. A tag
        is called after what it is: time, temporal, trigger, b, echo, acquisition, frame ...
    affine: 4 x 4, from (slice, row, column, 1) to RAS in mm. For a volume,
        `nibabel.Nifti1Image(array, affine)` is right as it is; a tag axis goes last there.
    spacing: Between slices, rows and columns, in mm.
    values: The tag's value along its axis, where there is one tag axis: ms for echo and trigger,
        s/mm² for b, s from the first for time, else a number.
    values_NAME: The same for each tag, where there are several.
    bvalues, bvectors: Of diffusion images, s/mm² and unit vectors in LPS, axes (tag ...) and
        (tag ..., 3).

Pictures that lie nowhere in the patient (ultrasound, radiographs) have no affine and spacing.

Reading takes these members from any .npz, stored or deflated: `array` is the one that must be
there; without `axes` the last three are slice, row and column. Pickled objects are refused.
"""

from __future__ import annotations

import math
import os
import tokenize
import zipfile
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from seriesport.config.settings import ZipLimits
from seriesport.errors import SeriesportError, unreadable
from seriesport.formats.axes import (
    Axes,
    decode_values,
    encode_values,
    numbered,
    table,
    tag_axes,
    unnamed,
)
from seriesport.formats.guard import check_affine, damaged
from seriesport.formats.streams import fill, pieces
from seriesport.formats.values import image_of, native, storable
from seriesport.images.geometry import lps_to_ras
from seriesport.images.room import check_room, room
from seriesport.store.zipfiles.read import check_stored, member_payload
from seriesport.store.zipfiles.safe import read_directory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from seriesport.images.image import Array, Image
    from seriesport.store.zipfiles.safe import ZipMember

_TIMESTAMP = (1980, 1, 1, 0, 0, 0)
_LIMITS = ZipLimits(members=1000, ratio=math.inf)
"""The ratio is checked by `check_room`: a mask of zeros and ones deflates well."""
_SMALL = 16 << 20
"""Longest member beside the array."""
_KINDS = "iufcb"
_BAD_HEADER = (
    ValueError,
    TypeError,
    LookupError,
    SyntaxError,
    RecursionError,
    MemoryError,
    tokenize.TokenError,
)
"""What NumPy raises on headers, which are Python literals."""


def write(image: Image, folder: Path, stem: str, opts: Mapping[str, Any]) -> None:  # noqa: ARG001
    """Make STEM.npz."""
    members: dict[str, Array] = {
        "array": storable(image.array),
        "axes": np.array(image.axes),
    }
    if image.affine_lps is not None and image.affine_ras is not None:
        spacing = np.array(image.spacing)
        members |= {"affine": np.ascontiguousarray(image.affine_ras), "spacing": spacing}
    alone = len(image.tags) == 1
    for name, values in image.tags.items():
        listed = np.array(values) if all(isinstance(v, str) for v in values) else table(values)
        if listed is None:
            listed = np.array(encode_values(values))
        members["values" if alone else f"values_{name}"] = listed
    for name, known in (("bvalues", image.bvalues), ("bvectors", image.bvectors)):
        if known is not None:
            members[name] = known
    with zipfile.ZipFile(folder / f"{stem}.npz", "w", zipfile.ZIP_STORED) as archive:
        for name, array in members.items():
            info = zipfile.ZipInfo(f"{name}.npy", _TIMESTAMP)
            with archive.open(info, "w", force_zip64=True) as member:
                _put(cast("BinaryIO", member), array)


def _put(member: BinaryIO, array: Array) -> None:
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(member, header)
    member.writelines(pieces(array))


def read(paths: Sequence[Path], opts: Mapping[str, Any]) -> Image:
    """Read an .npz with an array called "array".

    Memory: the array.

    Raises:
        SeriesportError: image-invalid, image-unsupported, image-too-large, geometry-irregular,
            file-unreadable, and those of a hostile ZIP (`read_directory`).
    """
    if len(paths) != 1:
        raise SeriesportError("ambiguous", f"{len(paths)} npz files, and one can be read")
    path = paths[0]
    members = _members(path)
    if "array" not in members:
        raise damaged('the npz has no member called "array"')
    array = _load(path, members["array"], opts)
    small = {
        name: _load(path, member, {"max_bytes": _SMALL})
        for name, member in members.items()
        if name in ("axes", "affine", "bvalues", "bvectors") or name.startswith("values")
    }
    axes = _axes(array, small)
    affine = small.get("affine")
    if affine is not None and (affine.shape != (4, 4) or affine.dtype.kind not in "iuf"):
        raise damaged("the affine is no matrix of 4 x 4 numbers")
    lps = None if affine is None else lps_to_ras(check_affine(affine.astype(np.float64)))
    return image_of(array, axes, lps)


def _members(path: Path) -> dict[str, ZipMember]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise unreadable(error) from error
    try:
        found = read_directory(fd, _LIMITS).members
    except OSError as error:
        raise unreadable(error) from error
    finally:
        os.close(fd)
    return {m.name.removesuffix(".npy"): m for m in found if m.name.endswith(".npy")}


def _load(path: Path, member: ZipMember, opts: Mapping[str, Any]) -> Array:
    member.require_readable()
    _check_crc(path, member)
    with member_payload(path, member, 0).open() as stream:
        shape, fortran, dtype = _header(stream)
        size = math.prod(shape) * dtype.itemsize
        if size > member.size:
            raise damaged("an array asks for more bytes than its member has")
        check_room(size, member.compressed, opts)
        array = room(shape[::-1] if fortran else shape, dtype)
        fill(stream, array)
        if stream.read(1):
            raise damaged("an array has fewer bytes than its member")
    return native(array.T if fortran else array) if dtype.kind != "U" else array


def _check_crc(path: Path, member: ZipMember) -> None:
    """Of a stored member; a deflated one is checked as it is read."""
    with path.open("rb") as stream:
        check_stored(stream.fileno(), member)


def _header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    except _BAD_HEADER as error:
        raise damaged(f"an array's header cannot be read ({type(error).__name__})") from None
    if dtype.hasobject or dtype.kind not in f"{_KINDS}U" or dtype.itemsize == 0:
        raise SeriesportError("image-unsupported", "an npz member holds objects, not numbers")
    if any(n < 0 for n in shape):
        raise damaged("an array has a negative dimension")
    return shape, fortran, dtype


def _axes(array: Array, small: Mapping[str, Array]) -> Axes:
    if array.dtype.kind not in _KINDS or not array.size:
        raise damaged("the array has no numbers")
    if "axes" not in small:
        return unnamed(array.shape)
    names = tuple(str(v) for v in small["axes"].reshape(-1))
    lead = tag_axes(names)
    tags: dict[str, tuple[Any, ...]] = {}
    for name, length in zip(lead, array.shape, strict=False):
        key = "values" if len(lead) == 1 and "values" in small else f"values_{name}"
        tags[name] = _values(small[key]) if key in small else numbered(length)
    axes = Axes(names, tags, small.get("bvalues"), small.get("bvectors"))
    # Through JSON, so that values are Python's own and sound.
    return Axes.decode(axes.checked().encode())


def _values(member: Array) -> tuple[Any, ...]:
    if member.ndim:
        return tuple(member.tolist())
    return decode_values(str(member))
