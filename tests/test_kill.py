"""Killed at any moment, a rerun ends with the same bytes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
import zipfile
from typing import TYPE_CHECKING

import pytest

from project import SERVE, SNAKEMAKE, Project, tree
from seriesport.workflow.closing import LOCKED

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kill"), pytest.mark.timeout(900)]

KILLS = int(os.environ.get("SERIESPORT_KILLS", "6"))
START = 4
"""Seconds in which Snakemake begins its first job."""
# What tells of a run and not of its result: logs, the order to repeat something, and when the
# sources and destinations were last asked.
NOT_RESULTS = ("logs", "retry", "again", "asked.tsv", "seen.jsonl", "verdict.txt")


def _delivered(project: Project) -> dict[str, object]:
    demo = project.folder
    with zipfile.ZipFile(demo / "delivered.zip") as archive:
        members = {info.filename: info.CRC for info in archive.infolist()}
    # The archive numbers its files as they arrive.
    archived = sorted(tree(demo / "archive").values())
    return {**tree(demo / "delivered"), **members, "archive": archived}


def _start_anew(project: Project, archive: Path) -> None:
    secret = (project.results / "secret").read_bytes()
    shutil.rmtree(project.results)
    project.results.mkdir()
    (project.results / "secret").write_bytes(secret)
    (project.results / "secret").chmod(0o600)
    shutil.rmtree(project.folder / "archive")
    shutil.copytree(archive, project.folder / "archive")
    shutil.rmtree(project.folder / "delivered", ignore_errors=True)
    (project.folder / "delivered.zip").unlink(missing_ok=True)
    shutil.rmtree(project.folder / ".snakemake", ignore_errors=True)


def _run_and_kill(project: Project, after: float) -> bool:
    """Start the demo and kill everything it started; False where it ended before."""
    run = subprocess.Popen(
        [*SERVE, *SNAKEMAKE],
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        run.wait(timeout=after)
    except subprocess.TimeoutExpired:
        return True
    else:
        return False
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()


def test_a_run_killed_at_random_moments_ends_with_the_same_results(tmp_path: Path) -> None:
    project = Project.clone(tmp_path / "clone")
    archive = tmp_path / "archive"
    shutil.copytree(project.folder / "archive", archive)

    started = time.monotonic()
    whole = project.demo()
    seconds = time.monotonic() - started
    assert whole.returncode == 0, whole.stderr
    results, delivered = tree(project.results, NOT_RESULTS), _delivered(project)

    moments = random.Random(2026)
    killed, left, explained = 0, seconds, False
    _start_anew(project, archive)
    while killed < KILLS:
        moment = moments.uniform(1, left)
        began = time.monotonic()
        if _run_and_kill(project, moment):
            killed += 1
            if not explained and any(project.folder.glob(".snakemake/locks/*")):
                told = project.snakemake("--quiet", "all").stderr
                explained = told.endswith(f"seriesport: {LOCKED}\n")
                assert explained
            project.snakemake("--unlock")
            partial = project.results.glob("*/*/*")
            assert not [p for p in partial if p.suffix == ".zip" and not zipfile.is_zipfile(p)]
            if killed % 3:  # killed again on the way, before it may end
                left = max(left - moment, START)
                continue
        elif left == seconds:
            seconds = time.monotonic() - began  # the machine had more to do at first
        again = project.demo()
        assert again.returncode == 0, again.stdout + again.stderr
        assert tree(project.results, NOT_RESULTS) == results
        assert _delivered(project) == delivered
        _start_anew(project, archive)
        left = seconds
