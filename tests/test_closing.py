"""What a run ends with on the screen."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from seriesport.errors import REASONS
from seriesport.workflow.closing import LOCKED, Closing
from seriesport.workflow.shard import Results

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Results(Path("results"))
Event = dict[str, Any]


@pytest.fixture
def end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[str, str]]:
    """Run Snakemake, as far as its logger sees; give what the screen ends with."""
    monkeypatch.chdir(tmp_path)

    def run(*events: Event, during: Callable[[], object] = lambda: None) -> tuple[str, str]:
        closing = Closing(RESULTS)
        during()
        for event in events:
            closing.handle(logging.makeLogRecord(event))
        closing.close()
        closing.close()  # as logging does once more when Python ends
        return tuple(capsys.readouterr())

    return run


def fail(name: str, *, number: int = 1) -> Event:
    log = RESULTS.logs / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    start = "2026-11-27 18:36:10,123"
    lines = "config: formats must be a list\nconfig: cohort is empty [config-invalid]"
    log.write_text(f"{start} INFO 2 entries\n{start} ERROR {lines}\n")
    return {"event": "job_error", "jobid": number, "log": [str(log)]}


def test_the_reason_of_a_job_that_failed_is_said_once(end: Callable[..., tuple[str, str]]) -> None:
    out, err = end(fail("plan"), fail("fetch/local-0001", number=2))
    assert out == ""
    assert err == (
        "seriesport: config: formats must be a list\n"
        f"config: cohort is empty [config-invalid] {REASONS['config-invalid'].advice}\n"
    )


def test_a_job_that_succeeded_at_last_is_not_named(end: Callable[..., tuple[str, str]]) -> None:
    assert end(fail("fetch/a", number=3), {"event": "job_finished", "job_id": 3}) == ("", "")


def test_jobs_of_another_workflow_are_left_to_it(end: Callable[..., tuple[str, str]]) -> None:
    Path("logs").mkdir()
    Path("logs/other.log").write_text("2026-11-27 18:36:10,123 ERROR patient\n")
    assert end({"event": "job_error", "jobid": 1, "log": ["logs/other.log"]}) == ("", "")


def test_the_verdict_is_shown_where_it_was_made_in_this_run(
    end: Callable[..., tuple[str, str]],
) -> None:
    RESULTS.folder.mkdir()
    RESULTS.verdict.write_text("of an earlier run\n")
    assert end() == ("", "")
    assert end(during=lambda: RESULTS.verdict.write_text("the table\n")) == ("the table\n", "")


def test_a_lock_is_explained(end: Callable[..., tuple[str, str]]) -> None:
    locked = {"event": "error", "exception": "LockException"}
    assert end(locked) == ("", f"seriesport: {LOCKED}\n")
