"""How an image's values become stored pixels: type, bits, Rescale Slope and Intercept.

Values that are whole numbers and fit are stored as they are; others by the scale that they were
read with, where that gives them back exactly. Everything else is rounded to the nearest of 65,536
steps: the error of a value, against the slope and intercept that are written, is at most half a
step (and the rounding of 64-bit floating point).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR
from typing import TYPE_CHECKING, Any

import numpy as np

from seriesport.errors import SeriesportError
from seriesport.images.decimals import decimal_string

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seriesport.images.image import Array

_TOP = 65535
_SIGNED_TOP = 32767
_LARGEST = 1e300
"""Larger magnitudes overflow where they are scaled."""
_SMALLEST_SLOPE = 1e-300


@dataclass(frozen=True, slots=True)
class Scale:
    """The rescale of a slice: value = slope · stored + intercept (PS3.3 section C.11.1)."""

    slope: float = 1.0
    intercept: float = 0.0

    @property
    def plain(self) -> bool:
        """Whether stored pixels are the values."""
        return self == Scale()


@dataclass(frozen=True, slots=True)
class Source:
    """How a slice was stored where it came from."""

    dtype: str
    bits: int
    scale: Scale


@dataclass(frozen=True, slots=True)
class Storage:
    """How the slices of a series are stored."""

    dtype: np.dtype[Any]
    bits: int
    """Bits Stored."""
    scales: tuple[Scale, ...]
    """One for all slices, or one for each."""
    low: float
    """Smallest value of all slices..."""
    high: float
    """...and the largest."""
    as_read: bool = False
    """Whether bits and scales are those that the slices were read with."""
    nan: float | None = None
    """What is stored for a value that is no number."""

    @property
    def step(self) -> float:
        """The largest distance between two values that can be stored."""
        return max(abs(s.slope) for s in self.scales)

    def scale(self, index: int) -> Scale:
        """Of a slice."""
        return self.scales[0] if len(self.scales) == 1 else self.scales[index]

    def stored(self, values: Array, index: int) -> Array:
        """The stored pixels of a slice."""
        return _stored(_filled(values, self.nan), self.scale(index), self.dtype)


def choose(
    slices: Array,
    sources: Sequence[Source] = (),
    *,
    wide: bool = False,
    centred: bool = False,
    nan: float | None = None,
) -> Storage:
    """Choose how to store the grey values of slices.

    Args:
        slices: First axis: slices.
        sources: How each was stored before; empty where that is unknown or differs in type.
        wide: Whether pixels may have 8 or 32 bits, not just 16.
        centred: Whether the intercept has to be 0 (PET, PS3.3 section C.8.9.4).
        nan: What to store for values that are no numbers; None refuses them.

    Raises:
        SeriesportError: pixels-unsupported for values that are no finite real numbers.
    """
    if slices.dtype.kind not in "biuf":
        raise _unsupported("the values are no real numbers")
    if not slices.size:
        raise _unsupported("the image is empty")
    low, high = _ends(slices, nan)
    return (
        _as_read(slices, sources, low, high, nan)
        or _whole(slices, low, high, wide=wide, centred=centred, nan=nan)
        or _scaled(low, high, centred=centred, nan=nan)
    )


def choose_colour(slices: Array) -> Storage:
    """Choose how to store red, green and blue: 8 or 16 bits, without a scale.

    Raises:
        SeriesportError: pixels-unsupported for values that are no whole numbers from 0 to 65,535.
    """
    if slices.dtype.kind not in "biuf" or not slices.size:
        raise _unsupported("the colours are no real numbers")
    low, high = _ends(slices, None)
    if low < 0 or high > _TOP or not _integral(slices, None):
        raise _unsupported("colours have to be whole numbers from 0 to 65535")
    deep = high > 255 or slices.dtype.name in ("uint16", "int16")
    return Storage(np.dtype("<u2" if deep else "u1"), 16 if deep else 8, (Scale(),), low, high)


def _unsupported(problem: str) -> SeriesportError:
    return SeriesportError("pixels-unsupported", problem)


def _filled(values: Array, nan: float | None) -> Array:
    if nan is None or values.dtype.kind != "f":
        return values
    return np.where(np.isnan(values), values.dtype.type(nan), values)


def _ends(slices: Array, nan: float | None) -> tuple[float, float]:
    """The smallest and largest value, one slice at a time."""
    lows, highs = zip(*((v.min(), v.max()) for v in (_filled(s, nan) for s in slices)), strict=True)
    low, high = min(lows), max(highs)
    if any(np.isnan(v) for v in lows):
        raise _unsupported("some values are no numbers (NaN)")
    if not (np.isfinite(low) and np.isfinite(high)):
        raise _unsupported("some values are infinite")
    low, high = low.item(), high.item()
    return (float(low), float(high)) if slices.dtype.kind == "f" else (int(low), int(high))


def _stored(values: Array, scale: Scale, dtype: np.dtype[Any]) -> Array:
    if scale.plain and values.dtype.kind in "biu":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    shifted = values.astype(np.float64) - scale.intercept
    steps = np.rint(shifted if scale.slope == 1 else shifted / scale.slope)
    return np.clip(steps, limits.min, limits.max).astype(dtype)


def _as_read(
    slices: Array, sources: Sequence[Source], low: float, high: float, nan: float | None
) -> Storage | None:
    if not sources or len({(s.dtype, s.bits) for s in sources}) > 1:
        return None
    dtype, bits = np.dtype(sources[0].dtype), sources[0].bits
    signed = dtype.kind == "i"
    least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    for values, source in zip(slices, sources, strict=True):
        scale, filled = source.scale, _filled(values, nan)
        if scale.plain and filled.dtype.kind in "biu":
            if int(filled.min()) < least or int(filled.max()) > most:
                return None
            continue
        stored = _stored(filled, scale, dtype)
        if not _gives_back(stored, scale, filled):
            return None
        if int(stored.min()) < least or int(stored.max()) > most:
            return None
    scales = tuple(s.scale for s in sources)
    scales = scales[:1] if len(set(scales)) == 1 else scales
    return Storage(dtype, bits, scales, low, high, as_read=True, nan=nan)


def _gives_back(stored: Array, scale: Scale, values: Array) -> bool:
    """Whether stored pixels are the values, up to the rounding of how they were computed."""
    again = stored * scale.slope + scale.intercept
    if values.dtype.kind != "f":
        return bool(np.array_equal(again, values))
    largest = max(float(np.abs(again).max()), float(np.abs(again - scale.intercept).max()))
    rounding = 4 * float(np.finfo(values.dtype).eps) * max(largest, abs(scale.intercept))
    close = float(np.abs(again - values).max()) <= rounding
    return close and rounding < abs(scale.slope) / 16


def _integral(slices: Array, nan: float | None) -> bool:
    if slices.dtype.kind != "f":
        return True
    filled = (_filled(s, nan) for s in slices)
    return all(np.array_equal(np.rint(values), values) for values in filled)


def _whole(
    slices: Array, low: float, high: float, *, wide: bool, centred: bool, nan: float | None
) -> Storage | None:
    """Whole numbers as they are, or shifted, where they fit."""
    if not _integral(slices, nan):
        return None
    first, last = int(low), int(high)
    for name in _candidates(slices.dtype, wide=wide):
        limits = np.iinfo(name)
        if limits.min <= first and last <= limits.max:
            dtype = np.dtype(name)
            return Storage(dtype, dtype.itemsize * 8, (Scale(),), low, high, nan=nan)
    shift = float(first)
    if last - first <= _TOP and not centred and len(str(first)) <= 16 and int(shift) == first:
        return Storage(np.dtype("<u2"), 16, (Scale(1.0, shift),), low, high, nan=nan)
    return None


def _candidates(dtype: np.dtype[Any], *, wide: bool) -> list[str]:
    if wide and dtype.name in ("uint8", "bool"):
        return ["u1"]
    same = ["<i2"] if dtype.name == "int16" else []
    return [*same, "<u2", "<i2", *(["<i4", "<u4"] if wide else [])]


def _scaled(low: float, high: float, *, centred: bool, nan: float | None) -> Storage:
    """65,536 steps from the smallest value to the largest."""
    if max(abs(low), abs(high)) > _LARGEST:
        raise _unsupported("some values are larger than 1e300")
    if centred:
        signed = low < 0
        top = max(high / _SIGNED_TOP, -low / (_SIGNED_TOP + 1)) if signed else high / _TOP
        scale = Scale(_slope(top))
        return Storage(np.dtype("<i2" if signed else "<u2"), 16, (scale,), low, high, nan=nan)
    intercept = float(decimal_string(float(low), ROUND_FLOOR))
    scale = Scale(_slope((high - intercept) / _TOP) if high > low else 1.0, intercept)
    return Storage(np.dtype("<u2"), 16, (scale,), low, high, nan=nan)


def _slope(wanted: float) -> float:
    """A slope that can be written, not below the one that is wanted."""
    return float(decimal_string(max(wanted, _SMALLEST_SLOPE), ROUND_CEILING))
