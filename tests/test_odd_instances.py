"""Instances that real sources hold and that are odd, but whole: fetched, kept, and told of."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
import pytest
from pydicom.uid import RawDataStorage

import data
from seriesport import Series
from seriesport.config.settings import Settings
from seriesport.errors import SeriesportError
from seriesport.serve.archive import Archive
from seriesport.store.bundle import read_bundle
from seriesport.workflow.convert import convert_shard
from seriesport.workflow.fetch import fetch_shard
from seriesport.workflow.ledger import Outcome, Status
from seriesport.workflow.plan import plan_cohort
from seriesport.workflow.shard import Results
from seriesport.workflow.steps import CONVERT, FETCH

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = Settings()
PHILIPS_PRIVATE = "1.3.46.670589.11.0.0.12.2"
TINY_ALPHA = data.WHEEL / "dicomdirtests" / "TINY_ALPHA" / "PT000000"


@pytest.fixture(autouse=True)
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """An embedded archive over the folder `source`."""
    with Archive(tmp_path / "source") as started:
        yield started


def fetched(*entries: str) -> tuple[list[Outcome], Results]:
    """Plan entries and fetch them, as the workflow does; the ledger's lines."""
    results = Results(Path("results"))
    cohort = Path("cohort.yaml")
    cohort.write_text("cohort:\n" + "".join(f"  - {{{entry}}}\n" for entry in entries))
    cohort.chmod(0o600)
    plan = plan_cohort(results, cohort, SETTINGS, shard_size=100, refresh=True)
    assert not plan.problems
    lines: list[Outcome] = []
    for shard in {row.shard for row in plan.series}:
        lines += fetch_shard(results, shard, SETTINGS)
    return lines, results


def without_pixels(made: data.Made, number: int, sop_class: str) -> None:
    """Turn an instance of a series into raw data: with Rows and Columns and without pixels."""
    path = made.paths[number]
    dataset = pydicom.dcmread(path)
    del dataset.PixelData
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.save_as(path)


def test_raw_data_with_rows_and_columns_belong_to_a_series_and_make_no_image(
    tmp_path: Path,
) -> None:
    made = data.mr(tmp_path / "source", data.identity("philips"), times=1, slices=6)
    without_pixels(made, 0, RawDataStorage)
    without_pixels(made, 5, PHILIPS_PRIVATE)
    (line,), results = fetched("source: source")
    assert (line.status, line.done) == (Status.COMPLETE, 6)
    assert line.detail == "2 of 6 instances have no pixels"
    bundle = next(Path("results", FETCH.folder).glob("*/*.zip"))
    assert {one.uid for one in read_bundle(bundle)} == set(made.uids)
    (again,), _ = fetched("source: source")
    assert again == line

    (converted,) = convert_shard(results, bundle.parent.name, ["nifti", "npz", "preview"], [])
    assert converted.status is Status.COMPLETE
    assert {Path(name).suffix for name in converted.files.split()} >= {".gz", ".npz", ".png"}
    folder = results.step(CONVERT, bundle.parent.name)
    for source in ("source", str(bundle), str(next(folder.glob("*.nii.gz")))):
        assert Series(source).shape == (4, 64, 64)


def test_raw_data_with_rows_and_columns_are_fetched_from_an_archive_and_stored_there(
    tmp_path: Path,
) -> None:
    made = data.mr(tmp_path / "source", data.identity("philips"), times=1, slices=3)
    without_pixels(made, 0, RawDataStorage)
    who = made.identity
    with Archive(tmp_path / "source") as archive:
        (line,), _ = fetched(f"source: '{archive.url}/{who.patient_id}/{who.study_instance_uid}'")
    assert (line.status, line.done) == (Status.COMPLETE, 3)


def test_a_series_of_headers_alone_is_fetched_and_told_of(tmp_path: Path) -> None:
    shutil.copytree(TINY_ALPHA, tmp_path / "source")
    (line,), _ = fetched("source: source")
    assert (line.status, line.done) == (Status.COMPLETE, 50)
    assert line.detail == "50 of 50 instances have no pixels"
    with pytest.raises(SeriesportError, match="not-an-image"):
        Series("source")


def test_a_header_alone_among_images_is_a_cut_image(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "source", data.identity("cut"), slices=3)
    path = made.paths[1]
    dataset = pydicom.dcmread(path)
    for element in list(dataset):
        if element.tag > 0x00200013:
            del dataset[element.tag]
    dataset.save_as(path)
    (line,), _ = fetched("source: source")
    assert (line.status, line.code) == (Status.FAILED, "instance-truncated")
    assert "1 of 3 instances missing (number 2)" in line.detail
    with pytest.raises(SeriesportError, match="instance-truncated"):
        Series("source")
