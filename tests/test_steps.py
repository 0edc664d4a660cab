"""The steps over a shard: what they believe of earlier runs, repair, and never call complete."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import data
import images
from seriesport import Series
from seriesport.cli import cp as copying
from seriesport.cohort.plan import Plan
from seriesport.config.hours import Hours
from seriesport.config.settings import Settings
from seriesport.dicom.part10 import load_instance
from seriesport.errors import REASONS, SeriesportError
from seriesport.model.series import Proof, Receipt, ReceiptEntry, SeriesReference
from seriesport.serve.archive import Archive
from seriesport.store.bundle import read_bundle
from seriesport.store.scratch import scratch
from seriesport.store.staging import Staging
from seriesport.transfer.copy import Copied
from seriesport.transports.archive.server import DicomServer
from seriesport.transports.fetch import fetch_series
from seriesport.transports.file.address import FileAddress
from seriesport.transports.file.transport import FileTransport
from seriesport.transports.served import flow_of
from seriesport.workflow.convert import convert_shard
from seriesport.workflow.fetch import fetch_shard
from seriesport.workflow.ledger import Outcome, Status, read_ledger, write_ledger
from seriesport.workflow.plan import plan_cohort
from seriesport.workflow.records import read_records
from seriesport.workflow.rules import granted, limits
from seriesport.workflow.sent import sent_of
from seriesport.workflow.shard import Results
from seriesport.workflow.steps import CONVERT, FETCH, STEPS, UPLOAD
from seriesport.workflow.upload import upload_shard
from seriesport.workflow.verdict import judge, summarise

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from seriesport.model.instance import Instance
    from seriesport.model.series import Expected
    from seriesport.workflow.steps import Step

SETTINGS = Settings()
SHARD = "local-0001"
ENTRY = "source: source, destinations: [out]"


@pytest.fixture(autouse=True)
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a series of three images in it."""
    data.mr(tmp_path / "source", data.identity("steps"), times=1, slices=3)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def results() -> Results:
    return Results(Path("results"))


def plan(
    results: Results, *entries: str, refresh: bool = False, settings: Settings = SETTINGS
) -> list[str]:
    """Plan entries and give the keys of their series, all in the shard local-0001."""
    cohort = Path("cohort.yaml")
    cohort.write_text("cohort:\n" + "".join(f"  - {{{entry}}}\n" for entry in entries))
    cohort.chmod(0o600)
    made = plan_cohort(results, cohort, settings, shard_size=100, refresh=refresh)
    assert not made.problems
    return [row.key for row in made.series]


def fetch(results: Results) -> Outcome:
    (line,) = fetch_shard(results, SHARD, SETTINGS)
    return line


def bundle(results: Results, key: str) -> Path:
    return results.step(FETCH, SHARD) / f"{key}.zip"


def test_a_bundle_of_another_series_is_not_believed(results: Results, room: Path) -> None:
    (key,) = plan(results, ENTRY)
    assert fetch(results).status is Status.COMPLETE
    other = data.mr(room / "other", data.identity("steps other"), times=1, slices=3)
    (series,) = _found(room / "other")
    transport = FileTransport(series.address, SETTINGS)
    fetch_series(transport, series, bundle(results, key), room / "staging")
    assert fetch(results).status is Status.COMPLETE
    assert not {i.uid for i in read_bundle(bundle(results, key))} & set(other.uids)


def test_a_series_that_has_grown_is_fetched_again_once_the_plan_knows(
    results: Results, room: Path
) -> None:
    (key,) = plan(results, ENTRY)
    assert fetch(results).done == 3
    shutil.rmtree(room / "source")
    data.mr(room / "source", data.identity("steps"), times=1, slices=5)
    assert fetch(results).done == 3  # the plan is frozen
    plan(results, ENTRY, refresh=True)
    assert fetch(results).done == 5
    assert len(read_bundle(bundle(results, key))) == 5


