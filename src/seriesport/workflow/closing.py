"""What a run ends with on the screen, below everything that Snakemake says."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from seriesport.errors import REASONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seriesport.workflow.shard import Results

LOCKED = (
    "Snakemake has locked this folder: a run is under way, or one was killed; if none is, type:"
    " snakemake --unlock"
)
_RECORD = re.compile(r"^[0-9-]{10} [0-9:,]{12} ([A-Z]+) ", re.MULTILINE)
"""How a record of a job's log begins; see `privacy.quiet_log`."""


class Closing(logging.Handler):
    """A handler of Snakemake's logger that says at its end why jobs failed, and shows the verdict.

    It notes which jobs failed, whatever `--quiet` leaves out. What it says goes to the screen
    alone, since Snakemake writes what it logs to a file below .snakemake/.

    Args:
        results: Those that the jobs of one workflow or module work on.
    """

    def __init__(self, results: Results) -> None:
        super().__init__()
        self._results = results
        self._before = _state(results.verdict)
        self._failed: dict[int, list[str]] = {}
        self._locked = False
        self._said = False

    def emit(self, record: logging.LogRecord) -> None:
        """Note how a job ended."""
        event = vars(record).get("event")
        if event == "job_error":
            self._failed[vars(record)["jobid"]] = vars(record)["log"]
        elif event == "job_finished":
            self._failed.pop(vars(record)["job_id"], None)
        elif vars(record).get("exception") == "LockException":
            self._locked = True

    def close(self) -> None:
        """Say it, once."""
        super().close()
        if self._said:
            return
        self._said = True
        if _state(self._results.verdict) != self._before:
            sys.stdout.write(self._results.verdict.read_text("utf-8"))
            sys.stdout.flush()
        for line in dict.fromkeys(self._lines()):
            sys.stderr.write(f"seriesport: {line}\n")

    def _lines(self) -> Iterator[str]:
        if self._locked:
            yield LOCKED
        for log in (Path(log) for logs in self._failed.values() for log in logs):
            if log.is_relative_to(self._results.logs) and (message := last_error(log)):
                yield message


def last_error(log: Path) -> str:
    """Return what a job's log ends with, if that is an error, with advice; else an empty text."""
    try:
        text = log.read_text("utf-8")
    except OSError:
        return ""
    records = [*_RECORD.finditer(text)]
    if not records or records[-1][1] != "ERROR":
        return ""
    message = text[records[-1].end() :].rstrip("\n")
    code = re.search(r"\[([a-z-]+)\]$", message)
    return f"{message} {REASONS[code[1]].advice}" if code and code[1] in REASONS else message


def _state(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns
