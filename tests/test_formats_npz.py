from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest

import arrays
import data
from seriesport.errors import SeriesportError
from seriesport.formats import read, write
from seriesport.images.image import Image
from seriesport.workflow.conversion import convert

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def make(files: Sequence[Path], tmp_path: Path) -> Path:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    (output,) = convert(files, "k3y", tmp_path / "out", ["npz"], scratch).outputs
    assert output.name == "k3y.npz"
    return tmp_path / "out" / output.name


def test_a_volume_comes_back_with_its_geometry(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("npz"), slices=4)
    series = Image.read(made.paths)
    with np.load(make(made.paths, tmp_path), allow_pickle=False) as archive:
        assert sorted(archive) == ["affine", "array", "axes", "spacing"]
        np.testing.assert_array_equal(archive["array"], series.array)
        assert archive["axes"].tolist() == ["slice", "row", "column"]
        assert archive["spacing"].tolist() == [1.5, 5.625, 5.625]
        image = nibabel.Nifti1Image(archive["array"], archive["affine"])
    assert nibabel.aff2axcodes(image.affine) == ("S", "P", "L")


def test_volumes_over_time_come_back_with_their_tag(tmp_path: Path) -> None:
    made = data.mr(tmp_path / "in", data.identity("npz 4-D"), times=3)
    with np.load(make(made.paths, tmp_path), allow_pickle=False) as archive:
        assert archive["axes"].tolist() == ["temporal", "slice", "row", "column"]
        assert archive["values"].tolist() == [1, 2, 3]
        assert archive["array"].shape == (3, 4, 64, 64)


def test_a_picture_has_no_affine(tmp_path: Path) -> None:
    with np.load(make([data.WHEEL / "examples_rgb_color.dcm"], tmp_path)) as archive:
        assert sorted(archive) == ["array", "axes"]


def test_the_same_series_gives_the_same_bytes(tmp_path: Path) -> None:
    made = data.pet(tmp_path / "in", data.identity("npz same"))
    first = make(made.paths, tmp_path).read_bytes()
    with zipfile.ZipFile(tmp_path / "out" / "k3y.npz") as archive:
        assert {m.date_time for m in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert make(made.paths, tmp_path).read_bytes() == first


def test_a_missing_slice_is_refused(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("npz hole"), slices=5)
    with pytest.raises(SeriesportError, match="geometry-irregular"):
        make(made.paths[:2] + made.paths[3:], tmp_path)


# Reading


def test_a_file_of_the_workflow_is_read_again(tmp_path: Path) -> None:
    made = data.mr(tmp_path / "in", data.identity("npz again"), times=3)
    series = Image.read(made.paths)
    found = read(make(made.paths, tmp_path))
    assert (found.axes, dict(found.tags)) == (series.axes, dict(series.tags))
    np.testing.assert_array_equal(found.array, series.array)
    np.testing.assert_allclose(found.affine_lps, series.affine_lps)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_any_npz_with_an_array_is_read(tmp_path: Path, save: Any, order: Any) -> None:
    values = np.asarray(np.arange(24, dtype=">i4").reshape(1, 2, 3, 4), order=order)
    save(tmp_path / "x.npz", array=values)
    found = read(tmp_path / "x.npz")
    assert found.axes == ("dim1", "slice", "row", "column")
    assert found.array.dtype.isnative
    np.testing.assert_array_equal(found.array, values)


def test_several_tags_have_a_member_each(tmp_path: Path) -> None:
    values = np.zeros((2, 2, 2, 2), np.uint8)
    tags = {"time": (0.0, 1.0), "dti": ((0.0, (0.0, 0.0, 0.0)), (9.0, (1.0, 0.0, 0.0)))}
    (path,) = write(arrays.image(values, tags), tmp_path / "x.npz")
    with np.load(path, allow_pickle=False) as archive:
        assert sorted(archive) == ["array", "axes", "values_dti", "values_time"]
        assert archive["values_time"].tolist() == [0, 1]


@pytest.mark.parametrize(
    "members",
    [
        {"other": np.eye(3)},
        {"array": np.array(["a"])},
        {"array": np.zeros((0, 3))},
        {"array": np.zeros((1, 1, 1)), "axes": np.array(["row", "column"])},
        {"array": np.zeros((2, 2)), "axes": np.array(["column", "row"])},
        {"array": np.zeros((2, 2)), "affine": np.eye(3)},
        {"array": np.eye(2), "axes": np.array(["row", "column"]), "bvalues": np.zeros(7)},
        {"array": np.zeros((2, 2, 2)), "axes": np.array(["t", "row", "column"]), "values": [1]},
    ],
)
def test_members_that_do_not_fit_are_refused(tmp_path: Path, members: Any) -> None:
    np.savez(tmp_path / "x.npz", **members)
    with pytest.raises(SeriesportError, match="image-invalid"):
        read(tmp_path / "x.npz", "npz")


def test_a_flat_or_endless_affine_is_refused(tmp_path: Path) -> None:
    for affine in (np.full((4, 4), np.nan), np.diag([1.0, 0, 1, 1]), np.ones((4, 4))):
        np.savez(tmp_path / "x.npz", array=np.zeros((2, 2)), affine=affine)
        with pytest.raises(SeriesportError, match="geometry-irregular"):
            read(tmp_path / "x.npz")
