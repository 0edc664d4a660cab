"""The hours of the day in which a server may be asked: fetches wait outside of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Self

from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_FORM = re.compile("([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")
_LAST_MINUTES = 600.0
"""A job of a cluster that has not so many seconds left does not begin a series."""
_LOOK_AGAIN = 60.0
"""Longest sleep in seconds: the clock may be set, or the machine suspended."""


@dataclass(frozen=True, slots=True)
class Hours:
    """From one time of the day to another, over midnight where the second is the earlier one."""

    opens: int
    """Minute of the day."""
    closes: int

    @classmethod
    def parse(cls, text: str) -> Hours:
        """Read `19:00-06:00`.

        Raises:
            ValueError: The text has another form, or opens and closes at one time.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError
        hour, minute, end_hour, end_minute = map(int, match.groups())
        hours = cls(hour * 60 + minute, end_hour * 60 + end_minute)
        if hours.opens == hours.closes:
            raise ValueError
        return hours

    def __str__(self) -> str:
        return "-".join(f"{at // 60:02d}:{at % 60:02d}" for at in (self.opens, self.closes))

    def opening(self, now: datetime) -> datetime | None:
        """When it opens next, by the local clock; None while it is open."""
        minute = now.hour * 60 + now.minute
        if self.opens < self.closes:
            is_open = self.opens <= minute < self.closes
        else:
            is_open = minute >= self.opens or minute < self.closes
        if is_open:
            return None
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        opening = midnight + timedelta(minutes=self.opens)
        return opening if opening > now else opening + timedelta(days=1)

    def seconds_until_open(self, now: datetime) -> float:
        """How long it is closed yet, by a local time; 0 while it is open."""
        opening = self.opening(now)
        if opening is None:
            return 0.0
        # by the clock on the wall: a night in which it is set has one hour more or less
        return (opening.astimezone() - now.astimezone()).total_seconds()


class Begin(str):
    """The option of sbatch by which a job begins once the last of some windows opens.

    Snakemake works out what its jobs need long before it sends the last of them: the time is filled
    in where the option is put into a command line.
    """

    windows: tuple[Hours, ...]
    __slots__ = ("windows",)

    def __new__(cls, windows: Iterable[Hours]) -> Self:
        """The option for a job that asks servers with these windows."""
        made = super().__new__(cls, "--begin=now")
        made.windows = tuple(windows)
        return made

    def __format__(self, _: str) -> str:
        now = datetime.now()  # noqa: DTZ005 - the clock that SLURM reads
        openings = [at for window in self.windows if (at := window.opening(now)) is not None]
        return f"--begin={max(openings).isoformat()}" if openings else str(self)


def is_closed(hours: Hours | None) -> bool:
    """Whether a server may not be asked at this time."""
    now = datetime.now()  # noqa: DTZ005 - local time is what a window has
    return hours is not None and hours.opening(now) is not None


def wait_until_open(
    hours: Hours | None,
    *,
    say: Callable[[str], None],
    environ: Mapping[str, str] | None = None,
    now: Callable[[], datetime] = datetime.now,
) -> None:
    """Wait until a server may be asked.

    Raises:
        SeriesportError: window-closed, where the cluster would end this job before.
    """
    if hours is None:
        return
    said = False
    while seconds := hours.seconds_until_open(now()):
        if seconds + _LAST_MINUTES > _time_left(os.environ if environ is None else environ):
            raise SeriesportError(
                "window-closed",
                f"the server may be asked in {hours} only, and this job ends before",
            )
        if not said:
            say(f"waiting for the window {hours}, {seconds / 3600:.1f} hours")
            said = True
        _sleep(min(seconds, _LOOK_AGAIN))


def _sleep(seconds: float) -> None:
    threading.Event().wait(seconds)  # which Ctrl-C and SIGTERM end at once


def _time_left(environ: Mapping[str, str]) -> float:
    """Seconds until SLURM ends this job; infinite elsewhere."""
    with suppress(KeyError, ValueError):
        return float(environ["SLURM_JOB_END_TIME"]) - time.time()
    job = environ.get("SLURM_JOB_ID", "")
    return _end_by_squeue(job) - time.time() if job else float("inf")


@lru_cache(maxsize=1)
def _end_by_squeue(job: str) -> float:
    """When a job ends, in seconds since 1970.

    SLURM 22.05 does not tell its jobs, and Snakemake's plugin takes most of SLURM_* from them.
    """
    squeue = shutil.which("squeue")
    if squeue is None:
        return float("inf")
    command = [squeue, "--noheader", f"--jobs={job}", "--format=%e"]
    try:
        done = subprocess.run(  # noqa: S603 - a number that SLURM gave
            command, capture_output=True, text=True, timeout=60, check=True
        )
        return datetime.fromisoformat(done.stdout.strip()).timestamp()
    except (OSError, subprocess.SubprocessError, ValueError):
        return float("inf")
