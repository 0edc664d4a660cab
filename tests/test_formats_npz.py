from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest

import data
from seriesport.errors import SeriesportError
from seriesport.formats import convert
from seriesport.image import Image

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
