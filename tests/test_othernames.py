"""What users of imagedata write works on a Series, with the values that imagedata gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

import data
import images
from seriesport import Series


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three times and two echoes of an oblique MR of four slices, 12 rows and 10 columns."""
    made = data.mr(tmp_path / "mr", data.identity("names"), times=6, slices=4, size=16)

    def change(dataset: Any, i: int) -> None:
        volume, place = divmod(i, 4)
        images.place(dataset, place, images.OBLIQUE, 2.5)
        dataset.Rows, dataset.Columns, dataset.PixelSpacing = 12, 10, ["1.5", "0.75"]
        dataset.PixelData = dataset.PixelData[:240]
        del dataset.TemporalPositionIdentifier, dataset.TriggerTime, dataset.AcquisitionNumber
        dataset.EchoTime = ["10", "20"][volume % 2]
        dataset.InversionTime = str(100 * (volume + 1))
        dataset.AcquisitionTime = f"12000{volume // 2}"
        dataset.WindowCenter, dataset.WindowWidth = "300", "600"

    images.vary(made.paths, change)
    return tmp_path / "mr"


def test_order_and_options_may_stand_without_their_names(folder: Path) -> None:
    assert Series(folder, "time,te").axes[:2] == ("time", "te")
    assert Series(folder, "ti", {"ti": "InversionTime"}).shape[0] == 6


def test_options_may_be_given_by_keyword(folder: Path) -> None:
    keyword = Series(folder, "mine", mine="InversionTime")
    assert keyword.tags == {"mine": (100, 200, 300, 400, 500, 600)}
    function = Series(folder, "mine", mine=lambda dataset: -dataset.InversionTime)
    np.testing.assert_array_equal(function, keyword[::-1])
    assert Series(folder, "te", accept_duplicate_tag=True).shape[0] == 6
    with pytest.raises(TypeError, match="inputorder"):
        Series(folder, inputorder="time")


def test_tags_are_found_by_slice_too(folder: Path) -> None:
    series = Series(folder, "time,te")
    assert series.tags == {"time": (0, 1, 2), "te": (10, 20)}
    assert series.tags[0].shape == (3, 2)
    assert series.tags[3][2, 1] == (2, 20)
    assert Series(folder, "ti").tags[0][1] == (200,)
    for missing in (4, -1, "echo"):
        with pytest.raises(KeyError):
            series.tags[missing]


def test_geometry_has_the_values_that_imagedata_gives(folder: Path) -> None:
    series = Series(folder, "ti")
    assert (series.slices, series.rows, series.columns) == (4, 12, 10)
    np.testing.assert_allclose(series.sliceLocations, [22, 24.5, 27, 29.5])
    expected = [[0, -1.5, 0, 30], [2, 0, 0.45, 20], [-1.5, 0, 0.6, -10], [0, 0, 0, 1]]
    np.testing.assert_allclose(series.transformationMatrix, expected, atol=1e-6)
    one = series[0, 2]
    assert (one.slices, one.rows, one.columns) == (1, 12, 10)
    np.testing.assert_allclose(one.sliceLocations, [27])
    assert Series(np.zeros((2, 3, 4))).transformationMatrix is None
    assert Series(np.zeros((2, 3, 4))).sliceLocations is None


def test_identity_and_window_are_there(folder: Path) -> None:
    series = Series(folder, "ti")
    stored = pydicom.dcmread(next(folder.iterdir()))
    assert series.frameOfReferenceUID == stored.FrameOfReferenceUID
    assert series.SOPClassUID == stored.SOPClassUID
    assert (series.windowCenter, series.windowWidth) == (300, 600)
    assert Series(np.zeros((3, 4))).windowCenter is None


def test_what_follows_from_the_image_cannot_be_set(folder: Path) -> None:
    series = Series(folder, "ti")
    names = "slices rows columns sliceLocations transformationMatrix frameOfReferenceUID"
    for name in f"{names} SOPClassUID windowCenter windowWidth tags input_order".split():
        with pytest.raises(AttributeError):
            setattr(series, name, 1)


def test_the_window_of_an_enhanced_image_is_of_plain_numbers(tmp_path: Path) -> None:
    made = data.enhanced(tmp_path, data.identity("window"), frames=3, size=16)

    def change(dataset: Any, _: int) -> None:
        item = {"WindowCenter": "40.5", "WindowWidth": "400", "VOILUTFunction": "LINEAR"}
        images.frame_groups(dataset, lambda g, _: images.macro(g, "FrameVOILUTSequence", **item))

    images.vary(made.paths, change)
    series = Series(tmp_path)
    assert series.window == (40.5, 400)
    assert [type(value) for value in series.window] == [float, float]
    frame = series.image.frames.flat[0]
    for value in (frame.slope, frame.intercept, *frame.spacing, *frame.tags.values()):
        assert type(value) is float
    assert type(frame.window.function) is str


def test_a_path_may_stand_for_one_of_each_format(folder: Path, tmp_path: Path) -> None:
    series = Series(folder, "ti")
    receipt = series.write(tmp_path / "out" / "%p", formats=["dicom", "nifti"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["dicom", "nifti"]
    assert receipt is not None
    assert len(receipt.entries) == 24
    np.testing.assert_array_equal(Series(tmp_path / "out" / "dicom", "ti"), series)
    series.write(str(tmp_path / "alone-%p"))
    assert Series(tmp_path / "alone-dicom", "ti").shape == series.shape


def test_a_folder_that_is_called_so_is_meant_itself(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "%p").mkdir()
    Series(folder, "ti").write(tmp_path / "%p")
    assert Series(tmp_path / "%p", "ti").shape[0] == 6


def test_what_the_page_says_to_write_instead_works(folder: Path) -> None:
    """The lines of docs/imagedata.md, each run on a Series."""
    page = (Path(__file__).parents[1] / "docs" / "imagedata.md").read_text("utf-8")
    lines = [row.split("|")[2].strip(" `") for row in page.splitlines() if row.startswith("| `")]
    assert len(lines) > 15
    for line in lines:
        si = Series(folder, "time,te")
        names = {
            "np": np,
            "si": si,
            "Series": Series,
            "url": folder,
            "r": (1, 2, 3),
            "p": (1, 2, 3),
            "uid": si.seriesInstanceUID,
            "m": si.transformationMatrix,
            "key": "ImageComments",
            "values": ["x"] * 24,
        }
        if "nifti" in line:
            names["url"] = folder / "x.nii"
            si.write(folder / "x.nii")
        exec(line, names)


def test_places_of_voxels_are_as_the_page_says(folder: Path) -> None:
    si = Series(folder, "ti")
    place = (si.affine_lps @ [1, 2, 3, 1])[:3][::-1]
    np.testing.assert_allclose(place, (si.transformationMatrix @ [1, 2, 3, 1])[:3])
    np.testing.assert_allclose(np.linalg.inv(si.affine_lps) @ [*place[::-1], 1], [1, 2, 3, 1])
    np.testing.assert_allclose(
        np.reshape(si.orientation, (2, 3))[:, ::-1].ravel()[:3], [0, 0.6, 0.8]
    )
