from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seriesport.errors import SeriesportError
from seriesport.formats.dicom_pixels import Scale, Source, Storage, choose, choose_colour
from seriesport.images.decimals import decimal_string

SHAPE = (2, 3, 4)
INTEGERS = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")


def again(storage: Storage, slices: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The values that a reader gets from stored pixels and the text of the scale."""
    volumes: list[Any] = []
    for i, values in enumerate(slices):
        scale = storage.scale(i)
        slope, intercept = (float(decimal_string(v)) for v in (scale.slope, scale.intercept))
        assert (slope, intercept) == (scale.slope, scale.intercept)
        stored = storage.stored(values, i)
        assert stored.dtype == storage.dtype
        volumes.append(stored.astype(np.float64) * slope + intercept)
    return np.array(volumes)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(INTEGERS).flatmap(lambda d: hnp.arrays(d, SHAPE)), st.booleans())
def test_whole_numbers_are_exact_where_16_bits_hold_them(
    slices: np.ndarray[Any, Any], wide: bool
) -> None:
    storage = choose(slices, wide=wide)
    low, high = int(slices.min()), int(slices.max())
    fits = (low >= -(2**15) and high < 2**15) or (low >= 0 and high < 2**16)
    if (wide and low >= -(2**31) and high < 2**31) or (wide and low >= 0 and high < 2**32):
        fits = True
    if fits:
        assert storage.scales == (Scale(),)
        restored = np.array([storage.stored(v, i) for i, v in enumerate(slices)])
        assert np.array_equal(restored, slices)
    else:
        errors = np.abs(again(storage, slices) - slices.astype(np.float64))
        assert errors.max() <= storage.step / 2 * (1 + 1e-6) + 1e-9 * max(abs(low), abs(high))


@settings(max_examples=200, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from(["float32", "float64", "float16"]),
        SHAPE,
        elements={"allow_nan": False, "allow_infinity": False, "min_value": -6e4, "max_value": 6e4},
    ),
    st.booleans(),
)
def test_floats_are_within_half_a_step(slices: np.ndarray[Any, Any], centred: bool) -> None:
    storage = choose(slices, centred=centred)
    values = slices.astype(np.float64)
    errors = np.abs(again(storage, slices) - values)
    bound = storage.step / 2 + 4 * np.spacing(np.abs(values).max())
    assert errors.max() <= bound
    span = values.max() - values.min()
    if not storage.scales[0].plain and not centred and span > 1e-290:
        assert storage.step <= max(span / 65535 * (1 + 1e-6), 1e-9 * np.abs(values).max()) or (
            storage.step == 1
        )
    if centred:
        assert storage.scales[0].intercept == 0


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e-3, 1e10, 1e100, 1e299])
@pytest.mark.parametrize("offset", [0.0, 1.0, -1e6])
def test_every_magnitude_of_floats_is_within_half_a_step(scale: float, offset: float) -> None:
    slices = (np.random.default_rng(1).normal(size=SHAPE) + offset) * scale
    slices = np.clip(slices, -1e300, 1e300)
    storage = choose(slices)
    errors = np.abs(again(storage, slices) - slices)
    assert errors.max() <= storage.step / 2 + 4 * np.spacing(np.abs(slices).max())


@pytest.mark.parametrize("value", [0.0, 1.0, -7.0, np.pi, 1e-12, -123456.789])
def test_a_constant_image_is_stored_to_the_digits_of_a_decimal_string(value: float) -> None:
    slices = np.full(SHAPE, value)
    assert np.allclose(again(choose(slices), slices), value, rtol=1e-10, atol=0)


def test_values_come_back_exactly_in_the_scale_that_they_were_read_with() -> None:
    stored = np.random.default_rng(0).integers(0, 4096, SHAPE).astype("<u2")
    scales = [Scale(0.684, 200.0), Scale(0.0123, -3.5)]
    slices = np.array([(s * c.slope + c.intercept) for s, c in zip(stored, scales, strict=True)])
    for dtype in ("float32", "float64"):
        values = slices.astype(dtype)
        storage = choose(values, [Source("<u2", 12, s) for s in scales])
        assert storage.as_read
        assert storage.scales == tuple(scales)
        assert np.array_equal([storage.stored(v, i) for i, v in enumerate(values)], stored)


def test_values_beyond_the_stored_bits_leave_the_old_scale() -> None:
    slices = np.full(SHAPE, 4096, np.int16)
    storage = choose(slices, [Source("<u2", 12, Scale())] * 2)
    assert not storage.as_read
    assert storage.bits == 16


def test_whole_floats_are_stored_as_they_are() -> None:
    slices = np.arange(24, dtype=np.float32).reshape(SHAPE) - 12
    storage = choose(slices)
    assert storage.scales == (Scale(),)
    assert storage.dtype == np.int16


def test_large_integers_of_a_small_range_are_shifted() -> None:
    slices = np.arange(24, dtype=np.int32).reshape(SHAPE) + 10_000_000
    storage = choose(slices)
    assert storage.scales == (Scale(1.0, 10_000_000.0),)
    assert np.array_equal(again(storage, slices), slices)


@pytest.mark.parametrize(
    ("value", "problem"),
    [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite"), (1e305, "1e300")],
)
def test_what_is_no_finite_number_is_refused(value: float, problem: str) -> None:
    slices = np.full(SHAPE, 0.5)
    slices[1, 2, 3] = value
    with pytest.raises(SeriesportError, match=problem) as caught:
        choose(slices)
    assert caught.value.code == "pixels-unsupported"


def test_nan_is_stored_as_the_value_that_is_stated() -> None:
    slices = np.full(SHAPE, 0.5, np.float32)
    slices[0, 0, 0] = np.nan
    slices[1, 0, 0] = 1.5
    restored = again(choose(slices, nan=-1.0), slices)
    assert restored[0, 0, 0] == pytest.approx(-1, abs=1e-4)
    assert restored[1, 0, 0] == pytest.approx(1.5, abs=1e-4)


@pytest.mark.parametrize(
    "slices", [np.zeros(SHAPE, complex), np.zeros(SHAPE, object), np.zeros((0, 3, 4))]
)
def test_complex_numbers_objects_and_nothing_are_refused(slices: np.ndarray[Any, Any]) -> None:
    with pytest.raises(SeriesportError) as caught:
        choose(slices)
    assert caught.value.code == "pixels-unsupported"


@pytest.mark.parametrize(
    ("dtype", "high", "bits"),
    [("uint8", 255, 8), ("uint16", 9, 16), ("int64", 255, 8), ("float32", 300, 16)],
)
def test_colours_are_stored_in_8_or_16_bits(dtype: str, high: int, bits: int) -> None:
    slices = np.full((1, 2, 2, 3), high, dtype)
    storage = choose_colour(slices)
    assert storage.bits == bits
    assert np.array_equal(storage.stored(slices[0], 0), slices[0])


@pytest.mark.parametrize("value", [0.5, -1.0, 70000.0])
def test_colours_that_are_none_are_refused(value: float) -> None:
    with pytest.raises(SeriesportError):
        choose_colour(np.full((1, 2, 2, 3), value))
