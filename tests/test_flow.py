"""Archives are not overrun: back-off is shared, and what they refuse gets another turn."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import yaml

import data
from faulty import Fault, FaultyArchive
from project import SNAKEMAKE, Project
from seriesport.cli.cp import cp
from seriesport.config.settings import Settings
from seriesport.errors import SeriesportError
from seriesport.transports.archive.server import DicomServer
from seriesport.transports.served import Flow, Patience
from seriesport.workflow.fetch import fetch_shard
from seriesport.workflow.ledger import Status
from seriesport.workflow.plan import plan_cohort
from seriesport.workflow.shard import Results


def _refused_at_first(calls: list[float]) -> None:
    calls.append(time.monotonic())
    if len(calls) == 1:
        raise SeriesportError("association-busy", "not now")


def test_after_a_refusal_all_threads_wait_before_they_ask_again() -> None:
    flow, patience = Flow(), Patience(attempts=2, backoff=0.5)
    refused: list[float] = []
    other: list[float] = []
    asking = threading.Thread(target=patience.retrying(flow), args=(_refused_at_first, refused))
    asking.start()
    time.sleep(0.1)
    patience.retrying(flow)(other.append, 0.0)
    assert time.monotonic() - refused[0] >= 0.5
    asking.join()
    assert len(refused) == 2


def test_what_is_no_refusal_holds_up_nobody() -> None:
    flow = Flow()

    def cut() -> None:
        raise SeriesportError("association-aborted", "gone")

    with pytest.raises(SeriesportError):
        Patience(attempts=1, backoff=60.0).retrying(flow)(cut)
    started = time.monotonic()
    flow.wait()
    assert time.monotonic() - started < 30


def test_between_attempts_there_is_more_time_at_each() -> None:
    asked: list[float] = []

    def cut() -> None:
        asked.append(time.monotonic())
        raise SeriesportError("association-aborted", "gone")

    with pytest.raises(SeriesportError):
        Patience(attempts=3, backoff=0.2).retrying()(cut)
    first, second, third = asked
    assert second - first >= 0.2
    assert third - second >= 0.4


def test_a_server_of_which_the_config_says_nothing_else_is_left_alone_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = data.ct(tmp_path / "made", data.identity("left alone"), slices=2)
    with FaultyArchive(made.paths) as archive:
        settings = Settings(servers={"pacs": DicomServer("pacs", archive.host, archive.port)})
        address = f"dicom://pacs/FAULTY//{made.identity.study_instance_uid}"
        archive.fail(Fault.CUT, 1)
        slept: list[float] = []
        sleep, here = time.sleep, threading.current_thread()

        def count(seconds: float) -> None:
            (slept.append if threading.current_thread() is here else sleep)(seconds)

        monkeypatch.setattr(time, "sleep", count)
        cp(address, str(tmp_path / "out"), settings, as_json=True)
        assert sum(slept) >= 1
        assert sorted({*archive.sent}) == sorted(made.uids)


@pytest.mark.parametrize("bears", [1, 2])
def test_an_archive_that_bears_less_than_it_is_said_to_gives_every_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bears: int
) -> None:
    monkeypatch.chdir(tmp_path)
    who = data.identity("low limit")
    made = [data.mr(tmp_path / str(n), who.series(n), times=1, slices=2) for n in range(1, 6)]
    with FaultyArchive([path for one in made for path in one.paths]) as archive:
        server = DicomServer("pacs", archive.host, archive.port, attempts=2, backoff=0.05)
        settings = Settings(servers={"pacs": server})
        cohort = tmp_path / "cohort.yaml"
        entry = f"{{source: dicom://pacs/FAULTY, study: {who.study_instance_uid}}}"
        cohort.write_text(f"cohort: [{entry}]")
        cohort.chmod(0o600)
        results = Results(Path("results"))
        assert len(plan_cohort(results, cohort, settings, shard_size=10).series) == len(made)
        archive.bears = bears
        lines = fetch_shard(results, "pacs-0001", settings)
        assert {line.status for line in lines} == {Status.COMPLETE}
        assert archive.at_once <= bears
        assert len(archive.sent) == 2 * len(made)


def test_an_archive_that_goes_on_refusing_is_told_for_each_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    who = data.identity("refuses")
    made = [data.mr(tmp_path / str(n), who.series(n), times=1, slices=1) for n in (1, 2)]
    with FaultyArchive([path for one in made for path in one.paths]) as archive:
        server = DicomServer("pacs", archive.host, archive.port, attempts=1, backoff=0.01)
        settings = Settings(servers={"pacs": server})
        cohort = tmp_path / "cohort.yaml"
        cohort.write_text(
            f"cohort: [{{source: dicom://pacs/FAULTY, study: {who.study_instance_uid}}}]"
        )
        cohort.chmod(0o600)
        results = Results(Path("results"))
        plan_cohort(results, cohort, settings, shard_size=10)
        archive.fail(Fault.BUSY, 100)
        lines = fetch_shard(results, "pacs-0001", settings)
        assert [line.code for line in lines] == ["association-busy"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("grouped", [False, True])
def test_the_limit_of_an_archive_holds_over_all_jobs(tmp_path: Path, grouped: bool) -> None:
    who = data.identity("jobs")
    made = [data.mr(tmp_path / str(n), who.series(n), times=1, slices=20) for n in range(1, 6)]
    project = Project.clone(tmp_path / "clone", demo=False)
    with FaultyArchive([path for one in made for path in one.paths]) as archive:
        server = {
            "host": archive.host,
            "port": archive.port,
            "associations": 2,
            "instances_per_second": 40,  # slow enough for jobs to meet
        }
        config = {"shard_size": 1, "formats": [], "servers": {"pacs": server}}
        (project.folder / "config" / "config.yaml").write_text(yaml.safe_dump(config))
        project.write_cohort(
            f"cohort: [{{source: dicom://pacs/FAULTY, study: {who.study_instance_uid}}}]"
        )
        assert project.run(*SNAKEMAKE, "results/plan/shards.tsv").returncode == 0
        archive.at_once = 0
        groups = ("--groups", "fetch=g", "--group-components", "g=3") if grouped else ()
        ledgers = [f"results/dicom/pacs-{n:04d}/ledger.tsv" for n in range(1, 6)]
        done = project.run("snakemake", "--cores", "6", *ledgers, *groups)
        assert done.returncode == 0, done.stderr
        assert archive.at_once in ((1, 2) if grouped else (2,))
        assert len(archive.sent) == 20 * len(made)
