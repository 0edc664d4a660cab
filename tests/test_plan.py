"""The plan: what entries mean, which keys and shards they get, and what a re-plan leaves alone."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import data
from seriesport.cohort import read_cohort
from seriesport.cohort.plan import MOST_SHARDS, Plan, PlanFolder, _place, make_plan, read_index
from seriesport.config.hours import Hours
from seriesport.config.settings import Settings
from seriesport.errors import SeriesportError
from seriesport.serve.archive import Archive
from seriesport.transports.archive.server import DicomServer
from seriesport.workflow.plan import plan_cohort
from seriesport.workflow.shard import Results

if TYPE_CHECKING:
    from collections.abc import Sequence
SECRET = b"s" * 32


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three series, and a folder with another patient's."""
    folder = tmp_path_factory.mktemp("sources")
    who = data.identity("plan", series_description="t1 axial")
    data.mr(folder / "study" / "a", who, times=1, slices=3)
    data.mr(folder / "study" / "b", who.series(2, series_description="t2"), times=1, slices=5)
    data.ct(folder / "study" / "c", who.series(3, series_description="ct"), slices=2)
    data.mr(folder / "other", data.identity("plan other"), times=1, slices=2)
    return folder


@pytest.fixture(autouse=True)
def room(tmp_path: Path, sources: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the sources in it."""
    shutil.copytree(sources, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _entries(*lines: str) -> str:
    return "cohort:\n" + "".join(f"  - {{{line}, destinations: [out]}}\n" for line in lines)


def _plan(
    *lines: str, previous: Plan | None = None, shard_size: int = 0, settings: Settings | None = None
) -> Plan:
    path = Path("cohort.yaml")
    path.write_text(_entries(*lines))
    path.chmod(0o600)
    return make_plan(
        read_cohort(path),
        settings or Settings(),
        SECRET,
        previous=previous,
        shard_size=shard_size,
    )


def _problem(*lines: str) -> tuple[str, str]:
    plan = _plan(*lines)
    assert plan.series == ()
    return plan.problems[0].code, plan.problems[0].message


def _keys(plan: Plan) -> dict[str, str]:
    return {row.key: row.shard for row in plan.series}


WHO = data.identity("plan")
STUDY = f'source: study, study: "{WHO.study_instance_uid}"'


def test_an_entry_for_a_study_means_all_its_series() -> None:
    assert sorted(row.reference.instances or 0 for row in _plan(STUDY).series) == [2, 3, 5]


@pytest.mark.parametrize(
    ("filters", "counts"),
    [
        ("modality: [MR]", [3, 5]),
        ("modality: [CT]", [2]),
        ('description: "t*"', [3, 5]),
        ('description_regex: "^t1 "', [3]),
        ("min_instances: 3", [3, 5]),
        ("modality: [MR], min_instances: 4", [5]),
        ('series_number: "3"', [2]),
    ],
)
def test_filters_choose_among_the_series_of_a_study(filters: str, counts: list[int]) -> None:
    plan = _plan(f"{STUDY}, {filters}")
    assert sorted(row.reference.instances or 0 for row in plan.series) == counts


def test_a_folder_with_several_series_is_refused_with_a_list() -> None:
    code, message = _problem("source: study")
    assert code == "ambiguous"
    assert "3 series match" in message
    assert "series 3 (CT, 2 instances)" in message
    assert data.ROOT not in message
    assert WHO.patient_id not in message


def test_matches_are_listed_by_study_and_identified_only_where_their_owner_reads() -> None:
    two = f"source: ., patient: '{WHO.patient_id}', max_series: 1"
    data.mr(Path("second"), replace(WHO, study_instance_uid=WHO.study_instance_uid + ".2"))
    plan = _plan(two)
    (problem,) = plan.problems
    assert "study 1, series" in problem.message
    assert "study 2, series" in problem.message
    assert not any(uid in problem.message for uid in (WHO.study_instance_uid, WHO.patient_id))
    assert [WHO.study_instance_uid in line for line in problem.matches] == [True] * 4
    folder = PlanFolder(Path("plan"))
    folder.write(plan)
    assert folder.read() == plan
    assert all(
        WHO.patient_id not in path.read_text() or path.stat().st_mode & 0o077 == 0
        for path in Path("plan").rglob("*.*")
    )


@pytest.mark.parametrize("key", ["patient", "accession"])
def test_an_identifier_that_lost_its_zeros_in_a_spreadsheet_is_told_so(key: str) -> None:
    data.mr(
        Path("zeros"),
        data.identity("zeros", patient_id="0012345", accession_number="0012345"),
        times=1,
        slices=1,
    )

    def message(source: str, text: str) -> str:
        path = Path("cohort.tsv")
        path.write_text(f"source\t{key}\n{source}\t{text}\n")
        path.chmod(0o600)
        plan = make_plan(read_cohort(path), Settings(), SECRET)
        return plan.problems[0].message if plan.problems else ""

    assert message("zeros", "0012345") == ""
    assert f"{key} lacks zeros in front, which spreadsheets take away" in message("zeros", "12345")
    assert "zeros" not in message("zeros", "54321")
    with Archive(Path("zeros"), "ARCHIVE") as archive:
        assert message(archive.url, "0012345") == ""
        assert f"{key} may lack zeros in front" in message(archive.url, "12345")
        assert "zeros" not in message(archive.url, "A12345")


def test_more_series_than_an_entry_may_have_are_refused() -> None:
    assert _problem(f"{STUDY}, max_series: 2")[0] == "ambiguous"


def test_an_entry_that_finds_nothing_is_named_by_its_line_and_the_others_go_on() -> None:
    plan = _plan("source: other", f'source: study, study: "{data.ROOT}.1.1"', "source: absent")
    assert len(plan.series) == 1
    assert [problem.line for problem in plan.problems] == [3, 4]
    assert plan.problems[0].code == "not-found"


def test_a_filter_that_no_series_passes_says_how_many_there_were() -> None:
    code, message = _problem(f"{STUDY}, modality: [PT]")
    assert code == "not-found"
    assert "3 series are there" in message


def test_a_series_with_too_few_instances_is_refused_with_its_count() -> None:
    code, message = _problem("source: other, min_instances: 3")
    assert code == "too-few-instances"
    assert message == "min_instances is 3, but the series has 2"


def test_two_entries_for_one_series_are_one_row_with_both_destinations() -> None:
    plan = _plan(
        f'{STUDY}, series_number: "1"',
        f'{STUDY}, series: "{WHO.series_instance_uid}"',
    )
    row = plan.series[0]
    assert len(plan.series) == 1
    assert row.lines == (2, 3)
    assert len(row.destinations) == 1


def test_two_entries_that_order_one_series_differently_are_refused() -> None:
    plan = _plan(
        "source: other", "source: other, input_order: time", "source: other, input_order: b"
    )
    assert [row.input_order for row in plan.series] == ["time"]
    ((line, code),) = [(problem.line, problem.code) for problem in plan.problems]
    assert (line, code) == (4, "cohort-invalid")


def test_keys_are_the_same_for_the_same_secret_and_hide_the_identity() -> None:
    plan = _plan(STUDY)
    assert _keys(plan) == _keys(_plan(STUDY))
    for key in _keys(plan):
        assert key.isalnum()
        assert WHO.patient_id not in key


def test_a_project_that_is_moved_keeps_its_keys(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _keys(_plan(STUDY))
    moved = room.with_name(room.name + "-moved")
    room.rename(moved)
    monkeypatch.chdir(moved)
    assert _keys(_plan(STUDY)) == before


def test_new_series_get_new_shards_and_old_ones_stay_in_theirs() -> None:
    first = _plan(STUDY, shard_size=2)
    assert sorted(first.shards()) == ["local-0001", "local-0002"]
    second = _plan("source: other", STUDY, previous=first, shard_size=2)
    assert _keys(first).items() <= _keys(second).items()
    assert sorted(second.shards()) == ["local-0001", "local-0002", "local-0003"]


def test_what_is_planned_is_not_asked_for_again(room: Path) -> None:
    first = _plan(STUDY)
    room.joinpath("study").rename(room / "gone")
    again = _plan(STUDY, previous=first)
    assert again.series == first.series
    assert again.problems == ()


def test_a_changed_filter_is_asked_for_again() -> None:
    first = _plan(STUDY)
    assert len(_plan(f"{STUDY}, modality: [CT]", previous=first).series) == 1


@pytest.mark.parametrize(("series", "shards"), [(7, 7), (200, 200), (1000, 200)])
def test_shards_are_about_200_at_the_most(series: int, shards: int) -> None:
    plan = _plan("source: other")
    row = plan.series[0]
    rows = [replace(row, key=str(i)) for i in range(series)]
    placed = list(_place(rows, {}, 0))
    assert len({r.shard for r in placed}) == shards <= MOST_SHARDS


def _write(results: Results, *lines: str) -> Sequence[int]:
    path = Path("cohort.yaml")
    path.write_text(_entries(*lines))
    path.chmod(0o600)
    plan_cohort(results, path, Settings(), shard_size=2)
    return [p.stat().st_mtime_ns for p in sorted((results.plan.folder / "shards").iterdir())]


def _shards(results: Results) -> dict[str, str]:
    plan = results.plan.read()
    assert plan is not None
    return _keys(plan)


def test_a_refreshed_plan_leaves_every_series_in_its_shard(room: Path) -> None:
    results = Results(room / "results")
    _write(results, "source: other")
    _write(results, STUDY, "source: other")
    before = _shards(results)
    plan_cohort(results, Path("cohort.yaml"), Settings(), shard_size=2, refresh=True)
    assert _shards(results) == before


def test_a_series_that_is_taken_out_and_put_back_returns_to_its_shard(room: Path) -> None:
    results = Results(room / "results")
    _write(results, STUDY, "source: other")
    before = _shards(results)
    _write(results, "source: other")
    assert len(_shards(results)) == 1
    data.mr(room / "third", data.identity("plan third"), times=1, slices=1)
    _write(results, "source: other", "source: third")
    assert set(_shards(results).values()) - set(before.values())  # no number is used twice
    _write(results, "source: other", STUDY)
    assert _shards(results) == before


def test_a_patient_id_that_no_address_can_hold_is_refused_and_the_plan_stays_readable(
    room: Path,
) -> None:
    who = data.identity("control", patient_id="A\x07B")
    data.mr(room / "archive", who, times=1, slices=1)
    with Archive(room / "archive", "ARCHIVE") as archive:
        results = Results(room / "results")
        entry = f"source: '{archive.url}', study: \"{who.study_instance_uid}\""
        _write(results, entry, "source: other")
    plan = results.plan.read()
    assert plan is not None
    assert [problem.code for problem in plan.problems] == ["instance-invalid"]
    assert len(plan.series) == 1


def test_text_that_is_no_unicode_is_kept_as_it_came(room: Path) -> None:
    results = Results(room / "results")
    _write(results, "source: other")
    plan = results.plan.read()
    assert plan is not None
    odd = replace(
        plan.series[0].reference, patient_id="\udc80", series_description="\x1b[2J\u2028" * 9999
    )
    changed = Plan((replace(plan.series[0], reference=odd),), ())
    results.plan.write(changed)
    assert results.plan.read() == changed


def test_the_files_of_unchanged_shards_are_not_touched(room: Path) -> None:
    results = Results(room / "results")
    before = _write(results, STUDY)
    after = _write(results, STUDY, "source: other")
    assert after[: len(before)] == before
    assert len(after) == len(before) + 1


def test_a_plan_reads_back_as_it_was_written_and_only_its_owner_reads_it(room: Path) -> None:
    results = Results(room / "results")
    _write(results, STUDY, "source: absent")
    folder = PlanFolder(room / "results" / "plan")
    plan = folder.read()
    assert plan is not None
    assert len(plan.series) == 3
    assert len(plan.problems) == 1
    rows = [row for name in plan.shards() for row in folder.read_shard(name)]
    assert rows == list(plan.series)
    for path in folder.folder.rglob("*.jsonl"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["{", '{"key": "a"}', "[]", '{"key": "a", "reference": 1}'])
def test_a_damaged_plan_is_said_so(room: Path, text: str) -> None:
    results = Results(room / "results")
    _write(results, STUDY)
    (results.plan.folder / "series.jsonl").write_text(text + "\n")
    with pytest.raises(SeriesportError, match=r"series\.jsonl is damaged"):
        results.plan.read()
    (results.plan.folder / "series.jsonl").unlink()
    before = results.plan.places()
    _write(results, STUDY)
    assert _shards(results) == before


def test_a_series_has_one_key_whoever_asks_the_archive_for_it(room: Path) -> None:
    with Archive(room / "study", "ARCHIVE") as archive:
        entry = f'study: "{WHO.study_instance_uid}"'
        usual = _plan(f"source: '{archive.url}', {entry}")
        other = _plan(f"source: '{archive.url}?calling=OTHER', {entry}", previous=usual)
    assert len(other.series) == 3
    assert _keys(other) == _keys(usual)
    assert all("?calling=OTHER" in row.reference.address.url for row in other.series)


# Destinations


def _deliver(results: Results, settings: Settings, *destinations: str) -> Plan:
    """Plan two entries with the same destinations."""
    path = Path("cohort.yaml")
    path.write_text(
        f"defaults: {{destinations: [{', '.join(map(repr, destinations))}]}}\n"
        "cohort:\n  - source: other\n  - source: study/a\n"
    )
    path.chmod(0o600)
    return plan_cohort(results, path, settings)


@pytest.mark.parametrize(
    ("destination", "code", "says"),
    [
        ("dicom://pasc/ARCHIVE", "server-unknown", "no server 'pasc' in the config"),
        ("dicom://127.0.0.1:1/ARCHIVE", "archive-unreachable", "Connection refused"),
        ("xnat://pasc/P/S/E", "credentials-missing", ""),
        ("out.tar.gz", "address-invalid", "does not end in .tar.gz"),
        ("made/SCAN.NII", "address-invalid", "does not end in .nii"),
        ("cohort.yaml", "destination-conflict", "is a file"),
        ("cohort.yaml/out", "file-unwritable", "a part of its path is a file"),
        ("cohort.yaml/out.zip", "file-unwritable", "a part of its path is a file"),
        ("broken.zip", "zip-invalid", ""),
    ],
)
def test_a_wrong_destination_is_told_once_before_anything_is_planned(
    room: Path, monkeypatch: pytest.MonkeyPatch, destination: str, code: str, says: str
) -> None:
    monkeypatch.setenv("NETRC", "/nonexistent")
    (room / "broken.zip").write_text("no ZIP")
    results = Results(room / "results")
    with pytest.raises(SeriesportError) as caught:
        _deliver(results, Settings(), "out", destination)
    assert caught.value.code == code
    told = "cohort.yaml, line 3: destination 2 (in 2 entries): "
    assert caught.value.message.startswith(told)
    assert says in caught.value.message
    assert "\n" not in caught.value.message
    assert results.plan.read() is None
    assert not (room / "out").exists()


def test_every_wrong_destination_is_told_with_its_reason(room: Path) -> None:
    with pytest.raises(SeriesportError) as caught:
        _deliver(Results(room / "results"), Settings(), "out.rar", "dicom://pasc/A")
    first, second = caught.value.message.splitlines()
    assert "destination 1" in first
    assert second.endswith("[server-unknown]")


def test_a_folder_that_may_not_be_written_to_is_no_destination(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = room / "locked"
    locked.mkdir()
    allowed = os.access
    monkeypatch.setattr(  # root may write everywhere
        os, "access", lambda path, mode: Path(path) != locked and allowed(path, mode)
    )
    with pytest.raises(SeriesportError, match="nearest folder above it may not be written to"):
        _deliver(Results(room / "results"), Settings(), "locked/deep/out")
    assert not list(locked.iterdir())


def test_a_folder_of_any_name_is_a_destination_once_it_is_there(room: Path) -> None:
    (room / "out.tar.gz").mkdir()
    assert len(_deliver(Results(room / "results"), Settings(), "out.tar.gz").series) == 2


def test_a_destination_of_an_earlier_plan_may_be_out_of_reach(
    room: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = Results(room / "results")
    with Archive(room / "other", "ARCHIVE") as archive:
        url = archive.url
        _deliver(results, Settings(), url)
    assert len(_deliver(results, Settings(), f"{url}?calling=OTHER").series) == 2
    told = capsys.readouterr().err
    assert "line 3: destination 1 (in 2 entries) is out of reach now" in told
    assert "[archive-unreachable]" in told


def test_a_destination_is_not_asked_outside_of_its_window(room: Path) -> None:
    now = datetime.now()  # noqa: DTZ005 - windows are in local time
    minute = now.hour * 60 + now.minute
    closed = Hours((minute + 120) % 1440, (minute + 180) % 1440)
    settings = Settings({"pacs": DicomServer("pacs", "127.0.0.1", 1, window=closed)})
    plan = _deliver(Results(room / "results"), settings, "dicom://pacs/ARCHIVE")
    assert len(plan.series) == 2


def test_the_index_of_shards_holds_nothing_that_identifies(room: Path) -> None:
    results = Results(room / "results")
    _write(results, STUDY)
    text = results.plan.index.read_text()
    assert [shard.series for shard in read_index(results.plan.index)] == [2, 1]
    assert data.ROOT not in text
    assert WHO.patient_id not in text


def test_an_archive_as_a_whole_is_not_planned_by_mistake() -> None:
    archive = "source: 'dicom://127.0.0.1:1/ARCHIVE'"
    assert _problem(archive)[0] == "ambiguous"
    assert _problem(f"{archive}, max_series: 5")[0] == "archive-unreachable"