def test_what_a_kill_left_in_staging_goes_once_the_bundle_is_there(results: Results) -> None:
    (key,) = plan(results, ENTRY)
    fetch(results)
    staging = results.staging(key)
    (staging / "incoming").mkdir(parents=True)
    shutil.copy(next(Path("source").iterdir()), staging / "000001.dcm")
    fetch(results)
    assert not staging.exists()


def test_what_has_arrived_is_kept_while_the_rest_is_on_its_way(room: Path) -> None:
    made = data.mr(room / "more", data.identity("arriving"), times=1, slices=8)
    (series,) = _found(room / "more")
    with Staging(room / "staging", series) as stage:
        for number, source in enumerate(made.paths, 1):
            path = stage.spool / f"{number:06d}.dcm"
            shutil.copy(source, path)
            stage.accept(replace(load_instance(path), location=path))
            time.sleep(0.1)
        assert len(list((room / "staging").glob("*.dcm"))) >= 4  # at most one is being checked


def test_an_instance_that_is_refused_again_and_again_is_put_aside_once(room: Path) -> None:
    (series,) = _found(room / "source")
    spool = room / "staging" / "incoming"
    for _ in range(3):
        with Staging(room / "staging", series) as stage:
            for number, source in enumerate(sorted((room / "source").iterdir()), 1):
                path = spool / f"{number:06d}.dcm"
                path.write_bytes(source.read_bytes()[: -20 * number])
                stage.accept(replace(load_instance(path), location=path))
            stage.settle()
            assert stage.aside == 3
    assert len(list((room / "staging" / "quarantine").iterdir())) == 3


class Watched(FileTransport):
    """A folder that says how often a fetch was ended."""

    ended = 0

    def fetch(
        self,
        series: SeriesReference,
        expected: Mapping[str, Expected],
        have: Collection[str],
        spool: Path,
    ) -> Iterator[Instance]:
        try:
            yield from super().fetch(series, expected, have, spool)
        finally:
            self.ended += 1


