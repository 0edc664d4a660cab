"""UIH's volumes in one picture, compared with what dcm2niix makes of them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dcm2niix
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

import data
import images
from seriesport import Series
from seriesport.errors import SeriesportError
from seriesport.workflow.conversion import convert

if TYPE_CHECKING:
    from collections.abc import Sequence

AXIAL = ["1", "0", "0", "0", "1", "0"]


def tiled(
    folder: Path,
    *,
    slices: int = 7,
    orientation: Sequence[str] = tuple(images.OBLIQUE),
    step: float = 3.0,
    told: int | None = None,
) -> list[Path]:
    """Two volumes as UIH tiles them: 12 rows and 8 columns each slice."""
    made = data.mr(folder, data.identity("uih"), times=2, slices=1, size=16)
    across = int(np.ceil(np.sqrt(slices)))
    down = -(-slices // across)
    random = np.random.default_rng(1)

    def change(dataset: Any, _: int) -> None:
        images.place(dataset, 0, orientation, step)
        picture = random.integers(1, 4000, (down * 12, across * 8)).astype("<i2")
        dataset.Rows, dataset.Columns = picture.shape
        dataset.PixelData = picture.tobytes()
        dataset.Manufacturer, dataset.PixelSpacing = "UIH", ["2", "2.5"]
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "EPI", "VFRAME"]
        dataset.SpacingBetweenSlices = str(abs(step))
        del dataset.TriggerTime
        block = dataset.private_block(0x0065, "Image Private Header", create=True)
        block.add_new(0x50, "DS", str(slices))
        block.add_new(0x51, "SQ", [_frame(orientation, k, step) for k in range(told or slices)])

    return images.vary(made.paths, change)


def _frame(orientation: Sequence[str], index: int, step: float) -> Dataset:
    item = Dataset()
    images.place(item, index, orientation, step)
    del item.ImageOrientationPatient
    return item


def nifti(folder: Path, out: Path) -> Path:
    out.mkdir()
    command = [dcm2niix.bin, "-z", "n", "-b", "n", "-f", "x", "-o", str(out), str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return out / "x.nii"


@pytest.mark.parametrize("slices", [4, 7, 20])
@pytest.mark.parametrize("orientation", [AXIAL, images.OBLIQUE])
@pytest.mark.parametrize("step", [3.0, -3.0])
def test_a_volume_in_one_picture_is_taken_apart_as_dcm2niix_does(
    tmp_path: Path, slices: int, orientation: list[str], step: float
) -> None:
    tiled(tmp_path / "in", slices=slices, orientation=orientation, step=step)
    series = Series(tmp_path / "in")
    assert series.axes == ("temporal", "slice", "row", "column")
    assert series.shape == (2, slices, 12, 8)
    images.agrees_with_nifti(series.image, nifti(tmp_path / "in", tmp_path / "out"))


def test_every_tile_is_there_where_the_vr_is_not_written(tmp_path: Path) -> None:
    paths = tiled(tmp_path / "in")
    explicit = Series(tmp_path / "in")
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        dataset.save_as(path, implicit_vr=True, little_endian=True)
    np.testing.assert_array_equal(Series(tmp_path / "in"), explicit)


def test_a_volume_that_does_not_tell_where_its_slices_lie_is_refused(tmp_path: Path) -> None:
    tiled(tmp_path / "in", told=5)
    with pytest.raises(
        SeriesportError, match="UIH volume tells 5 positions for 7 slices"
    ) as caught:
        Series(tmp_path / "in")
    assert caught.value.code == "geometry-irregular"


def test_arrays_of_the_workflow_have_the_voxels_of_its_nifti(tmp_path: Path) -> None:
    paths = tiled(tmp_path / "in")
    (tmp_path / "scratch").mkdir()
    convert(paths, "k", tmp_path / "out", ["nifti", "npz"], tmp_path / "scratch")
    array = Series(tmp_path / "out" / "k.npz").image
    images.agrees_with_nifti(array, tmp_path / "out" / "k.nii.gz")


def test_slices_written_one_by_one_are_read_as_slices(tmp_path: Path) -> None:
    tiled(tmp_path / "in")
    series = Series(tmp_path / "in")
    series.write(tmp_path / "out")
    again = Series(tmp_path / "out")
    np.testing.assert_array_equal(again, series)
    np.testing.assert_allclose(again.affine_lps, series.affine_lps, atol=1e-6)
    assert "VFRAME" not in again.imageType
