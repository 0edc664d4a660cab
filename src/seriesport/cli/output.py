"""How commands print: tables and progress for a person, JSON for a machine."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
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

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence


def print_json(value: Any) -> None:
    """Print a value for machines."""
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def say(line: str) -> None:
    """Say something on stderr that is no failure."""
    print(f"seriesport: {printable(line)}", file=sys.stderr)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; on a pipe, as tab-separated values."""
    shown = [[printable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in [columns, *shown]:
            sys.stdout.write("\t".join(row) + "\n")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in shown:
        table.add_row(*map(Text, row))
    Console().print(table)


@contextmanager
def progress(label: str, instances: int | None) -> Generator[Callable[[int], None]]:
    """A progress bar on a terminal, nothing in a log; gives a function that counts an instance.

    The bar shows instances, their rate in bytes, and the time left.
    """
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
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task(label, total=instances, size="")
        sizes = [0]

        def seen(size: int) -> None:
            sizes[0] += size
            speed = sizes[0] / max(bars.tasks[0].elapsed or 0.0, 1e-3)
            text = f"{sizes[0] / 1e6:.1f} MB, {speed / 1e6:.1f} MB/s"
            bars.update(task, advance=1, size=text)

        yield seen