def test_a_fetch_that_stops_in_the_middle_ends_what_the_source_sends(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (series,) = _found(room / "source")
    transport = Watched(FileAddress(room / "source"), SETTINGS)
    monkeypatch.setattr(Staging, "accept", full)
    with pytest.raises(OSError, match="No space") as raised:
        fetch_series(transport, series, room / "b.zip", room / "staging")
    assert transport.ended == 1
    assert raised.value.errno == 28


def test_a_copy_does_not_deliver_what_an_older_copy_left_when_the_source_has_changed(
    room: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(room / "cache"))
    first, *_, last = sorted((room / "source").iterdir())
    last.rename(room / "last")
    (room / "taken").write_text("a file")
    with pytest.raises(SeriesportError):
        copying.cp("source", "taken", SETTINGS, as_json=True)
    (room / "last").rename(last)
    first.unlink()
    copying.cp("source", "out", SETTINGS, as_json=True)
    there = {one.uid for found in _found(room / "out") for one in _instances(found)}
    assert there == {one.uid for found in _found(room / "source") for one in _instances(found)}
    assert '"proof": "digest"' in capsys.readouterr().out


def test_a_copy_reports_its_weakest_proof() -> None:
    entries = [ReceiptEntry(p, sent=True, proof=p) for p in (Proof.DIGEST, Proof.LISTED)]
    series = SeriesReference(FileAddress(Path("/out")), "", "", "1.2.3")
    assert Copied(1, series, Receipt(tuple(entries))).proof is Proof.LISTED


def everything(results: Results) -> tuple[Outcome, Outcome, Outcome]:
    """Every step, as a run of the workflow does them."""
    fetched = fetch(results)
    (converted,) = convert_shard(results, SHARD, ["preview"], ["dicom"])
    (uploaded,) = upload_shard(results, SHARD, ["dicom"], SETTINGS)
    return fetched, converted, uploaded


def judged(results: Results) -> set[str]:
    """The steps that the next run repeats, after the verdict."""
    shutil.rmtree(results.plan.folder / "retry", ignore_errors=True)
    summarise(results)
    with suppress(SeriesportError):
        judge(results)
    return {step for step in STEPS if results.retry(step, SHARD).exists()}


def test_two_destinations_that_fail_are_both_explained(results: Results, room: Path) -> None:
    with Archive(room / "empty", "AE") as archive:
        server = DicomServer("pacs", host="127.0.0.1", port=archive.port, attempts=1)
        settings = Settings({"pacs": server})
        places = "[file, 'dicom://pacs/AE', out]"
        plan(results, f"source: source, destinations: {places}", settings=settings)
    (room / "file").write_text("")
    fetch(results)
    convert_shard(results, SHARD, [], ["dicom"])
    upload_shard(results, SHARD, ["dicom"], settings)
    assert judged(results) == {UPLOAD}
    told = results.verdict.read_text()
    for number, code in ((1, "destination-conflict"), (2, "archive-unreachable")):
        assert f"destination {number}: " in told
        assert f"{code}: {REASONS[code].advice}" in told
    assert "destination 3" not in told


def test_a_damaged_bundle_is_fetched_again_on_the_next_run(results: Results) -> None:
    (key,) = plan(results, ENTRY)
    fetch(results)
    content = bundle(results, key).read_bytes()
    bundle(results, key).write_bytes(content[:-1] + b"X")
    (converted,) = convert_shard(results, SHARD, ["preview"], ["dicom"])
    (uploaded,) = upload_shard(results, SHARD, ["dicom"], SETTINGS)
    assert (converted.code, uploaded.code) == ("bundle-damaged", "bundle-damaged")
    assert judged(results) == set(STEPS)
    assert {line.status for line in everything(results)} == {Status.COMPLETE}
    assert bundle(results, key).read_bytes() == content


@pytest.mark.parametrize("step", STEPS)
def test_a_file_that_is_gone_is_not_called_complete_and_is_made_again(
    results: Results, step: Step
) -> None:
    plan(results, ENTRY)
    everything(results)
    assert judged(results) == set()
    suffix = {FETCH: ".zip", CONVERT: ".png", UPLOAD: "receipts.jsonl"}[step]
    path = next(results.step(step, SHARD).glob(f"*{suffix}"))
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(SeriesportError) as failed:
        judge(results)
    assert failed.value.code == "cohort-failed"
    assert "output-lost" in (results.folder / "summary.tsv").read_text()
    assert judged(results) == {step}
    everything(results)
    assert judged(results) == set()
    assert path.read_bytes() == content


def test_a_series_that_the_ledgers_have_not_seen_is_fetched_on_the_next_run(
    results: Results, room: Path
) -> None:
    plan(results, ENTRY)
    everything(results)
    data.mr(room / "second", data.identity("steps second"), times=1, slices=1)
    plan(results, ENTRY, "source: second, destinations: [out]")
    row = replace(results.plan.read_shard("local-0002")[0], shard=SHARD)
    results.plan.write(Plan((*results.plan.read_shard(SHARD), row), ()))
    converted = convert_shard(results, SHARD, ["preview"], ["dicom"])
    uploaded = upload_shard(results, SHARD, ["dicom"], SETTINGS)
    assert [line.code for line in (*converted, *uploaded)] == ["", "not-attempted"] * 2
    assert judged(results) == {FETCH}


def test_a_format_that_is_no_longer_wanted_takes_its_files_with_it(results: Results) -> None:
    plan(results, ENTRY)
    fetch(results)
    convert_shard(results, SHARD, ["preview", "npz"], ["dicom"])
    folder = results.step(CONVERT, SHARD)
    (folder / f".{next(folder.glob('*.npz')).name}.seriesport-part").touch()
    (line,) = convert_shard(results, SHARD, ["preview"], ["dicom"])
    assert line.status is Status.COMPLETE
    assert sorted(p.suffix for p in folder.iterdir()) == [".jsonl", ".png", ".tsv"]


def test_a_report_is_converted_to_nothing_and_the_table_says_why(
    results: Results, room: Path
) -> None:
    data.sr(room / "report", data.identity("report"))
    plan(results, "source: report, formats: [nifti]")
    fetch(results)
    (line,) = convert_shard(results, SHARD, ["preview"], [])
    assert (line.status, line.code, line.done) == (Status.NOTHING, "not-an-image", 0)
    upload_shard(results, SHARD, ["dicom"], SETTINGS)
    assert judged(results) == set()
    assert "nifti: no instance of the series holds an image" in results.table.read_text()


def test_files_of_an_older_bundle_do_not_stay_beside_those_of_a_new_one(
    results: Results, room: Path
) -> None:
    (key,) = plan(results, ENTRY)
    fetch(results)
    folder = results.step(CONVERT, SHARD)
    convert_shard(results, SHARD, ["preview"], ["dicom"])
    (folder / f"{key}a.nii.gz").touch()  # of a killed conversion of an older bundle
    shutil.rmtree(room / "source")
    data.mr(room / "source", data.identity("steps"), times=1, slices=4)
    plan(results, ENTRY, refresh=True)
    fetch(results)
    convert_shard(results, SHARD, ["preview"], ["dicom"])
    assert not (folder / f"{key}a.nii.gz").exists()


def test_an_entry_or_the_config_says_how_images_are_ordered_and_a_change_makes_them_anew(
    results: Results, room: Path
) -> None:
    shutil.rmtree(room / "source")
    made = data.mr(room / "source", data.identity("steps"), times=4, slices=2)

    def change(dataset: Any, i: int) -> None:
        dataset.EchoTime, dataset.FlipAngle = [10, 20, 30, 40][i // 2], [40, 30, 20, 10][i // 2]

    images.vary(made.paths, change)
    plan(results, ENTRY)
    fetch(results)
    (line,) = convert_shard(results, SHARD, ["npz"], ["dicom"])
    assert line.code == "order-ambiguous"
    convert_shard(results, SHARD, ["npz"], ["dicom"], input_order="echo")
    (made_first,) = results.step(CONVERT, SHARD).glob("*.npz")
    assert Series(made_first).tags == {"echo": (10, 20, 30, 40)}
    plan(results, f"{ENTRY}, input_order: fa")
    convert_shard(results, SHARD, ["npz"], ["dicom"], input_order="echo")
    assert Series(made_first).tags == {"fa": (10, 20, 30, 40)}
    (line,) = upload_shard(results, SHARD, ["npz"], SETTINGS)
    assert line.status is Status.COMPLETE


def test_a_ledger_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.tsv"
    write_ledger(path, [Outcome("k", Status.COMPLETE, files="k.zip k.json")])
    path.write_text(path.read_text()[:-20].rpartition("\t")[0])
    with pytest.raises(SeriesportError, match="its end is missing"):
        read_ledger(path)


def test_a_full_disk_is_said_so_and_holds_up_no_other_series(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "a path that may identify")

    plan(results, ENTRY)
    monkeypatch.setattr(Staging, "accept", full)
    line = fetch(results)
    assert line.code == "file-unwritable"
    assert "No space left on device" in line.detail
    assert "identify" not in line.detail


def test_what_a_killed_conversion_left_in_the_temporary_folder_is_removed(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(room))
    with scratch() as used:
        left = room / "seriesport-left"
        shutil.copytree(used.parent, left)
        (room / "seriesport-other").mkdir()
        for folder in room.glob("seriesport-*"):
            os.utime(folder, (0, 0))
        with scratch():
            assert used.is_dir()
        assert not left.exists()
        assert (room / "seriesport-other").exists()
    assert not used.parent.exists()


_STUCK = """
import sys, threading, time
from pathlib import Path
from seriesport.cohort.plan import PlannedSeries
from seriesport.workflow.records import read_records
from seriesport.store.scratch import scratch
from seriesport.workflow.sent import sent_of
from seriesport.workflow.job import job
from seriesport.workflow.shard import run_shard
from types import SimpleNamespace

def work(row):
    with scratch():
        Path(f"started-{row.key}").touch()
        time.sleep(60)

with job("log", {}) as (results, config):
    rows = [SimpleNamespace(key=str(i)) for i in range(5)]
    run_shard(Path(), rows, work, int(sys.argv[1]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_job_that_is_stopped_ends_at_once_and_leaves_no_ledger(
    room: Path, workers: int, number: int
) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", _STUCK, str(workers)],
        cwd=room,
        env=os.environ | {"TMPDIR": str(room)},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while len(list(room.glob("started-*"))) < workers and time.monotonic() < deadline:
        time.sleep(0.02)
    sent = time.monotonic()
    run.send_signal(number)
    _, errors = run.communicate(timeout=30)
    assert time.monotonic() - sent < 5
    assert run.returncode == 130
    assert errors == ""
    assert "interrupted" in (room / "log").read_text()
    assert not (room / "ledger.tsv").exists()
    if workers == 1:
        assert not list(room.glob("seriesport-*"))


def test_a_server_that_moves_is_asked_again_what_it_has(results: Results, room: Path) -> None:
    entry = "source: source, destinations: ['dicom://pacs/ARCHIVE']"
    with Archive(room / "first", "ARCHIVE") as archive:
        plan(results, entry, settings=_pacs(archive.port))
    fetch(results)
    for name in ("first", "second"):
        with Archive(room / name, "ARCHIVE") as archive:
            (line,) = upload_shard(results, SHARD, ["dicom"], _pacs(archive.port))
        assert line.status is Status.COMPLETE
        assert len(_files(room / name)) == 3
    # The embedded archive of a demo gets another port each time, and is no other server.
    (line,) = upload_shard(
        results, SHARD, ["dicom"], _pacs(1, configured=f"127.0.0.1:{archive.port}")
    )
    assert line.status is Status.COMPLETE


def test_a_job_keeps_to_its_share_of_a_rate() -> None:
    settings = _pacs(1, associations=4, instances_per_second=100.0)

    def seconds(share: int) -> float:
        flow = flow_of(granted(settings, {"archive_pacs": share}).servers["pacs"])
        started = time.monotonic()
        for _ in range(6):
            flow.turn()
        return time.monotonic() - started

    assert 0.05 <= seconds(4) < 0.15
    assert 0.2 <= seconds(1) < 0.5


def test_a_job_opens_no_more_associations_than_snakemake_gave_it() -> None:
    settings = _pacs(1, associations=4, instances_per_second=100.0)
    server = granted(settings, {"archive_pacs": 1, "tmpdir": "/tmp"}).servers["pacs"]
    assert (server.associations, server.instances_per_second) == (1, 25.0)
    assert granted(settings, {"archive_pacs": 4}).servers == settings.servers


def test_servers_that_would_share_a_limit_by_their_names_are_refused() -> None:
    with pytest.raises(SeriesportError, match="differ in nothing but"):
        limits(
            {"a-b": DicomServer("a-b", "x", 1), "a_b": DicomServer("a_b", "y", 1, associations=1)}
        )


def test_archives_without_a_name_have_a_limit_of_their_own() -> None:
    assert limits({"pacs": DicomServer("pacs", "x", 1, associations=2)}) == {
        "archive_unnamed": 4,
        "archive_pacs": 2,
    }


def _pacs(port: int, **limits: Any) -> Settings:
    return Settings({"pacs": DicomServer("pacs", "127.0.0.1", port, **limits)})


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _found(folder: Path) -> list[SeriesReference]:
    return FileTransport(FileAddress(folder), SETTINGS).find(FileAddress(folder))


def _instances(series: SeriesReference) -> list[Instance]:
    transport = FileTransport(series.address, SETTINGS)
    return list(transport.fetch(series, transport.expect(series), (), Path("spool")))


def _planned(results: Results, archive: Archive) -> str:
    study = data.identity("steps").study_instance_uid
    wanted = f"source: dicom://pacs/ARCHIVE, study: '{study}'"
    plan(results, wanted, settings=_pacs(archive.port))
    (shard,) = (path.stem for path in (results.folder / "plan" / "shards").iterdir())
    return shard


def _closed_now() -> Hours:
    begin, end = (datetime.now() + timedelta(hours=h) for h in (6, 7))  # noqa: DTZ005 - local
    return Hours.parse(f"{begin:%H:%M}-{end:%H:%M}")


def test_a_fetch_that_comes_outside_of_the_window_asks_for_nothing_and_is_sent_again(
    results: Results, room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Archive(room / "source", "ARCHIVE") as archive:
        shard = _planned(results, archive)
        closed = _pacs(archive.port, window=_closed_now())
        monkeypatch.setenv("SLURM_JOB_END_TIME", str(time.time() + 3600))
        with pytest.raises(SeriesportError) as caught:
            fetch_shard(results, shard, closed)
        assert caught.value.code == "window-closed"
        assert not results.ledger(FETCH, shard).exists()
        (line,) = fetch_shard(results, shard, _pacs(archive.port))
        assert line.status is Status.COMPLETE
        (line,) = fetch_shard(results, shard, closed)  # nothing is left to ask for
        assert line.status is Status.COMPLETE


def test_a_window_that_closes_in_the_middle_leaves_the_rest_to_a_later_run(
    results: Results, room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Archive(room / "source", "ARCHIVE") as archive:
        shard = _planned(results, archive)
        monkeypatch.setenv("SLURM_JOB_END_TIME", str(time.time() + 3600))
        monkeypatch.setattr("seriesport.workflow.fetch.is_closed", lambda _: False)
        (line,) = fetch_shard(results, shard, _pacs(archive.port, window=_closed_now()))
        assert (line.status, line.code) == (Status.FAILED, "window-closed")


def test_what_was_made_is_listed_also_where_one_format_failed(results: Results) -> None:
    (key,) = plan(results, f"{ENTRY}, formats: [nifti, npz], input_order: b")
    fetch(results)
    (converted,) = convert_shard(results, SHARD, [], [])
    assert converted.status is Status.FAILED
    upload_shard(results, SHARD, [], SETTINGS)
    summarise(results)
    with (results.folder / "summary.tsv").open(newline="") as stream:
        (row,) = csv.DictReader(stream, dialect="excel-tab")
    made = sorted(results.step(CONVERT, SHARD).glob(f"{key}*"))
    assert row["outputs"].split() == [str(p.relative_to(results.folder)) for p in made]
    assert {p.suffix for p in made} == {".gz", ".json"}
    made[0].unlink()
    summarise(results)
    assert f"{CONVERT}/{SHARD}/{made[0].name}" not in results.table.read_text()


@pytest.mark.parametrize("touched", [False, True], ids=["as we wrote it", "changed"])
def test_files_of_a_series_that_grew_take_the_place_of_the_earlier_ones_that_we_wrote(
    results: Results, room: Path, touched: bool
) -> None:
    def run() -> Outcome:
        plan(results, f"{ENTRY}, upload: [nifti]", refresh=True)
        fetch(results)
        convert_shard(results, SHARD, [], ["nifti"])
        return upload_shard(results, SHARD, ["nifti"], SETTINGS)[0]

    assert run().status is Status.COMPLETE
    old = next((room / "out").rglob("*.nii.gz"))
    before = old.read_bytes()
    (old.parent / "notes.txt").write_text("of somebody")
    if touched:
        old.write_bytes(before + b"x")
    shutil.rmtree(room / "source")
    data.mr(room / "source", data.identity("steps"), times=1, slices=5)
    line = run()
    assert (old.parent / "notes.txt").read_text() == "of somebody"
    if touched:
        assert (line.status, line.code) == (Status.FAILED, "destination-conflict")
        assert old.read_bytes() == before + b"x"
        return
    assert line.status is Status.COMPLETE
    made = next(results.step(CONVERT, SHARD).glob("*.nii.gz"))
    assert old.read_bytes() == made.read_bytes() != before
    (record,) = read_records(results.sent(SHARD)).values()
    (sent,) = sent_of(record)
    assert len(sent.sha256) == len(list(old.parent.iterdir())) - 1
