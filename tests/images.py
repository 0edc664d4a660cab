"""Variations on the series of `data`, and an independent look at what was made from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from seriesport.images.template import Header

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from seriesport.images.image import Image

OBLIQUE = ["0.8", "0.6", "0", "0", "0", "-1"]
"""Coronal, turned by 37 degrees around the body's axis."""


def vary(paths: Sequence[Path], change: Callable[[Any, int], None]) -> list[Path]:
    """Change the data set of each file; the index counts from 0."""
    for i, path in enumerate(paths):
        dataset = pydicom.dcmread(path)
        change(dataset, i)
        dataset.save_as(path)
    return list(paths)


def header_of(image: Image) -> Header:
    """The header of an image just as it was read."""
    assert image.frames is not None
    return Header.of_frames(image.frames.ravel()).sealed(image)


def place(
    dataset: Dataset, index: int, orientation: Sequence[str], step: float, skew: float = 0.0
) -> None:
    """Put a slice `index` steps along the normal of an orientation, and `skew` mm aside."""
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    position = np.array([-10.0, 20.0, 30.0]) + index * (step * np.cross(row, column) + skew * row)
    dataset.ImageOrientationPatient = list(orientation)
    dataset.ImagePositionPatient = [f"{v:.6f}" for v in position]


def by_ras(series: Image) -> Callable[[float, float, float], np.ndarray[Any, Any]]:
    """Values of a volume by RAS position, from the array and its affine."""
    assert series.affine_ras is not None
    inverse = np.linalg.inv(series.affine_ras)
    lead = series.array.ndim - 3

    def value(x: float, y: float, z: float) -> np.ndarray[Any, Any]:
        index = np.rint(inverse @ [x, y, z, 1])[:3].astype(int)
        return series.array[(slice(None),) * lead + tuple(index)]

    return value


def agrees_with_nifti(series: Image, path: Path, voxels: int = 400) -> None:
    """Assert that a NIfTI file has the same values at the same places, looked up in RAS."""
    image = nibabel.load(path)
    values = np.asarray(image.dataobj)
    shape = values.shape[:3]
    volume = [series.array.shape[series.axes.index(a)] for a in ("slice", "row", "column")]
    assert sorted(shape) == sorted(volume)
    random = np.random.default_rng(0)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1).T
    picked = np.stack([random.integers(0, n, voxels) for n in shape], axis=1)
    value = by_ras(series)
    for index in [*corners, *picked]:
        place_ras = (image.affine @ [*index, 1])[:3]
        nearest = np.linalg.inv(series.affine_ras) @ [*place_ras, 1]
        np.testing.assert_allclose(nearest, np.rint(nearest), atol=2e-3)
        inside = [0 <= i < n for i, n in zip(np.rint(nearest[:3]), volume, strict=True)]
        assert all(inside)  # a negative index would count from the end
        np.testing.assert_allclose(value(*place_ras), values[tuple(index)], rtol=1e-5)


def diffusion(dataset: Any, volume: int) -> None:
    """Make an MR image part of volume 0 (b = 0) or of one with a direction of its own."""
    dataset.Manufacturer = "Philips"
    dataset.DiffusionBValue = 1000.0 if volume else 0.0
    direction = np.eye(3)[volume % 3] * bool(volume)
    dataset.DiffusionGradientOrientation = [float(v) for v in direction]
    del dataset.TriggerTime


def frame_groups(dataset: Any, change: Callable[[Dataset, int], None]) -> None:
    """Change the per-frame functional groups of an Enhanced instance."""
    for i, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        change(group, i)


def macro(group: Dataset, name: str, **attributes: Any) -> None:
    """Give a functional group a macro."""
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    setattr(group, name, DicomSequence([item]))
