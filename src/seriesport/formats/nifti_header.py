"""The headers of NIfTI-1 and NIfTI-2 (nifti1.h, nifti2.h), by nibabel, and our extension."""

from __future__ import annotations

import io
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from seriesport.errors import SeriesportError
from seriesport.formats.axes import MAX_TAG_BYTES
from seriesport.formats.guard import check_affine, damaged, unfit
from seriesport.formats.streams import exactly
from seriesport.images.geometry import lps_to_ras
from seriesport.images.room import MIB
from seriesport.images.window import Window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import BinaryIO

    from seriesport.images.geometry import Affine
    from seriesport.images.image import Array, Image

    Header = Any
    """A header of nibabel, which has no types."""

_SIZES = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}
_PAIRS = {348: b"ni1\0", 540: b"ni2\0"}
_SINGLE = {348: b"n+1\0", 540: b"n+2\0"}
BAD_HEADER = (HeaderDataError, WrapStructError, ValueError, TypeError, LookupError)
_COMMENT = 6
"""The code of a header extension that is text (nifti1.h, NIFTI_ECODE_COMMENT)."""
_EXTENSION = b"seriesport "
_SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}
"""Units of time in xyzt_units."""
_MAX_OFFSET = 64 * MIB
_MAX_SIDECAR = 16 * MIB
_TO_INDEX = [2, 1, 0, 3]
"""Columns of an affine for (column, row, slice, 1), and back again."""
_RGB24 = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


def read_header(stream: BinaryIO) -> tuple[Header, bool]:
    """The header, and whether the voxels follow in the same file."""
    start = exactly(stream, 4)
    size = next((n for n in _SIZES if n in (_integer(start, "little"), _integer(start, "big"))), 0)
    if not size:
        raise damaged("the file is no NIfTI")
    block = start + exactly(stream, size - 4)
    magic = block[4:8] if size == 540 else block[344:348]
    if magic not in (_SINGLE[size], _PAIRS[size]):
        raise SeriesportError(
            "image-unsupported", "the file is ANALYZE 7.5, which has no orientation; use NIfTI"
        )
    header = cast("Any", _SIZES[size]).from_fileobj(io.BytesIO(block), check=False)
    return header, magic == _SINGLE[size]


def _integer(data: bytes, order: Any) -> int:
    return int.from_bytes(data, order)


def voxel_offset(header: Header) -> int:
    """Where the voxels begin in their file, in bytes.

    Raises:
        SeriesportError: image-invalid.
    """
    offset = float(header["vox_offset"])
    if not 0 <= offset <= _MAX_OFFSET:
        raise damaged("the voxels' place in the file is not believable")
    return int(offset)


def tags_text(stream: BinaryIO, header: Header, *, single: bool) -> bytes:
    """Pass over the header's extensions, up to the voxels or the file's end; the text of ours."""
    size = int(header["sizeof_hdr"])
    if single:
        block = exactly(stream, max(voxel_offset(header), size + 4) - size)
    else:
        block = stream.read(MAX_TAG_BYTES).ljust(4, b"\0")
    order = "little" if header.endianness == "<" else "big"
    at = 4
    while block[0] and at + 8 <= len(block):
        length, code = (_integer(block[at + n : at + n + 4], order) for n in (0, 4))
        if not 8 <= length <= len(block) - at:
            break
        text = block[at + 8 : at + length].rstrip(b"\0")
        if code == _COMMENT and text.startswith(_EXTENSION) and length <= MAX_TAG_BYTES:
            return text.removeprefix(_EXTENSION)
        at += length
    return b""


def dimensions(header: Header) -> list[int]:
    """The seven dimensions, column first, 1 where there is none."""
    dim = [int(n) for n in header["dim"]]
    if not 1 <= dim[0] <= 7 or not all(n >= 1 for n in dim[1 : dim[0] + 1]):
        raise damaged("the NIfTI header's dimensions are not from 1 to 7 positive numbers")
    return [*dim[1 : dim[0] + 1], *[1] * (7 - dim[0])]


def colours(header: Header) -> int:
    """How many colours a voxel has: 3 for RGB, 4 for RGBA, 0 for a number."""
    names = header.get_data_dtype().names
    return 0 if names is None else len(names)


def affine_of(header: Header, opts: Mapping[str, Any]) -> Affine | None:
    """From (slice, row, column, 1) to LPS; None where neither form is set."""
    forms = ["qform", "sform"] if opts.get("form") == "qform" else ["sform", "qform"]
    for form in forms:
        if int(header[f"{form}_code"]) > 0:
            with np.errstate(all="ignore"):
                stated = header.get_sform() if form == "sform" else header.get_qform()
                affine = np.asarray(stated, np.float64) * _millimetres(header)
            return lps_to_ras(check_affine(affine[:, _TO_INDEX]))
    return None


