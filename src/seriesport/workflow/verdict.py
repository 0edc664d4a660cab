"""The verdict: one table over all series and steps, and whether every one of them is proven."""

from __future__ import annotations

import csv
import io
import os
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text

from seriesport.cohort.asked import describe, read_asked
from seriesport.cohort.resolve import kind
from seriesport.errors import REASONS, SeriesportError
from seriesport.privacy import printable
from seriesport.store.files import write_bytes, write_if_changed
from seriesport.store.sealed import check_sealed
from seriesport.workflow.ledger import Outcome, Status, line_of, read_ledger
from seriesport.workflow.records import read_records
from seriesport.workflow.retries import plan_again, repeat
from seriesport.workflow.steps import STEPS, Files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seriesport.cohort.plan import Plan, PlannedSeries, Problem
    from seriesport.workflow.shard import Results
    from seriesport.workflow.steps import Step
    from seriesport.workflow.upload import Looks

_MOST_ROWS = 60
_COLUMNS = (
    *("cohort_line", "key", "shard", "modality", "status"),
    *(step.done for step in STEPS),
    *("reason", "detail", "instances"),
    *(step.column for step in STEPS),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on one series, or on one entry that could not be planned."""

    labels: tuple[str, ...]
    lines: tuple[int, ...]
    key: str
    shard: str
    modality: str
    steps: tuple[Outcome, ...]
    """What every step did; none for an entry."""
    code: str = ""
    detail: str = ""
    matches: tuple[str, ...] = ()
    """Lines with identifiers, of what matches instead; see `SeriesportError`."""
    seen: str = ""
    """When its destinations were last seen to have it, in UTC; of several the longest ago."""

    @property
    def ok(self) -> bool:
        """Whether every step is proven; a step with nothing to do may say why in `code`."""
        return all(step.ok for step in self.steps) if self.steps else not self.code


def summarise(results: Results) -> None:
    """Write what became of every series.

    `summary.tsv` is for everybody; `cohort.tsv` (0600) has the user's labels as well.
    """
    _write(results, _verdicts(results, _plan(results)))


def judge(results: Results, looks: Looks | None = None) -> None:
    """Write the table, and fail if anything failed; the next run then repeats just that.

    The table is in `verdict.txt` (0600), which `Closing` shows: on a terminal with the user's
    labels, and with what matches an entry instead.

    Files that a ledger names must be there still, in their size, manifests as they were written,
    and what was delivered as far as `looks` can tell.

    Raises:
        SeriesportError: cohort-failed.
    """
    plan = _plan(results)
    found = _verdicts(results, plan, looks)
    _write(results, found)
    console = Console(file=io.StringIO(), force_terminal=sys.stdout.isatty())
    show(found, console, results, private=sys.stdout.isatty())
    for text in (*describe(read_asked(results.plan.asked)), *_left_over(results)):
        _say(console, text)
    text = cast("io.StringIO", console.file).getvalue()
    write_bytes(results.verdict, text.encode("utf-8", "backslashreplace"), private=True)
    failed = sum(not verdict.ok for verdict in found)
    if failed:
        _retry_next_time(results, plan, found)
        raise SeriesportError("cohort-failed", f"{failed} of {len(found)} failed")


def show(
    found: Sequence[Verdict], console: Console, results: Results, *, private: bool = False
) -> None:
    """Print the table: every series of a small cohort, else those that failed.

    Args:
        found: The series, and the entries without any.
        console: Where to.
        results: Those that are shown.
        private: Show the user's labels, and identifiers of what matches an entry instead.
    """
    failed = [verdict for verdict in found if not verdict.ok]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in ("line", *(("label",) if private else ()), "key", "type"):
        table.add_column(name, no_wrap=name != "label", overflow="fold")
    for name in ("instances", *(step.done for step in STEPS), "last seen"):
        table.add_column(name, justify="right", no_wrap=True)
    for verdict in found if len(found) <= _MOST_ROWS else failed[:_MOST_ROWS]:
        cells = map(Text, _cells(verdict, private=private))
        table.add_row(*cells, style=None if verdict.ok else "red")
    console.print(table)
    whole = len(found) - len(failed)
    _say(console, f"{whole} of {len(found)} proven complete in {results.folder}")
    if seen := sorted(verdict.seen for verdict in found if verdict.seen):
        first, last = _minute(seen[0]), _minute(seen[-1])
        when = first if first == last else f"between {first} and {last}"
        _say(console, f"deliveries last seen at their destinations: {when} UTC")
    for verdict in failed[:_MOST_ROWS]:
        label = f" ({_labels(verdict)})" if private and verdict.labels else ""
        where = f"line {', '.join(map(str, verdict.lines))} {verdict.key}".rstrip()
        _say(console, f"{where}{label}: {verdict.detail} [{verdict.code}]")
        for match in verdict.matches if private else ():
            _say(console, f"    {match}")
    if len(failed) > _MOST_ROWS:
        _say(console, f"and {len(failed) - _MOST_ROWS} more; see {results.summary}")
    for code in dict.fromkeys(code for verdict in failed for code in verdict.code.split()):
        _say(console, f"{code}: {REASONS[code].advice}")


def _left_over(results: Results) -> Iterator[str]:
    former = len(results.plan.former())
    if former:
        yield f"{former} series left the cohort or lost destinations: see seriesport prune"


def _say(console: Console, text: str) -> None:
    console.print(printable(text), highlight=False, markup=False, soft_wrap=True)


def _write(results: Results, found: Sequence[Verdict]) -> None:
    summary, table = _table(found, private=False), _table(found, private=True)
    write_if_changed(results.summary, summary.encode())
    write_if_changed(results.table, table.encode("utf-8", "backslashreplace"), private=True)


def _plan(results: Results) -> Plan:
    plan = results.plan.read()
    if plan is None:
        raise SeriesportError("file-unreadable", "there is no plan; run the workflow first")
    return plan


def _verdicts(results: Results, plan: Plan, looks: Looks | None = None) -> list[Verdict]:
    found = [_unplanned(problem) for problem in plan.problems]
    for shard, rows in plan.shards().items():
        ledgers = [
            (step, str(results.step(step, shard)), _lines(results.ledger(step, shard)))
            for step in STEPS
        ]
        seen = read_records(results.seen(shard))
        for row in rows:
            *steps, last = (
                _standing(step, folder, line_of(ledger, row.key))
                for step, folder, ledger in ledgers
            )
            has_bundle = all(
                line.ok
                for step, line in zip(STEPS, steps, strict=False)
                if step.writes is Files.BUNDLES
            )
            if looks is not None and has_bundle and last.status is Status.COMPLETE:
                last = _still_there(looks, row, last)
            verdict = _planned(row, (*steps, last))
            times = seen.get(row.key, {}).values() if last.status is Status.COMPLETE else ()
            found.append(replace(verdict, seen=min(times, default="")))
    return sorted(found, key=lambda verdict: verdict.lines)


def _lines(ledger: Path) -> dict[str, Outcome]:
    # A run that was to stop earlier leaves no ledger.
    return read_ledger(ledger) if ledger.exists() else {}


def _still_there(looks: Looks, row: PlannedSeries, uploaded: Outcome) -> Outcome:
    try:
        lost = looks.lost(row)
    except SeriesportError as error:
        return replace(uploaded, status=Status.FAILED, code=error.code, detail=error.message)
    if not lost:
        return uploaded
    return replace(uploaded, status=Status.FAILED, code="delivery-lost", detail=lost)


def _standing(step: Step, folder: str, line: Outcome) -> Outcome:
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
    of_bundles = step.writes is Files.BUNDLES
    size = sum(sizes[:1] if of_bundles else sizes)
    if whole and (size == line.size or step.writes is Files.RECEIPTS):
        return _with_manifests(step, folder, line) if of_bundles else line
    detail = f"{step.folder}: a file that it made is gone or has another size"
    return replace(line, status=Status.FAILED, code="output-lost", detail=detail)


def _with_manifests(step: Step, folder: str, line: Outcome) -> Outcome:
    try:
        for name in line.files.split():
            if name.endswith(".json"):
                check_sealed(Path(folder, name))
    except SeriesportError:
        detail = f"{step.folder}: the bundle's manifest is damaged"
        return replace(line, status=Status.FAILED, code="bundle-damaged", detail=detail)
    return line


def _table(found: Sequence[Verdict], *, private: bool) -> str:
    text = io.StringIO()
    writer = csv.writer(text, dialect="excel-tab", lineterminator="\n")
    writer.writerow((*(("label",) if private else ()), *_COLUMNS))
    for verdict in found:
        label = (_labels(verdict),) if private else ()
        matches = verdict.matches if private else ()
        writer.writerow((*label, *_row(verdict, matches)))
    return text.getvalue()


def _retry_next_time(results: Results, plan: Plan, found: Sequence[Verdict]) -> None:
    for step, shard in {(step, one.shard) for one in found for step in _to_repeat(one)}:
        repeat(results, step, shard)
    if plan.problems:
        plan_again(results)


def _to_repeat(verdict: Verdict) -> Iterator[Step]:
    bad = [pair for pair in zip(STEPS, verdict.steps, strict=False) if not pair[1].ok]
    for i, (step, line) in enumerate(bad):
        if line.code == "bundle-damaged":
            yield from (one for one in STEPS if one.writes is Files.BUNDLES)
        if i == 0 or line.code != "not-attempted":
            yield step


def _unplanned(problem: Problem) -> Verdict:
    labels = (problem.label,) if problem.label else ()
    told = problem.code, problem.message, problem.matches
    return Verdict(labels, (problem.line,), "", "", "", (), *told)


def _planned(row: PlannedSeries, steps: tuple[Outcome, ...]) -> Verdict:
    bad = [step for step in steps if not step.ok]
    told = next((step for step in (*bad, *steps) if step.code), None)
    code, detail = (told.code, told.detail) if told else ("internal" if bad else "", "")
    modality = kind(row.reference)
    return Verdict(row.labels, row.lines, row.key, row.shard, modality, steps, code, detail)


def _labels(verdict: Verdict) -> str:
    return " ".join(verdict.labels)


def _row(verdict: Verdict, matches: Sequence[str] = ()) -> Iterator[str | int]:
    yield " ".join(map(str, verdict.lines))
    yield verdict.key
    yield verdict.shard
    yield verdict.modality
    yield "complete" if verdict.ok else "failed"
    lines = verdict.steps or (None,) * len(STEPS)
    yield from (line.status if line else "" for line in lines)
    yield verdict.code
    yield "; ".join((verdict.detail, *matches))
    yield lines[0].done if lines[0] else ""
    for step, line in zip(STEPS, lines, strict=True):
        files = line.files.split() if line else []
        yield " ".join(f"{step.folder}/{verdict.shard}/{file}" for file in files)


def _cells(verdict: Verdict, *, private: bool) -> Iterator[str]:
    yield ", ".join(map(str, verdict.lines))
    if private:
        yield printable(_labels(verdict))
    yield verdict.key or "-"
    yield verdict.modality
    if not verdict.steps:
        yield from ("-",) * (len(STEPS) + 2)
    else:
        yield str(verdict.steps[0].done)
        yield from (_mark(step) for step in verdict.steps)
        yield verdict.seen[:10] or "-"


def _minute(moment: str) -> str:
    """A time as a person reads it, to the minute."""
    return moment[:16].replace("T", " ")


def _mark(step: Outcome) -> str:
    if step.status is Status.NOTHING:
        return "-"
    if step.code == "not-attempted":
        return "not tried"
    return "yes" if step.ok else "failed"
