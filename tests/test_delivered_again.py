"""What a folder or ZIP has of a series is found there, whatever results it came from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pydicom
import pytest

import data
from seriesport import Series
from seriesport.config.settings import Settings
from seriesport.store.keys import is_key
from seriesport.workflow.convert import convert_shard
from seriesport.workflow.fetch import fetch_shard
from seriesport.workflow.ledger import Outcome
from seriesport.workflow.plan import plan_cohort
from seriesport.workflow.shard import Results
from seriesport.workflow.upload import Looks, upload_shard

FORMATS = ["nifti", "preview"]


def deliver(
    name: str,
    wanted: list[str],
    destinations: str = "out, out.zip",
    sources: tuple[str, ...] = ("a", "b", "c"),
) -> list[Outcome]:
    """Deliver series from a results folder of that name, with a secret of its own."""
    entries = [f"  - {{source: {s}, destinations: [{destinations}]}}\n" for s in sources]
    Path("cohort.yaml").write_text("cohort:\n" + "".join(entries))
    Path("cohort.yaml").chmod(0o600)
    results, settings = Results(Path(name)), Settings()
    plan = plan_cohort(results, Path("cohort.yaml"), settings, shard_size=9)
    looks, lines = Looks(results, wanted, settings), list[Outcome]()
    for shard, rows in plan.shards().items():
        fetch_shard(results, shard, settings)
        convert_shard(results, shard, FORMATS, wanted)
        lines += upload_shard(results, shard, wanted, settings)
        for row, line in zip(rows, lines[-len(rows) :], strict=True):
            assert not line.ok or looks.lost(row) == ""
    return lines


def state() -> dict[str, tuple[bytes, int]]:
    """Every delivered file with its bytes and its time."""
    paths = [*Path("out").rglob("*"), *Path().glob("out.zip")]
    return {
        str(p): (p.read_bytes(), p.stat().st_mtime_ns)
        for p in paths
        if p.is_file() and not p.name.endswith(".part")
    }


@pytest.fixture(autouse=True)
def _room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three series, two of them with the same pixels: their previews are equal."""
    monkeypatch.chdir(tmp_path)
    for name, who in (("a", "one"), ("b", "two")):
        data.ct(tmp_path / name, data.identity(who), slices=3, size=32)
    twin = Series(tmp_path / "b")
    twin.patientID = "P other"
    twin.write("c")


@pytest.mark.parametrize("wanted", [["dicom", *FORMATS], FORMATS])
def test_other_results_send_nothing_that_is_there(wanted: list[str]) -> None:
    places = "out, out.zip" if "dicom" in wanted else "out"
    assert all(line.ok for line in deliver("first", wanted, places))
    there = state()
    assert sum(name.endswith(".png") for name in there) == 3
    assert all(line.ok for line in deliver("second", wanted, places))
    assert state() == there


def test_other_results_send_what_is_missing_into_the_folder_that_is_there() -> None:
    deliver("first", ["dicom", *FORMATS], "out")
    there = set(Path("out").rglob("*.*"))
    gone = min(Path("out").glob("*/000002.dcm"))
    gone.unlink()
    assert all(line.ok for line in deliver("second", ["dicom", *FORMATS], "out"))
    assert set(Path("out").rglob("*.*")) == there


def test_a_series_that_was_copied_there_is_not_delivered_beside_it() -> None:
    shutil.copytree("a", "out/somebody's")
    assert all(line.ok for line in deliver("first", ["dicom"], "out"))
    folders = sorted(path.name for path in Path("out").iterdir() if path.is_dir())
    assert "somebody's" in folders
    assert sum(map(is_key, folders)) == 2


def test_an_image_that_has_changed_is_a_conflict_and_never_overwritten() -> None:
    deliver("first", ["dicom"])
    there = state()
    path = sorted(Path("a").iterdir())[1]
    changed = pydicom.dcmread(path)
    changed.PixelData = bytes(len(changed.PixelData))
    changed.save_as(path)
    lines = deliver("second", ["dicom"])
    assert [line.code for line in lines] == ["destination-conflict", "", ""]
    assert state() == there


def test_equal_files_of_another_series_are_not_taken_for_ours() -> None:
    deliver("first", ["dicom", *FORMATS], "out", ("b",))
    assert all(line.ok for line in deliver("second", ["dicom", *FORMATS], "out", ("b", "c")))
    assert len(list(Path("out/SNAPSHOTS").iterdir())) == 2
    assert len(list(Path("out").glob("*/*.dcm"))) == 6


def test_one_series_of_two_sources_stays_apart_in_one_set_of_results() -> None:
    shutil.copytree("a", "copy")
    deliver("first", ["dicom"], sources=("a",))
    deliver("first", ["dicom"], sources=("a", "copy"))
    assert len(list(Path("out").iterdir())) == 2