def _millimetres(header: Header) -> Affine:
    """A column of factors, for the units of length in xyzt_units: metres and micrometres."""
    factor = {1: 1e3, 3: 1e-3}.get(int(header["xyzt_units"]) & 7, 1.0)
    return np.array([[factor], [factor], [factor], [1.0]])


def window_of(header: Header) -> Window | None:
    """The values to show, from cal_min and cal_max."""
    low, high = float(header["cal_min"]), float(header["cal_max"])
    if not (math.isfinite(low) and math.isfinite(high) and high > low):
        return None
    return Window((low + high) / 2 + 0.5, high - low + 1)


def times(header: Header, volumes: int) -> tuple[float, ...] | None:
    """Of the fourth dimension, in s; None where the header has no unit of time."""
    unit = _SECONDS.get(int(header["xyzt_units"]) & 0x38)
    step, start = float(header["pixdim"][4]), float(header["toffset"])
    if unit is None or not (math.isfinite(step) and step > 0 and math.isfinite(start)):
        return None
    return tuple(round((start + i * step) * unit, 6) for i in range(volumes))


# Writing


def new_header(image: Image, array: Array, order: Sequence[str]) -> Header:
    """The header of an image whose tag axes are written in an order, slowest first.

    Raises:
        SeriesportError: format-unfit, geometry-irregular.
    """
    sizes = dict(zip((*order, *image.axes[len(order) :]), array.shape, strict=True))
    dims = [sizes["column"], sizes["row"], sizes.get("slice", 1)]
    dims += [sizes[name] for name in reversed(order)]
    if len(dims) > 7:
        raise unfit(f"NIfTI has seven dimensions, and the image needs {len(dims)}")
    kind = nibabel.Nifti1Header if max(dims) < 2**15 else nibabel.Nifti2Header
    header: Header = kind()
    dtype = _RGB24 if image.colour else array.dtype
    if image.colour and array.dtype != np.uint8:
        raise unfit("NIfTI has colours of 8 bits alone")
    try:
        header.set_data_dtype(dtype)
        header.set_data_shape(dims)
    except BAD_HEADER:
        raise unfit(f"NIfTI has no values of type {array.dtype}") from None
    _set_units(header, image, order)
    _set_place(header, image)
    _set_window(header, image.window)
    return header


def _set_units(header: Header, image: Image, order: Sequence[str]) -> None:
    timed = bool(order) and order[-1] == "time"
    header.set_xyzt_units("mm", "sec" if timed else "unknown")
    times: list[Any] = list(image.tags["time"]) if timed else []
    if len(times) > 1:
        header["pixdim"][4] = (times[-1] - times[0]) / (len(times) - 1)
    if timed and times[0]:
        header["toffset"] = times[0]


def _set_place(header: Header, image: Image) -> None:
    if image.affine_lps is None:
        return
    affine = lps_to_ras(check_affine(image.affine_lps))[:, _TO_INDEX]
    header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    header.set_sform(affine, code="scanner")
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.allclose(axes.T @ axes, np.eye(3), atol=1e-4):
        with suppress(HeaderDataError):
            header.set_qform(affine, code="scanner")


def _set_window(header: Header, window: Window | None) -> None:
    if window is not None and window.table is None and window.width >= 1:
        header["cal_min"] = window.center - 0.5 - (window.width - 1) / 2
        header["cal_max"] = window.center - 0.5 + (window.width - 1) / 2


def block(header: Header, text: bytes, *, single: bool) -> bytes:
    """The header, its extension, and what stands before the voxels."""
    size = int(header["sizeof_hdr"])
    header["magic"] = (_SINGLE if single else _PAIRS)[size]
    extension = b"\0\0\0\0"
    if text:
        body = _EXTENSION + text
        length = -(-(len(body) + 8) // 16) * 16
        order = "little" if header.endianness == "<" else "big"
        numbers = length.to_bytes(4, order) + _COMMENT.to_bytes(4, order)
        extension = b"\0\0\0" + numbers + body.ljust(length - 8, b"\0")
    if not single:
        header["vox_offset"] = 0
        return header.binaryblock + extension
    whole = -(-(size + len(extension)) // 16) * 16
    header["vox_offset"] = whole
    return header.binaryblock + extension.ljust(whole - size, b"\0")
