"""What the next attempt of a job gets more of: what the one before ran out of, and nothing else."""

from __future__ import annotations

import multiprocessing
import os
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from seriesport.errors import SeriesportError
from seriesport.workflow.job import job
from seriesport.workflow.sizing import converting

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_FORKED = multiprocessing.get_context("fork")
SHARD = SimpleNamespace(shard="pacs-0001")
BEGUN, AT_ITS_END = 60, 1
"""Run times in minutes of a job that is stopped after seconds, for one that Snakemake's own start
may have taken a while."""


@pytest.fixture
def sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[float, float]]:
    """How many times its first memory and run time the job would get now."""
    monkeypatch.chdir(tmp_path)
    found = converting("none", "{shard}.log")
    memory, runtime = (found[name](SHARD) for name in ("mem_mb", "runtime"))
    return lambda: (found["mem_mb"](SHARD) / memory, found["runtime"](SHARD) / runtime)


def attempt(end: Callable[[], object], minutes: int = BEGUN, *, number: str = "1") -> None:
    """Run the job once; `end` ends it."""

    def work() -> None:
        os.environ["SLURM_JOB_ID"] = number
        with job("pacs-0001.log", {}, {"runtime": minutes}):
            end()

    process = _FORKED.Process(target=work)
    process.start()
    process.join(30)
    assert not process.is_alive()


def gets(number: int) -> Callable[[], None]:
    """End a job by a signal."""
    return lambda: os.kill(os.getpid(), number)


def fails() -> None:
    """End a job by an error of its own."""
    raise SeriesportError("shard-busy", "another job is at work here")


def test_a_job_that_is_cancelled_gets_the_same_again(sizes: Callable[[], object]) -> None:
    attempt(gets(signal.SIGTERM))
    assert sizes() == (1, 1)
    attempt(fails, number="2")
    assert sizes() == (1, 1)


def test_a_job_gets_more_of_what_it_ran_out_of_until_it_succeeds(
    sizes: Callable[[], object],
) -> None:
    attempt(gets(signal.SIGKILL), number="1")
    assert sizes() == (2, 1)
    attempt(gets(signal.SIGTERM), AT_ITS_END, number="2")
    assert sizes() == (2, 2)
    attempt(gets(signal.SIGTERM), number="3")
    attempt(fails, number="4")
    assert sizes() == (2, 2)
    attempt(gets(signal.SIGKILL), number="5")
    assert sizes() == (3, 2)
    attempt(lambda: None, number="6")
    assert sizes() == (1, 1)


def test_a_job_that_slurm_begins_anew_after_the_loss_of_a_node_ran_out_of_nothing(
    sizes: Callable[[], object],
) -> None:
    for _ in range(3):
        attempt(gets(signal.SIGKILL), number="1")
    attempt(gets(signal.SIGTERM), number="1")
    assert sizes() == (1, 1)


def test_a_job_that_fails_again_and_again_can_still_be_placed(sizes: Callable[[], object]) -> None:
    for number in range(7):
        attempt(gets(signal.SIGKILL), number=f"{number}")
    assert sizes() == (4, 1)


def test_a_note_that_cannot_be_read_is_none(sizes: Callable[[], object], tmp_path: Path) -> None:
    (tmp_path / "pacs-0001.needs").write_bytes(b"\xff 9 9")
    assert sizes() == (1, 1)
