"""Where slices lie in the patient: planes, regular stacks and affines. Lengths in mm.

DICOM's patient coordinates are LPS (x to the left, y to the back, z to the head; PS3.3 section
C.7.6.2.1.1); NIfTI's are RAS. Affines take array indices as they are used to index, (slice, row,
column, 1), to millimetres, so that `Nifti1Image(array, affine_ras)` of a volume is right as it is.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Vector = NDArray[np.float64]
    Affine = NDArray[np.float64]

SPATIAL = ("slice", "row", "column")
"""The axes of a volume, in the order of an affine's columns."""
ANGLE_TOLERANCE = 1e-3
"""Largest difference of direction cosines that counts as rounding."""
POSITION_TOLERANCE = 0.05
"""Largest deviation of a slice from its place in a regular stack, in parts of the spacing (dcm2niix
takes 0.04 and refuses 0.12)..."""
POSITION_ROUNDING = 0.01
"""...or in mm, whichever is larger: positions are often written with two decimals."""


@dataclass(frozen=True, slots=True)
class Plane:
    """One slice: Image Position, Image Orientation and Pixel Spacing."""

    position: tuple[float, float, float]
    """Centre of the first voxel, LPS."""
    orientation: tuple[float, float, float, float, float, float]
    """Direction of rising column index, then of rising row index."""
    spacing: tuple[float, float]
    """Between rows, between columns."""
    thickness: float | None = None
    """Slice Thickness, used for nothing but the extent of a single slice."""

    @property
    def normal(self) -> Vector:
        """Unit vector across the slice."""
        across = np.cross(self.orientation[:3], self.orientation[3:])
        return across / np.linalg.norm(across)

    @property
    def depth(self) -> float:
        """Distance from the origin along the normal."""
        return float(np.dot(self.normal, self.position))

    def check(self) -> None:
        """Refuse an orientation that is none and a spacing that is not positive.

        Raises:
            SeriesportError: geometry-irregular.
        """
        if not _perpendicular(self.orientation):
            raise _irregular("Image Orientation is not a pair of perpendicular unit vectors")
        if not all(0 < s < math.inf for s in self.spacing):
            raise _irregular("Pixel Spacing is not positive")
        if not all(map(math.isfinite, self.position)):
            raise _irregular("Image Position is not finite")

    def parallel(self, other: Plane) -> bool:
        """Whether both have the same orientation and in-plane spacing, up to rounding."""
        if (self.orientation, self.spacing) == (other.orientation, other.spacing):
            return True
        return np.allclose(self.orientation, other.orientation, rtol=0, atol=ANGLE_TOLERANCE) and (
            np.allclose(self.spacing, other.spacing, rtol=ANGLE_TOLERANCE, atol=0)
        )

    def beside(self, other: Plane | None) -> bool:
        """Whether another plane of the same orientation begins at the same point."""
        if other is None:
            return False
        if self.position == other.position:
            return True
        distance = float(np.linalg.norm(np.subtract(self.position, other.position)))
        return distance <= max(POSITION_ROUNDING, POSITION_TOLERANCE * min(self.spacing)) * 2


@lru_cache(maxsize=256)
def _perpendicular(orientation: tuple[float, float, float, float, float, float]) -> bool:
    """Whether an orientation is a pair of perpendicular unit vectors, up to rounding."""
    row, column = orientation[:3], orientation[3:]
    unit = all(math.isclose(math.hypot(*v), 1, abs_tol=10 * ANGLE_TOLERANCE) for v in (row, column))
    return unit and abs(sum(map(operator.mul, row, column))) <= 10 * ANGLE_TOLERANCE


def _irregular(problem: str) -> SeriesportError:
    return SeriesportError("geometry-irregular", problem)


def slice_step(
    planes: Sequence[Plane],
    *,
    accept_uneven_spacing: bool = False,
    accept_gantry_tilt: bool = False,
) -> Vector:
    """The vector from one slice to the next of a regular stack, given in order along the normal.

    Args:
        planes: Of all slices, in order.
        accept_uneven_spacing: Give the mean step where gaps differ.
        accept_gantry_tilt: Give the oblique step where slices are shifted evenly.

    Raises:
        SeriesportError: geometry-irregular, where slices differ in orientation, are unevenly
            spaced (a missing slice is), lie on each other, or are shifted sideways (gantry tilt).
    """
    first = planes[0]
    if not all(first.parallel(p) for p in planes):
        raise _irregular("the slices differ in orientation or pixel spacing")
    if len(planes) == 1:
        return first.normal * (first.thickness or 1.0)
    positions = np.array([p.position for p in planes], dtype=np.float64)
    step = (positions[-1] - positions[0]) / (len(planes) - 1)
    gap = float(step @ first.normal)
    tolerance = max(POSITION_ROUNDING, POSITION_TOLERANCE * abs(gap))
    if abs(gap) <= POSITION_ROUNDING:
        raise _irregular("slices lie on each other")
    regular = positions[0] + np.arange(len(planes))[:, None] * step
    along = (positions - regular) @ first.normal
    if float(np.abs(along).max()) > tolerance and not accept_uneven_spacing:
        gaps = np.diff(positions @ first.normal)
        raise _irregular(
            f"{len(planes)} slices are between {gaps.min():.3f} and {gaps.max():.3f} mm apart"
        )
    sideways = step - gap * first.normal
    sheared = float(np.linalg.norm(sideways)) > POSITION_TOLERANCE * abs(gap) + POSITION_ROUNDING
    if sheared and not accept_gantry_tilt:
        degrees = math.degrees(math.atan2(float(np.linalg.norm(sideways)), abs(gap)))
        raise _irregular(f"the stack is sheared by {degrees:.1f} degrees (gantry tilt)")
    # Where slices should lie: on the line along the step, at whatever depth each has.
    line = positions[0] + ((positions - positions[0]) @ first.normal / gap)[:, None] * step
    scatter = np.linalg.norm(positions - line, axis=1)
    if float(scatter.max()) > tolerance:
        raise _irregular("the slices are shifted against each other")
    return step


def affine_lps(plane: Plane, step: Vector) -> Affine:
    """The affine from (slice, row, column, 1) to LPS, of a stack that starts with a plane."""
    affine = np.eye(4)
    affine[:3, 0] = step
    row, column = np.array(plane.orientation[:3]), np.array(plane.orientation[3:])
    affine[:3, 1] = column / np.linalg.norm(column) * plane.spacing[0]
    affine[:3, 2] = row / np.linalg.norm(row) * plane.spacing[1]
    affine[:3, 3] = plane.position
    return affine


def lps_to_ras(affine: Affine) -> Affine:
    """The same affine into RAS, which turns x and y round (and back again)."""
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def spacing_of(affine: Affine) -> tuple[float, float, float]:
    """Distances between slices, rows and columns."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    z, y, x = (round(float(n), 6) for n in lengths)
    return (z, y, x)


def nearest_axes(affine: Affine) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """How an array's axes lie to the patient's: for z, y, x of LPS, the array axis that is nearest.

    Returns:
        The array axes in the order z, y, x, and for each whether its index runs backwards.
    """
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    orders = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    world = (2, 1, 0)

    def fit(order: tuple[int, int, int]) -> float:
        return sum(abs(float(directions[w, a])) for w, a in zip(world, order, strict=True))

    best = max(orders, key=fit)
    backwards = [bool(directions[w, a] < 0) for w, a in zip(world, best, strict=True)]
    return best, (backwards[0], backwards[1], backwards[2])
