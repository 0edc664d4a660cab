"""How commands print: tables and progress for a person, JSON for a machine."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from functools import partial
from math import inf
from threading import Lock
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from seriesport.privacy import printable
from seriesport.shutdown import before_leaving
from seriesport.transfer.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from rich.progress import TaskID

    from seriesport.errors import SeriesportError

_NAMED = 10


def print_json(value: Any) -> None:
    """Print a value for machines."""
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def say(line: str) -> None:
    """Say something on stderr that is no failure."""
    print(f"seriesport: {printable(line)}", file=sys.stderr)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; on a pipe, as tab-separated values."""
    cells = [[printable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in [columns, *cells]:
            sys.stdout.write("\t".join(row) + "\n")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    Console().print(table)


class Strays(Watch):
    """Names on the terminal what was passed over: the first, and how many more."""

    def __init__(self) -> None:
        self._strays: list[SeriesportError] = []

    def passed_over(self, error: SeriesportError) -> None:
        """Keep it until `say`."""
        self._strays.append(error)

    def say(self) -> None:
        """Name what was passed over since."""
        for error in self._strays[:_NAMED]:
            say(f"passed over {error.message} [{error.code}]")
        if len(self._strays) > _NAMED:
            say(f"passed over {len(self._strays) - _NAMED} more of this kind")
        self._strays.clear()


class Bar:
    """A progress bar over all series of a copy; nothing in a log. Safe to use from several threads.

    An instance counts half when it is fetched and half when it is stored; so do its bytes.
    """

    def __init__(self, bars: Progress, task: TaskID, instances: int | None) -> None:
        self._bars = bars
        self._task = task
        self._most = inf if instances is None else instances
        self._text = ""
        self._moved = self._least = self._bytes = 0.0
        self._guard = Lock()

    def step(self, size: int) -> None:
        """Count an instance of `size` bytes that was fetched, or that is being stored."""
        with self._guard:
            self._moved += 0.5
            self._bytes += size / 2
            self._show()

    def tell(self, text: str, instances: int) -> None:
        """Say how it goes, and that so many instances at least are where they belong."""
        with self._guard:
            self._least = max(self._least, instances)
            self._text = text
            self._show()

    def _show(self) -> None:
        # What was there already is counted at the end of its series, what came twice not at all.
        done = min(max(self._moved, self._least), self._most)
        speed = self._bytes / max(self._bars.tasks[0].elapsed or 0.0, 1e-3)
        size = f"{self._bytes / 1e6:.1f} MB, {speed / 1e6:.1f} MB/s"
        self._bars.update(self._task, completed=done, description=self._text, size=size)


def _show_cursor(console: Console) -> None:
    console.show_cursor()


@contextmanager
def progress(instances: int | None) -> Generator[Bar]:
    """Draw a progress bar on a terminal: text, instances, their rate in bytes, the time left."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("instances"),
        TaskProgressColumn(),
        TextColumn("{task.fields[size]}"),
        TimeRemainingColumn(),
    )
    if console.is_terminal:
        before_leaving(partial(_show_cursor, console))
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        yield Bar(bars, bars.add_task("", total=instances, size=""), instances)
