"""`seriesport cp`."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from seriesport.cli.output import Strays, print_json, print_table, progress
from seriesport.errors import SeriesportError
from seriesport.transfer.copy import copy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seriesport.cli.output import Bar
    from seriesport.config.settings import Settings
    from seriesport.model.series import SeriesReference
    from seriesport.transfer.copy import Copied

_COLUMNS = ("series", "modality", "instances", "sent", "there_already", "proof")


def cp(source: str, destination: str, settings: Settings, *, as_json: bool) -> None:
    """Copy every series below one address to another, and print what became of them.

    Raises:
        SeriesportError: see `copy`; what was copied is printed first.
    """
    with ExitStack() as stack:
        watch = _Shown(stack)
        failure = None
        try:
            copy(source, destination, settings, watch=watch)
        except SeriesportError as error:
            failure = error
    watch.say()
    if watch.begun:
        watch.report(as_json=as_json)
    if failure is not None:
        raise failure


class _Shown(Strays):
    """Shows on the terminal how a copy goes."""

    def __init__(self, stack: ExitStack) -> None:
        super().__init__()
        self._stack = stack
        self._bar: Bar | None = None
        self._copied: list[Copied] = []

    @property
    def begun(self) -> bool:
        """True once the series were found."""
        return self._bar is not None

    def found(self, series: Sequence[SeriesReference]) -> None:
        """Begin the progress bar."""
        self.say()
        counts = [one.instances for one in series if one.instances is not None]
        total = sum(counts) if len(counts) == len(series) else None
        self._bar = self._stack.enter_context(progress(total))

    def moved(self, size: int) -> None:
        """Advance the bar by half an instance."""
        if self._bar is not None:
            self._bar.step(size)

    def told(self, state: str, instances: int) -> None:
        """Show the line at the bar."""
        if self._bar is not None:
            self._bar.tell(state, instances)

    def copied(self, one: Copied) -> None:
        """Keep a row for the report."""
        self._copied.append(one)

    def report(self, *, as_json: bool) -> None:
        """Print a row for each series that was copied, in the order in which they were found."""
        rows = [_row(one) for one in sorted(self._copied, key=lambda one: one.number)]
        if as_json:
            print_json(rows)
        elif rows:
            print_table(_COLUMNS, [[row[name] for name in _COLUMNS] for row in rows])


def _row(one: Copied) -> dict[str, str | int]:
    instances = len(one.receipt.entries)
    return {
        "series": one.series.series_instance_uid,
        "modality": one.series.modality,
        "instances": instances,
        "sent": one.sent,
        "there_already": instances - one.sent,
        "proof": str(one.proof or ""),
    }
