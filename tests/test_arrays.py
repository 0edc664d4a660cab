"""Which of SLURM's job arrays would wait for ever."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from seriesport.cohort.plan import Shard
from seriesport.transports.archive.server import DicomServer
from seriesport.workflow.arrays import Arrays

SERVERS = {"pacs": DicomServer("pacs", "host", 104, associations=3)}


def problem(typed: str, shards: int, uploads_to: str = "local", *, jobs: int = 100) -> str:
    """What is said of an option, for a plan of so many shards."""
    rules = [
        SimpleNamespace(name=f"sp_{step}", script=f"../../scripts/{step}.py")
        for step in ("plan", "fetch", "convert", "upload", "verdict")
    ]
    workflow = SimpleNamespace(
        executor_settings=SimpleNamespace(array_jobs=typed),
        resource_settings=SimpleNamespace(nodes=jobs),
        scheduling_settings=SimpleNamespace(subsample=100),
        rules=[*rules, SimpleNamespace(name="of_another_workflow", script=None)],
    )
    names = [f"pacs-{n:04d}" for n in range(shards)]
    made = [Shard(n, 9, ("pacs",), (uploads_to,), 0, delivers_files=None) for n in names]
    return Arrays(workflow, SERVERS).problem({shard.name: shard for shard in made})


FETCH = "(fetch: 30 jobs share 3 connections to pacs)"
BOTH = "60 jobs share 3 connections to pacs"


@pytest.mark.parametrize(
    ("typed", "uploads_to", "said"),
    [
        ("all", "local", f"{FETCH}: give --slurm-array-jobs=sp_convert,sp_upload"),
        ("sp_convert, sp_upload", "pacs", f"(upload: {BOTH}): give --slurm-array-jobs=sp_convert"),
        ("sp_fetch,sp_upload", "pacs", f"(fetch: {BOTH}; upload: {BOTH}): leave it out"),
        ("sp_fetch;other", "local", f"{FETCH}: leave it out"),
    ],
)
def test_an_array_over_jobs_that_take_turns_is_refused_with_what_works(
    typed: str, uploads_to: str, said: str
) -> None:
    found = problem(typed, 30, uploads_to)
    assert found.startswith(f"--slurm-array-jobs={typed} would wait for ever")
    assert found.endswith(said)


@pytest.mark.parametrize("typed", ["", "sp_convert,sp_upload", "of_another_workflow"])
def test_an_array_over_jobs_that_run_at_one_time_is_not(typed: str) -> None:
    assert not problem(typed, 30)


def test_an_array_may_have_as_many_jobs_as_an_archive_has_associations() -> None:
    assert not problem("all", 3)
    assert "6 jobs share 3 connections" in problem("all", 3, "pacs")


def test_an_array_of_more_jobs_than_are_released_is_refused() -> None:
    said = "10 of 30 jobs are released at a time: add --jobs=30 --scheduler-subsample=30"
    assert said in problem("sp_convert", 30, jobs=10)
