"""How much more memory and time a job gets than it had at first, by what it ran out of.

Snakemake counts a job's attempts and does not know why they failed. So a job leaves a note beside
its log, for as long as it has not succeeded. One that is stopped when its time is over notes that;
one that is cancelled before notes nothing new. One that ended without a word was killed for its
memory.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from seriesport.errors import SeriesportError
from seriesport.store.files import write_text

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_MOST = 4
_STARTING = 180.0
"""Seconds that a job may have had before its work began: Snakemake starts twice in it."""


@dataclass(frozen=True, slots=True)
class Growth:
    """How many times its first memory and run time a job gets."""

    memory: int = 1
    time: int = 1


@dataclass(frozen=True, slots=True)
class _Note:
    given: Growth = Growth()
    job: str = ""
    """The job that has been given this and has not ended in good order; empty for none."""
    until: float = 0.0
    """When its time is nearly over, in seconds since 1970."""

    def needed(self) -> Growth:
        """Return what the next attempt needs."""
        if not self.job:
            return self.given
        return replace(self.stopped(), memory=min(_MOST, self.given.memory + 1))

    def stopped(self) -> Growth:
        """Return what the next attempt needs if the job is told to stop now."""
        over = time.time() >= self.until
        return replace(self.given, time=min(_MOST, self.given.time + over))


def growth(log: Path) -> Growth:
    """Return how much a job gets after earlier attempts that logged to the same file."""
    return _read(_note(log)).needed()


@contextmanager
def noting(log: Path, minutes: float) -> Generator[None]:
    """Do a job's work, and note what it runs out of if it fails.

    Args:
        log: The file that it logs to.
        minutes: The run time that it was given.
    """
    path = _note(log)
    before = _read(path)
    job = os.environ.get("SLURM_JOB_ID") or f"{socket.gethostname()}:{os.getpid()}"
    # After the loss of a node SLURM lets the same job begin anew, which ran out of nothing.
    given = before.given if before.job == job else before.needed()
    running = _Note(given, job, time.time() + 60 * minutes - _STARTING)
    _write(path, running)
    try:
        yield
    except KeyboardInterrupt:
        _write(path, _Note(running.stopped()))
        raise
    except BaseException:
        _write(path, _Note(given))
        raise
    path.unlink(missing_ok=True)


def _note(log: Path) -> Path:
    return log.with_suffix(".needs")


def _read(path: Path) -> _Note:
    try:
        memory, minutes, until, job = path.read_text("ascii").split(" ")
        return _Note(Growth(int(memory), int(minutes)), job.strip(), float(until))
    except (OSError, ValueError):
        return _Note()


def _write(path: Path, note: _Note) -> None:
    # A job that cannot write here has its own error for that.
    with suppress(SeriesportError, OSError):
        if note == _Note():
            path.unlink(missing_ok=True)
        else:
            given = note.given
            write_text(path, f"{given.memory} {given.time} {note.until:.0f} {note.job}\n")
