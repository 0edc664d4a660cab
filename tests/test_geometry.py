from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seriesport.errors import SeriesportError
from seriesport.images.geometry import (
    Plane,
    affine_lps,
    lps_to_ras,
    nearest_axes,
    slice_step,
    spacing_of,
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def stack(depths: list[float], sideways: float = 0.0) -> list[Plane]:
    return [Plane((i * sideways, 0.0, z), AXIAL, (0.5, 0.7)) for i, z in enumerate(depths)]


def refusal(planes: list[Plane]) -> SeriesportError:
    with pytest.raises(SeriesportError) as caught:
        slice_step(planes)
    assert caught.value.code == "geometry-irregular"
    return caught.value


def test_an_axial_stack_gets_the_affine_of_the_standard() -> None:
    planes = [Plane((-10.0, -20.0, z), AXIAL, (0.5, 0.7)) for z in (5.0, 8.0, 11.0)]
    affine = affine_lps(planes[0], slice_step(planes))
    np.testing.assert_allclose(affine @ [2, 10, 100, 1], [-10 + 70, -20 + 5, 11, 1])
    assert spacing_of(affine) == (3.0, 0.5, 0.7)
    np.testing.assert_allclose(lps_to_ras(affine) @ [2, 10, 100, 1], [-60, 15, 11, 1])


@given(
    angles=st.tuples(*[st.floats(-3.1, 3.1)] * 3),
    spacing=st.tuples(*[st.floats(0.1, 10)] * 3),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    count=st.integers(2, 40),
)
def test_any_orientation_and_spacing_maps_every_corner_as_equation_c_7_6_2_1_1_says(
    angles: tuple[float, float, float],
    spacing: tuple[float, float, float],
    origin: tuple[float, float, float],
    count: int,
) -> None:
    a, b, c = angles
    turn_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    turn_y = np.array([[np.cos(c), 0, np.sin(c)], [0, 1, 0], [-np.sin(c), 0, np.cos(c)]])
    rotation = turn_z @ turn_x @ turn_y
    across, down, normal = rotation.T
    orientation = tuple(float(v) for v in (*across, *down))
    places = [np.array(origin) + k * spacing[0] * normal for k in range(count)]
    planes = [
        Plane(tuple(float(v) for v in p), orientation, (spacing[1], spacing[2]))  # type: ignore[arg-type]
        for p in places
    ]
    affine = affine_lps(planes[0], slice_step(planes))
    k, row, column = count - 1, 17, 29
    expected = places[k] + row * spacing[1] * down + column * spacing[2] * across
    np.testing.assert_allclose((affine @ [k, row, column, 1])[:3], expected, atol=1e-6)
    np.testing.assert_allclose(spacing_of(affine), spacing, atol=2e-6)


def test_a_missing_slice_is_refused() -> None:
    error = refusal(stack([0.0, 3.0, 9.0, 12.0]))
    assert "4 slices are between 3.000 and 6.000 mm apart" in error.message


def test_doubled_slices_are_refused() -> None:
    refusal(stack([0.0, 3.0, 3.0, 6.0]))
    refusal(stack([4.0, 4.0]))


def test_gantry_tilt_is_refused_with_its_angle() -> None:
    assert "45.0 degrees" in refusal(stack([0.0, 3.0, 6.0], sideways=3.0)).message


def test_slices_of_different_orientation_are_refused() -> None:
    other = Plane((0.0, 0.0, 6.0), (1.0, 0.0, 0.0, 0.0, 0.0, -1.0), (0.5, 0.7))
    refusal([*stack([0.0, 3.0]), other])


def test_positions_rounded_to_two_decimals_are_regular() -> None:
    step = slice_step(stack([round(k * 0.6251, 2) for k in range(200)]))
    assert step[2] == pytest.approx(0.6251, abs=1e-4)


@pytest.mark.parametrize(
    "plane",
    [
        Plane((0, 0, 0), (1, 0, 0, 1, 0, 0), (1, 1)),
        Plane((0, 0, 0), (0, 0, 0, 0, 1, 0), (1, 1)),
        Plane((0, 0, 0), (float("nan"), 0, 0, 0, 1, 0), (1, 1)),
        Plane((0, 0, 0), AXIAL, (0, 1)),
        Plane((0, 0, 0), AXIAL, (1, float("inf"))),
        Plane((0, float("nan"), 0), AXIAL, (1, 1)),
    ],
)
def test_a_plane_that_is_none_is_refused(plane: Plane) -> None:
    with pytest.raises(SeriesportError, match="geometry-irregular"):
        plane.check()


def test_the_nearest_patient_axes_of_a_coronal_volume_are_found() -> None:
    affine = affine_lps(Plane((0, 0, 0), (1, 0, 0, 0, 0, -1), (1, 1)), np.array([0.0, 2.0, 0.1]))
    assert nearest_axes(affine) == ((1, 0, 2), (True, False, False))
