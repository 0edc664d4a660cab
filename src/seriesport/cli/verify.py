"""`seriesport verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seriesport.cli.output import Strays, print_json, print_table
from seriesport.errors import SeriesportError
from seriesport.transfer.verify import verify as check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seriesport.config.settings import Settings
    from seriesport.transfer.verify import Verified

_COLUMNS = ("series_number", "modality", "instances", "result")
_COMPARED = ("series_number", "modality", "instances", "there", "result")
_ABSENT = ("missing-here", "missing-there", "missing-both")


def verify(text: str, against: str | None, settings: Settings, *, as_json: bool) -> None:
    """Check every series below an address, and print what became of it.

    Raises:
        SeriesportError: missing-here, missing-there or missing-both where that is all that is
            wrong; else the first failure, after all series were checked.
    """
    watch = Strays()
    try:
        rows = check(text, against, settings, watch=watch)
    finally:
        watch.say()
    columns = _COLUMNS if against is None else _COMPARED
    if as_json:
        print_json([{name: getattr(row, name) for name in (*columns, "code")} for row in rows])
    else:
        print_table(columns, [[_cell(getattr(row, name)) for name in columns] for row in rows])
    _raise_failure(rows)


def _cell(value: object) -> object:
    return "" if value is None else value


def _raise_failure(rows: Sequence[Verified]) -> None:
    failed = [row for row in rows if not row.whole]
    if not failed:
        return
    first = next((row for row in failed if row.code not in _ABSENT), failed[0])
    codes = {row.code for row in failed}
    code = first.code if first.code not in _ABSENT or len(codes) == 1 else "missing-both"
    others = "; the first" if len(failed) > 1 else ""
    what = f"{len(failed)} of {len(rows)} series failed{others}: {_sentence(first)}"
    raise SeriesportError(code, what)


def _sentence(row: Verified) -> str:
    if not row.modality:
        return row.result
    return f"series {row.series_number} ({row.modality}): {row.result}"
