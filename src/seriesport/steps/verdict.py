"""The verdict: one table over all series and steps, and whether every one of them is proven."""

from __future__ import annotations

import csv
import io
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from seriesport.asked import describe, read_asked
from seriesport.errors import REASONS, SeriesportError
from seriesport.files import write_if_changed
from seriesport.ledger import LedgerLine, Status, read_ledger
from seriesport.resolve import kind
from seriesport.steps.orders import plan_again, repeat
from seriesport.steps.shard import CONVERTED, FETCHED, STEPS, UPLOADED, line_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seriesport.plan import Plan, PlannedSeries, Problem
    from seriesport.steps.shard import Results

_MOST_ROWS = 60
_COLUMNS = (
    "cohort_line", "key", "shard", "modality", "status", "fetched", "converted",
    "uploaded", "reason", "detail", "instances", "bundle", "outputs", "receipts",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """One series, or one entry that could not be planned, with what every step says of it."""

    labels: tuple[str, ...]
    lines: tuple[int, ...]
    key: str
    shard: str
    modality: str
    steps: tuple[LedgerLine, ...]
    code: str = ""
    detail: str = ""

    @property
    def ok(self) -> bool:
        """Whether every step is proven."""
        return not self.code


def summarise(results: Results) -> None:
    """Write what became of every series.

    `summary.tsv` is for everybody; `cohort.tsv` (0600) has the user's labels as well.
    """
    _write(results, _outcomes(results, _plan(results)))


def judge(results: Results) -> None:
    """Print the table, and fail if anything failed; the next run then repeats just that.

    Files that a ledger names must be there still, in their size.

    Raises:
        SeriesportError: cohort-failed.
    """
    plan = _plan(results)
    found = _outcomes(results, plan)
    _write(results, found)
    show(found, Console())
    for text in (*describe(read_asked(results.plan.asked)), *_left_over(results)):
        _say(Console(), text)
    failed = sum(not outcome.ok for outcome in found)
    if failed:
        _retry_next_time(results, plan, found)
        raise SeriesportError(
            "cohort-failed",
            f"{failed} of {len(found)} series or entries failed; run again to retry them",
        )


def show(found: Sequence[Outcome], console: Console) -> None:
    """Print the table: every series of a small cohort, else those that failed."""
    failed = [outcome for outcome in found if not outcome.ok]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("line", "key", "type"):
        table.add_column(name, no_wrap=True)
    for name in ("instances", "fetched", "converted", "uploaded"):
        table.add_column(name, justify="right", no_wrap=True)
    for outcome in found if len(found) <= _MOST_ROWS else failed[:_MOST_ROWS]:
        table.add_row(*map(Text, _cells(outcome)), style=None if outcome.ok else "red")
    console.print(table)
    console.print(f"{len(found) - len(failed)} of {len(found)} proven complete", highlight=False)
    for outcome in failed[:_MOST_ROWS]:
        where = f"line {', '.join(map(str, outcome.lines))} {outcome.key}".rstrip()
        _say(console, f"{where}: {outcome.detail} [{outcome.code}]")
    if len(failed) > _MOST_ROWS:
        _say(console, f"and {len(failed) - _MOST_ROWS} more; see results/summary.tsv")
    for code in dict.fromkeys(outcome.code for outcome in failed):
        _say(console, f"{code}: {REASONS[code].advice}")


def _left_over(results: Results) -> Iterator[str]:
    former = len(results.plan.former())
    if former:
        yield f"{former} series left the cohort or lost destinations: see seriesport prune"


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _write(results: Results, found: Sequence[Outcome]) -> None:
    summary, table = _table(found, private=False), _table(found, private=True)
    write_if_changed(results.folder / "summary.tsv", summary.encode())
    write_if_changed(results.table, table.encode("utf-8", "backslashreplace"), private=True)


def _plan(results: Results) -> Plan:
    plan = results.plan.read()
    if plan is None:
        raise SeriesportError("file-unreadable", "there is no plan; run the workflow first")
    return plan


def _outcomes(results: Results, plan: Plan) -> list[Outcome]:
    found = [_unplanned(problem) for problem in plan.problems]
    for shard, rows in plan.shards().items():
        ledgers = [
            (step, str(results.step(step, shard)), read_ledger(results.ledger(step, shard)))
            for step in STEPS
        ]
        for row in rows:
            steps = (
                _standing(step, folder, line_of(ledger, row.key))
                for step, folder, ledger in ledgers
            )
            found.append(_planned(row, tuple(steps)))
    return sorted(found, key=lambda outcome: outcome.lines)


def _standing(step: str, folder: str, line: LedgerLine) -> LedgerLine:
    """A ledger's line, as far as its files are there still."""
    sizes: list[int] = []
    there: list[str] = []
    for name in line.files.split():
        with suppress(OSError):
            sizes.append(os.stat(f"{folder}/{name}").st_size)  # noqa: PTH116 - ten times as fast
            there.append(name)
    whole = " ".join(there) == line.files
    line = replace(line, files=" ".join(there))
    if not line.ok or (whole and not line.files):
        return line
    # The ledger has the size of the bundle, of all converted files, and of what was delivered.
    size = {FETCHED: sum(sizes[:1]), CONVERTED: sum(sizes), UPLOADED: line.size}[step]
    if whole and size == line.size:
        return line
    detail = "a file that it made is gone or has another size"
    return replace(line, status=Status.FAILED, code="output-lost", detail=f"{step}: {detail}")


def _table(found: Sequence[Outcome], *, private: bool) -> str:
    text = io.StringIO()
    writer = csv.writer(text, dialect="excel-tab", lineterminator="\n")
    writer.writerow((*(("label",) if private else ()), *_COLUMNS))
    for outcome in found:
        label = (" ".join(outcome.labels),) if private else ()
        writer.writerow((*label, *_row(outcome)))
    return text.getvalue()


def _retry_next_time(results: Results, plan: Plan, found: Sequence[Outcome]) -> None:
    repeated = {(step, outcome.shard) for outcome in found for step in _to_repeat(outcome)}
    for step, shard in sorted(repeated):
        repeat(results, step, shard)
    if plan.problems:
        plan_again(results)


def _to_repeat(outcome: Outcome) -> Iterator[str]:
    bad = [pair for pair in zip(STEPS, outcome.steps, strict=False) if not pair[1].ok]
    for i, (step, line) in enumerate(bad):
        if line.code == "bundle-damaged":
            yield FETCHED
        if i == 0 or line.code != "not-attempted":
            yield step


def _unplanned(problem: Problem) -> Outcome:
    labels = (problem.label,) if problem.label else ()
    return Outcome(labels, (problem.line,), "", "", "", (), problem.code, problem.message)


def _planned(row: PlannedSeries, steps: tuple[LedgerLine, ...]) -> Outcome:
    bad = [step for step in steps if not step.ok]
    code, detail = (bad[0].code or "internal", bad[0].detail) if bad else ("", "")
    modality = kind(row.reference)
    return Outcome(row.labels, row.lines, row.key, row.shard, modality, steps, code, detail)


def _row(outcome: Outcome) -> Iterator[str | int]:
    yield " ".join(map(str, outcome.lines))
    yield outcome.key
    yield outcome.shard
    yield outcome.modality
    yield "complete" if outcome.ok else "failed"
    steps = outcome.steps or (None, None, None)
    yield from ("" if step is None else str(step.status) for step in steps)
    yield outcome.code
    yield outcome.detail
    yield steps[0].done if steps[0] else ""
    for name, step in zip(STEPS, steps, strict=True):
        files = step.files.split() if step is not None else []
        yield " ".join(f"{name}/{outcome.shard}/{file}" for file in files)


def _cells(outcome: Outcome) -> Iterator[str]:
    yield ", ".join(map(str, outcome.lines))
    yield outcome.key or "-"
    yield outcome.modality
    if not outcome.steps:
        yield from ("-",) * 4
    else:
        yield str(outcome.steps[0].done)
        yield from (_mark(step) for step in outcome.steps)


def _mark(step: LedgerLine) -> str:
    if step.status is Status.NOTHING:
        return "-"
    if step.code == "not-attempted":
        return "not tried"
    return "yes" if step.ok else "failed"
