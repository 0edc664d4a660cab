"""Pruning: what belongs to no row of the cohort any more is listed by its label, and removed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import zipfile
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import data
from peers.xnat import Xnat
from project import tree
from seriesport.cohort import read_cohort
from seriesport.config.settings import Settings
from seriesport.errors import SeriesportError
from seriesport.serve.archive import Archive
from seriesport.store.lease import lease
from seriesport.transports.xnat.server import XnatServer
from seriesport.workflow.convert import convert_shard
from seriesport.workflow.fetch import fetch_shard
from seriesport.workflow.ledger import read_ledger
from seriesport.workflow.plan import plan_cohort
from seriesport.workflow.prune import Asked, prune
from seriesport.workflow.records import read_records
from seriesport.workflow.shard import Results
from seriesport.workflow.startup import mend
from seriesport.workflow.steps import CONVERT, FETCH, STEPS, UPLOAD
from seriesport.workflow.upload import upload_shard
from seriesport.workflow.verdict import judge, summarise

if TYPE_CHECKING:
    from collections.abc import Callable

    from seriesport.workflow.prune import Done

SETTINGS = Settings()
YES = Asked(remove=True)
DELIVERED = Asked(remove=True, delivered=True)
ONE = "label: anna, source: one, destinations: [out]"
TWO = "label: berta, source: two, destinations: [out]"


@pytest.fixture(autouse=True)
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with two series in it."""
    data.mr(tmp_path / "one", data.identity("prune one"), times=1, slices=3)
    data.mr(tmp_path / "two", data.identity("prune two"), times=1, slices=2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def results() -> Results:
    return Results(Path("results"))


def cohort(*entries: str) -> None:
    """Write the cohort file and a config beside it."""
    path = Path("config/cohort.yaml")
    path.parent.mkdir(exist_ok=True)
    path.write_text("cohort:\n" + "".join(f"  - {{{entry}}}\n" for entry in entries))
    path.chmod(0o600)
    Path("config/config.yaml").write_text("cohort: config/cohort.yaml\n")


def run(results: Results, *entries: str, upload: tuple[str, ...] = ("dicom", "preview")) -> None:
    """Every step for a cohort, as a run of the workflow does them."""
    cohort(*entries)
    plan = plan_cohort(results, Path("config/cohort.yaml"), SETTINGS, shard_size=1)
    for shard in plan.shards():
        fetch_shard(results, shard, SETTINGS)
        convert_shard(results, shard, ["preview"], upload)
        upload_shard(results, shard, upload, SETTINGS)
    summarise(results)


def pruned(results: Results, asked: Asked = Asked()) -> list[Done]:  # noqa: B008 - frozen
    return prune(results, read_cohort(Path("config/cohort.yaml")), SETTINGS, asked)


def keys(results: Results) -> dict[str, str]:
    """The keys of the planned series by their labels."""
    plan = results.plan.read()
    assert plan is not None
    return {row.labels[0]: row.key for row in plan.series}


def named(key: str, folder: Path) -> list[Path]:
    """Files that have a key in their names or hold it, but for the secret's list of places."""
    every = (path for path in folder.rglob("*") if path.is_file())
    return [p for p in every if key in str(p) or key.encode() in p.read_bytes()]


def seriesport(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("seriesport"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_a_removed_row_is_listed_by_its_label_with_where_it_was_delivered(
    results: Results, room: Path
) -> None:
    run(results, ONE, TWO)
    assert pruned(results) == []
    cohort(TWO)  # not planned again yet
    before = sorted(p for p in room.rglob("*") if p.is_file())
    found = pruned(results)
    assert {done.remnant.labels for done in found} == {("anna",)}
    assert [done.what for done in found] == ["results", "dicom", "preview"]
    assert [done.where for done in found[1:]] == [f"file://{room}/out"] * 2
    assert [done.count for done in found] == [3, 3, 1]
    assert sorted(p for p in room.rglob("*") if p.is_file()) == before


def test_a_label_is_known_after_the_plan_was_made_anew(results: Results) -> None:
    run(results, ONE, TWO)
    run(results, TWO)
    assert {done.remnant.labels for done in pruned(results)} == {("anna",)}


def test_results_and_records_go_and_what_was_delivered_stays_and_is_still_known(
    results: Results, room: Path
) -> None:
    run(results, ONE, TWO)
    key, other = keys(results)["anna"], keys(results)["berta"]
    kept = {p: p.read_bytes() for p in named(other, room / "out")}
    (results.staging(key) / "incoming").mkdir(parents=True)
    (results.staging(key) / "000.dcm").write_bytes(b"x")
    cohort(TWO)
    pruned(results, YES)
    assert not list(results.folder.glob(f"*/*/{key}*"))
    assert not results.staging(key).exists()
    assert len(named(key, room / "out")) == 4
    assert [done.what for done in pruned(results)] == ["dicom", "preview"]

    ended = pruned(results, DELIVERED)
    assert [done.result for done in ended] == ["removed 3", "removed 1"]
    assert pruned(results) == []
    assert not named(key, room)
    assert "anna" not in results.table.read_text()
    assert not results.plan.former()
    assert {p: p.read_bytes() for p in named(other, room / "out")} == kept
    run(results, TWO)
    judge(results)


def test_what_others_put_there_and_what_was_changed_stays(results: Results, room: Path) -> None:
    run(results, ONE, TWO)
    key = keys(results)["anna"]
    folder = room / "out" / key
    changed, *_ = sorted(folder.iterdir())
    changed.write_bytes(changed.read_bytes()[:-2] + b"xx")
    (folder / "notes.txt").write_text("of somebody")
    cohort(TWO)
    ended = pruned(results, DELIVERED)
    dicom = next(done for done in ended if done.what == "dicom")
    assert dicom.error is not None
    assert dicom.error.code == "delivery-left"
    assert sorted(p.name for p in folder.iterdir()) == [changed.name, "notes.txt"]
    assert [done.what for done in pruned(results)] == ["dicom"]
    assert pruned(results, Asked(remove=True, delivered=True, forget=True))
    assert pruned(results) == []
    assert folder.exists()


def test_what_was_there_before_is_not_removed(results: Results, room: Path) -> None:
    run(results, ONE, TWO)
    key = keys(results)["anna"]
    for shard in results.plan.places().values():  # of results that were lost
        shutil.rmtree(results.step(UPLOAD, shard))
    run(results, ONE, TWO)
    cohort(TWO)
    ended = pruned(results, DELIVERED)
    assert {done.error.code for done in ended if done.error} == {"delivery-left"}
    assert len(list((room / "out" / key).iterdir())) == 3


def test_a_destination_that_is_not_there_is_not_taken_for_an_empty_one(
    results: Results, room: Path
) -> None:
    run(results, ONE, TWO)
    cohort(TWO)
    (room / "out").rename(room / "unmounted")
    ended = pruned(results, DELIVERED)
    assert {done.error.code for done in ended if done.error} == {"not-found"}
    (room / "unmounted").rename(room / "out")
    assert [done.result for done in pruned(results, DELIVERED)] == ["removed 3", "removed 1"]


def test_a_zip_is_written_anew_without_the_series(results: Results, room: Path) -> None:
    entries = [entry.replace("[out]", "[all.zip]") for entry in (ONE, TWO)]
    run(results, *entries, upload=("dicom",))
    key, other = keys(results)["anna"], keys(results)["berta"]
    with zipfile.ZipFile(room / "all.zip", "a") as archive:
        archive.writestr("readme.txt", "of somebody")
    with zipfile.ZipFile(room / "all.zip") as archive:
        before = {n: archive.read(n) for n in archive.namelist() if not n.startswith(key)}
    cohort(entries[1])
    assert [done.result for done in pruned(results, DELIVERED)] == ["removed", "removed 3"]
    with zipfile.ZipFile(room / "all.zip") as archive:
        assert archive.testzip() is None
        assert {n: archive.read(n) for n in archive.namelist()} == before
    assert len(before) == 3
    assert other in str(before)


def test_an_xnat_is_rid_of_what_was_sent_under_the_names_that_it_has_there(
    results: Results, room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Xnat(room / "xnat", "1.8") as xnat:
        xnat.add_user("owner", "secret")
        xnat.add_project("P", owner="owner")
        monkeypatch.setenv("SERIESPORT_USER_XNAT", "owner")
        monkeypatch.setenv("SERIESPORT_PASSWORD_XNAT", "secret")
        settings = Settings({"xnat": XnatServer("xnat", xnat.url)})
        monkeypatch.setattr(sys.modules[__name__], "SETTINGS", settings)
        entries = [one.replace("out", '"xnat://xnat/P/S1/E1"') for one in (ONE, TWO)]
        run(results, *entries)
        scans = xnat.scans("P", "E1")
        before = {s: (xnat.stored("P", "E1", s), xnat.resources("P", "E1", s)) for s in scans}
        cohort(entries[1])
        ended = pruned(results, DELIVERED)
        assert [done.result for done in ended] == ["removed", "removed 3", "removed 1"]
        left = {s: xnat.stored("P", "E1", s) for s in scans}
        assert sorted(map(len, left.values())) == [0, 2]
        shots = [xnat.stored("P", "E1", s, "SNAPSHOTS") for s in scans]
        assert sorted(map(len, shots)) == [0, 1]
        assert all(files == before[s][0] for s, files in left.items() if files)
        assert pruned(results) == []


def test_an_archive_cannot_be_told_to_delete_and_is_named(results: Results, room: Path) -> None:
    (room / "archive").mkdir()
    with Archive(room / "archive", "ARCHIVE") as archive:
        run(results, ONE.replace("[out]", f"['{archive.url}']"), TWO, upload=("dicom",))
        cohort(TWO)
        here, there = pruned(results, DELIVERED)
    assert here.result == "removed"
    assert there.where == archive.url
    assert there.error is not None
    assert there.error.code == "removal-unsupported"
    assert [done.where for done in pruned(results)] == [archive.url]


@pytest.mark.parametrize("change", [run, lambda _, *entries: cohort(*entries)], ids=["run", "not"])
def test_a_destination_that_a_row_lost_is_listed_and_the_row_keeps_its_results(
    results: Results, room: Path, change: Callable[..., None]
) -> None:
    run(results, ONE.replace("[out]", "[out, more]"), TWO)
    key = keys(results)["anna"]
    change(results, ONE, TWO)
    found = pruned(results)
    assert [(done.what, done.where) for done in found] == [
        ("dicom", f"file://{room}/more"),
        ("preview", f"file://{room}/more"),
    ]
    assert [done.result for done in pruned(results, DELIVERED)] == ["removed 3", "removed 1"]
    assert not named(key, room / "more")
    assert len(named(key, room / "out")) == 4
    assert pruned(results) == []
    run(results, ONE, TWO)
    judge(results)


def test_a_row_that_another_row_asks_for_as_well_keeps_its_results(results: Results) -> None:
    run(results, ONE, "label: twice, source: one, min_instances: 2, destinations: [out]")
    cohort("label: twice, source: one, min_instances: 2, destinations: [out]")
    assert pruned(results, DELIVERED) == []
    judge(results)


def test_what_a_new_plan_does_not_find_any_more_is_listed(results: Results, room: Path) -> None:
    who = data.identity("prune study")
    data.mr(room / "study" / "a", who, times=1, slices=1)
    data.mr(room / "study" / "b", who.series(2), times=1, slices=2)
    entry = f'label: study, source: study, study: "{who.study_instance_uid}", destinations: []'
    run(results, entry)
    assert pruned(results) == []
    shutil.rmtree(room / "study" / "b")
    plan_cohort(results, Path("config/cohort.yaml"), SETTINGS, replan_after=0)
    (done,) = pruned(results)
    assert done.remnant.labels == ("study",)
    pruned(results, YES)
    assert pruned(results) == []


def test_a_source_that_does_not_answer_takes_nothing_out_of_the_plan(
    results: Results, room: Path
) -> None:
    run(results, ONE, TWO)
    (room / "one").rename(room / "away")
    plan = plan_cohort(results, Path("config/cohort.yaml"), SETTINGS, replan_after=0)
    assert [problem.line for problem in plan.problems] == [2]
    assert len(plan.series) == 2
    assert pruned(results) == []
    (room / "away").rename(room / "one")
    again = plan_cohort(results, Path("config/cohort.yaml"), SETTINGS)  # asked without being told
    assert again.problems == ()


def test_what_an_unanswered_entry_may_mean_is_not_removed(results: Results, room: Path) -> None:
    run(results, ONE, TWO)
    (room / "one").rename(room / "away")
    cohort(f"{ONE}, modality: [MR]", TWO)  # another question, which has no answer now
    plan_cohort(results, Path("config/cohort.yaml"), SETTINGS)
    ended = pruned(results, DELIVERED)
    assert {done.error.code for done in ended if done.error} == {"still-wanted"}
    assert list(results.folder.glob("dicom/*/*.zip"))
    (room / "away").rename(room / "one")
    run(results, f"{ONE}, modality: [MR]", TWO)
    assert pruned(results) == []


def test_nothing_is_removed_beside_a_run(results: Results) -> None:
    run(results, ONE, TWO)
    cohort(TWO)
    locks = Path(".snakemake/locks")
    locks.mkdir(parents=True)
    (locks / "0.output.lock").touch()
    with pytest.raises(SeriesportError, match="snakemake --unlock"):
        pruned(results, YES)
    shutil.rmtree(locks)
    shard = results.plan.places()[pruned(results)[0].remnant.key]
    with lease(results.step(FETCH, shard) / "lease", wait=0):
        ended = pruned(results, YES)
    assert {done.error.code for done in ended if done.error} == {"shard-busy"}
    assert len(list(results.folder.glob("dicom/*/*.zip"))) == 2


def test_a_series_leaves_the_shard_of_others_without_making_them_run_again(
    results: Results,
) -> None:
    cohort(ONE, TWO)
    plan = plan_cohort(results, Path("config/cohort.yaml"), SETTINGS, shard_size=10)
    (shard,) = plan.shards()
    fetch_shard(results, shard, SETTINGS)
    convert_shard(results, shard, ["preview"], ["dicom"])
    upload_shard(results, shard, ["dicom"], SETTINGS)
    key, other = keys(results)["anna"], keys(results)["berta"]
    times = {step: results.ledger(step, shard).stat().st_mtime_ns for step in STEPS}
    cohort(TWO)
    pruned(results, DELIVERED)
    assert {s: results.ledger(s, shard).stat().st_mtime_ns for s in STEPS} == times
    assert all(set(read_ledger(results.ledger(step, shard))) == {other} for step in STEPS)
    assert not named(key, results.folder)
    assert read_records(results.records(CONVERT, shard)).keys() == {other}


def test_files_that_an_earlier_version_left_are_listed_with_the_label_of_the_last_table(
    results: Results,
) -> None:
    run(results, ONE, TWO)
    run_without_memory = results.plan.folder / "former.jsonl"
    cohort(TWO)
    plan_cohort(results, Path("config/cohort.yaml"), SETTINGS)
    run_without_memory.unlink()
    found = pruned(results)
    assert {done.remnant.labels for done in found} == {("anna",)}
    pruned(results, YES)
    assert not [
        p for p in results.folder.glob("dicom/*/*.zip") if keys(results)["berta"] not in p.name
    ]


def test_the_command_says_what_stays_and_exits_with_the_truth(results: Results, room: Path) -> None:
    run(results, ONE, TWO)
    cohort(TWO)
    listed = seriesport("prune")
    assert listed.returncode == 0
    assert "anna" in listed.stdout
    assert "berta" not in listed.stdout
    (room / "out" / keys(results)["anna"] / "000001.dcm").write_bytes(b"something else")
    ended = seriesport("prune", "--yes", "--delivered")
    assert ended.returncode == 1
    assert "[delivery-left]" in ended.stderr
    assert "anna" not in ended.stderr
    rows: list[dict[str, Any]] = json.loads(seriesport("prune", "--json").stdout)
    assert [row["label"] for row in rows] == ["anna"]
    assert seriesport("prune", "--yes", "--delivered", "--forget").returncode == 0
    assert "nothing is left" in seriesport("prune").stdout


def test_the_last_row_can_be_pruned_but_not_a_file_that_lost_everything(
    results: Results, room: Path
) -> None:
    run(results, ONE)
    cohort()
    with pytest.raises(SeriesportError, match="lists no series"):
        run(results)
    Path("config/cohort.yaml").write_text("")
    assert seriesport("prune", "--yes", "--delivered").returncode == 1
    assert list(results.folder.glob("dicom/*/*.zip"))
    cohort()
    ended = seriesport("prune", "--yes", "--delivered")
    assert ended.returncode == 0, ended.stderr
    assert "anna" in ended.stdout
    assert not list(results.folder.glob("*/*/*.zip"))
    assert not any(path.is_file() for path in (room / "out").rglob("*"))
    assert "nothing is left" in seriesport("prune").stdout
    run(results, ONE)
    judge(results)


def test_a_secret_that_is_lost_makes_nothing_a_remnant(results: Results) -> None:
    run(results, ONE, TWO)
    results.secret.unlink()
    with pytest.raises(SeriesportError) as refused:
        pruned(results, DELIVERED)
    assert refused.value.code == "secret-lost"
    assert len(list(results.folder.glob("dicom/*/*.zip"))) == 2


@pytest.mark.parametrize("name", ["plan/former.jsonl", "uploaded/local-0001/sent.jsonl"])
def test_what_nobody_can_say_again_is_kept_beside_until_it_is_forgotten(
    results: Results, name: str
) -> None:
    run(results, ONE, TWO)
    run(results, TWO)
    key = next(done.remnant.key for done in pruned(results))
    path = results.folder / name
    path.write_bytes(path.read_bytes().replace(b'"key"', b'"Key"'))
    with pytest.raises(SeriesportError) as refused:
        pruned(results)
    assert refused.value.code == "file-damaged"
    assert path.name in refused.value.message
    (said,) = mend(results)
    assert f"put aside as {path.name}.damaged" in said
    assert next(done.what for done in pruned(results)) == "results"
    path.with_name(f"{path.name}.damaged").rename(path)
    mend(results)  # and a second time, beside the first
    copy = path.with_name(f"{path.name}.damaged")
    ended = pruned(results, DELIVERED)
    assert [done.result for done in ended if done.what == "damaged"] == [
        "stays without --forget: nothing else has what it had"
    ]
    assert {done.error.code for done in ended if done.error} == {"delivery-left"}
    assert copy.exists()
    pruned(results, Asked(remove=True, delivered=True, forget=True))
    assert pruned(results) == []
    assert not named(key, results.folder)


def test_damaged_copies_that_were_made_anew_go_whomever_they_name(results: Results) -> None:
    run(results, ONE, TWO)
    series = results.plan.folder / "series.jsonl"
    series.write_bytes(series.read_bytes()[:-9])
    mend(results)
    run(results, ONE, TWO)
    cohort(TWO)
    assert [done.what for done in pruned(results)][-1] == "damaged"
    pruned(results, DELIVERED)
    assert not list(results.folder.rglob("*.damaged*"))


STEPS_OF_A_FILE_SYSTEM = ("unlink", "rmdir", "rename", "replace", "link", "mkdir")


def _killed_before(step: int, work: Callable[[], object]) -> bool:
    """Do something in a process that is killed before a step of the file system; True if so."""
    child = os.fork()
    if child == 0:
        left = count(step, -1)

        def counted(real: Callable[..., object]) -> Callable[..., object]:
            def one(*arguments: Any, **words: Any) -> object:
                if next(left) == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **words)

            return one

        for name in STEPS_OF_A_FILE_SYSTEM:
            setattr(os, name, counted(getattr(os, name)))
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.slow
def test_killed_at_any_step_and_run_again_it_ends_the_same(
    results: Results,
    room: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a process is killed here, not the machine
    entries = [one.replace("[out]", "[out, all.zip]") for one in (ONE, TWO)]
    cohort(*entries)
    plan = plan_cohort(results, Path("config/cohort.yaml"), SETTINGS, shard_size=10)
    (shard,) = plan.shards()
    fetch_shard(results, shard, SETTINGS)
    convert_shard(results, shard, ["preview"], ["dicom", "preview"])
    upload_shard(results, shard, ["dicom", "preview"], SETTINGS)
    summarise(results)
    key = keys(results)["anna"]
    (results.staging(key) / "incoming").mkdir(parents=True)
    cohort(entries[1])
    kept = tmp_path_factory.mktemp("kept") / "room"
    shutil.copytree(room, kept)

    def end() -> dict[str, str]:
        assert [done.result for done in pruned(results, DELIVERED) if done.error] == []
        assert pruned(results) == []
        assert not named(key, room)
        return tree(room, ("again", "seen.jsonl"))

    whole = end()
    for step in count(random.randrange(5), 5):  # each of them takes its turn, over some runs
        for path in room.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(kept, room, dirs_exist_ok=True)
        killed = _killed_before(step, lambda: pruned(results, DELIVERED))
        assert end() == whole, step
        if not killed:
            break
    assert step > 100


@pytest.mark.parametrize("place", ["out", "all.zip"])
def test_what_was_added_to_a_folder_of_other_results_is_taken_back_from_there(
    results: Results, room: Path, place: str
) -> None:
    entries = [one.replace("[out]", f"[{place}]") for one in (ONE, TWO)]
    source = sorted((room / "one").iterdir())
    source[0].rename(room / "later")
    run(results, *entries, upload=("dicom",))
    old = keys(results)["anna"]
    shutil.rmtree(results.folder)
    (room / "later").rename(source[0])
    run(results, *entries, upload=("dicom",))
    assert keys(results)["anna"] != old
    cohort(entries[1])
    here, there = pruned(results, DELIVERED)
    assert here.result == "removed"
    assert there.result.startswith("removed 1; 2 other files stay")
    if place == "out":
        assert len(list((room / "out" / old).iterdir())) == 2
    else:
        with zipfile.ZipFile(room / place) as archive:
            assert sum(name.startswith(old) for name in archive.namelist()) == 2
