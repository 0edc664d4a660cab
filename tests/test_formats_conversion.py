from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
import scipy.io
import SimpleITK

import data
from seriesport.config.schema import load_schema
from seriesport.errors import SeriesportError
from seriesport.images.image import Image
from seriesport.workflow.conversion import CONVERSIONS, convert

if TYPE_CHECKING:
    from pathlib import Path


def test_the_config_offers_what_there_is() -> None:
    assert load_schema("config")["properties"]["formats"]["items"]["enum"] == list(CONVERSIONS)


def test_every_format_is_made_of_one_series_and_agrees(tmp_path: Path) -> None:
    made = data.mr(tmp_path / "in", data.identity("all formats"), times=3)
    series = Image.read(made.paths)
    conversion = convert(made.paths, "k3y", tmp_path / "out", list(CONVERSIONS), tmp_path)
    assert [o.name for o in conversion.outputs if o.format != "nifti"] == [
        *("k3y.zip", "k3y.mha", "k3y.npz", "k3y.mat", "k3y.png")
    ]
    itk = SimpleITK.ReadImage(str(tmp_path / "out" / "k3y.mha"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(itk), series.array)
    matlab = scipy.io.loadmat(tmp_path / "out" / "k3y.mat")["array"]
    np.testing.assert_array_equal(matlab, series.array.transpose(2, 3, 1, 0))
    again = convert(made.paths, "k3y", tmp_path / "again", list(CONVERSIONS), tmp_path)
    assert again.outputs == conversion.outputs


def test_the_instances_are_in_one_zip_as_they_are(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("zip"), slices=3)
    convert(made.paths, "k3y", tmp_path / "out", ["dicom"], tmp_path)
    with zipfile.ZipFile(tmp_path / "out" / "k3y.zip") as archive:
        assert archive.namelist() == ["000001.dcm", "000002.dcm", "000003.dcm"]
        assert {m.compress_type for m in archive.infolist()} == {zipfile.ZIP_STORED}
        for name, path in zip(archive.namelist(), made.paths, strict=True):
            assert archive.read(name) == path.read_bytes()


def test_a_report_has_instances_but_no_image(tmp_path: Path) -> None:
    made = data.sr(tmp_path / "in", data.identity("report"))
    assert convert(made.paths, "k3y", tmp_path / "out", ["dicom"], tmp_path).outputs
    for name in ("metaimage", "mat"):
        with pytest.raises(SeriesportError, match="not-an-image"):
            convert(made.paths, "k3y", tmp_path / "out", [name], tmp_path)
