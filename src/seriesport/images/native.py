"""Pixels that lie in a file as they are: they can be read into an array without decoding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from seriesport.dicom.elements import UNDEFINED
from seriesport.images.headers import decoded

if TYPE_CHECKING:
    from seriesport.images.headers import Header

_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
_PIXEL_DATA = 0x7FE00010
_FRAMES = 0x00280008
_FORM = (
    0x00280010,  # Rows
    0x00280011,  # Columns
    0x00280100,  # Bits Allocated
    0x00280101,  # Bits Stored
    0x00280102,  # High Bit
    0x00280103,  # Pixel Representation
    0x00280002,  # Samples per Pixel
    0x00280004,  # Photometric Interpretation
)


@dataclass(frozen=True, slots=True)
class Native:
    """Pixels of one frame that lie in a file as they are (PS3.5 section 8)."""

    path: Path
    offset: int
    dtype: str
    """Of NumPy."""
    shape: tuple[int, int]
    """Rows and columns of the whole picture."""
    unused: int
    """Bits at the top that are no part of the value."""

    def nth(self, index: int) -> Native:
        """How another frame of the file lies there, given the first."""
        return replace(self, offset=self.offset + index * _size(self)) if index else self


@dataclass(frozen=True, slots=True)
class _Form:
    """How the pixels of all frames are stored; see `Native`."""

    dtype: str
    shape: tuple[int, int]
    unused: int


def _size(form: Native | _Form) -> int:
    """Of one frame, in bytes."""
    return form.shape[0] * form.shape[1] * int(form.dtype[2:])


def native_of(header: Header) -> Native | None:
    """How the pixels of the first frame lie in the file, if they and all others do so plainly."""
    top, pixels = header.top, header.top.pixels
    if (
        pixels is None
        or pixels.element != _PIXEL_DATA
        or pixels.length == UNDEFINED
        or top.transfer_syntax_uid not in _SYNTAXES
    ):
        return None
    form = _form(tuple(map(top.raw, _FORM)))
    frames = int(decoded(top.raw(_FRAMES), "IS") or 1)
    if form is None or pixels.length < _size(form) * frames:
        return None
    path, offset = Path(header.path), header.start + pixels.offset
    return Native(path, offset, form.dtype, form.shape, form.unused)


@lru_cache(maxsize=64)
def _form(values: tuple[bytes, ...]) -> _Form | None:
    """The form that the values of `_FORM` mean, where it is a plain one. Raises TypeError."""
    rows, columns, bits, stored, high, signed, samples = (
        decoded(value, "US") for value in values[:-1]
    )
    if (
        (samples or 1) != 1
        or not str(decoded(values[-1], "CS") or "MONOCHROME2").startswith("MONOCHROME")
        or bits not in (8, 16, 32)
        or high != stored - 1
        or not 0 < stored <= bits
    ):
        return None
    return _Form(f"<{'i' if signed else 'u'}{bits // 8}", (rows, columns), bits - stored)
