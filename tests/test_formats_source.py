from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pydicom
import pytest

import data
from seriesport.errors import SeriesportError
from seriesport.formats.source import Source, _look, _quick_look
from seriesport.images.frames import BAD_DATA
from seriesport.workflow.conversion import convert

if TYPE_CHECKING:
    from pathlib import Path


def test_the_quick_look_agrees_with_pydicom_on_every_file_of_its_wheel() -> None:
    agreed = 0
    for path in sorted(p for p in data.WHEEL.rglob("*") if p.is_file()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                slow = _look(path)
            except BAD_DATA:
                continue
        quick = _quick_look(path)
        assert quick in (None, slow), path.name
        agreed += quick is not None
    assert agreed > 50


def test_an_unknown_format_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("unknown"), slices=1)
    with pytest.raises(SeriesportError, match="config-invalid"):
        convert(made.paths, "k3y", tmp_path / "out", ["preview", "gif"], tmp_path)
    assert not (tmp_path / "out").exists()


def test_nothing_appears_when_one_of_the_formats_fails(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("all or none"), slices=5)
    with pytest.raises(SeriesportError, match="geometry-irregular"):
        convert(
            made.paths[:2] + made.paths[3:], "k3y", tmp_path / "out", ["preview", "npz"], tmp_path
        )
    assert not (tmp_path / "out").exists()


def test_no_format_makes_nothing(tmp_path: Path) -> None:
    made = data.sr(tmp_path / "in", data.identity("none"))
    assert convert(made.paths, "k3y", tmp_path / "out", [], tmp_path).outputs == ()


def test_what_is_no_dicom_file_is_refused_by_number(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("rubbish"), slices=3)
    made.paths[1].write_bytes(b"rubbish" * 100)
    with pytest.raises(SeriesportError, match=r"instance 2 .*instance-invalid"):
        Source(made.paths, tmp_path)


def test_deflated_images_are_inflated_for_the_converters(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("deflated"), slices=2, syntax="deflated")
    plain = data.ct(tmp_path / "plain", data.identity("deflated"), slices=2)
    (tmp_path / "scratch").mkdir()
    source = Source(made.paths, tmp_path / "scratch")
    expected = [pydicom.dcmread(p).pixel_array for p in plain.paths]
    assert (source.image.array == expected).all()
