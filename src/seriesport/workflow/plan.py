"""The step `plan`: the cohort file against its sources, frozen in results/plan."""

from __future__ import annotations

import logging
import time
from itertools import chain
from typing import TYPE_CHECKING

from seriesport.access import make_folder
from seriesport.cohort import read_cohort
from seriesport.cohort.asked import NEVER, Asked, is_older, read_asked, write_asked
from seriesport.cohort.plan import make_plan
from seriesport.cohort.resolve import fingerprint
from seriesport.config.schema import Problems
from seriesport.counts import counted
from seriesport.store.keys import check_secret, load_secret, note_secret
from seriesport.store.lease import lease
from seriesport.workflow.destinations import check_destinations
from seriesport.workflow.shares import check_granted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from seriesport.cohort import Entry
    from seriesport.cohort.plan import Plan, PlanFolder
    from seriesport.config.settings import Settings
    from seriesport.model.address import Address
    from seriesport.workflow.shard import Results

_WAIT = 60.0
"""Seconds to wait for another process that changes the plan."""
_log = logging.getLogger("seriesport")


def plan_cohort(
    results: Results,
    cohort: Path,
    settings: Settings,
    *,
    shard_size: int = 0,
    refresh: bool = False,
    replan_after: float | None = None,
) -> Plan:
    """Plan a cohort. What an earlier plan resolved is kept.

    Args:
        results: Where the plan is kept.
        cohort: The cohort file.
        settings: Of the servers.
        shard_size: As for `make_plan`.
        refresh: True asks for every entry again.
        replan_after: Ask again for open-ended entries, those that name no series, whose answer
            is so many seconds old. None never does.

    Raises:
        SeriesportError: cohort-invalid, identifier-not-text, address-invalid, with the line;
            cohort-not-private; not-granted; what `check_destinations` raises; shard-busy, where
            another process changes the plan.
    """
    entries = read_cohort(cohort)
    check_granted(settings, chain.from_iterable(map(_addresses, entries)))
    check_secret(results.secret, results.plan.secret_check)
    secret = load_secret(results.secret)
    make_folder(results.plan.folder, private=True)
    with lease(results.plan.lease, wait=_WAIT, busy="another process changes the plan"):
        previous = results.plan.read()
        check_destinations(entries, settings, previous, Problems(str(cohort)))
        last = _last_asked(results.plan, previous)
        due = [
            (entry, name)
            for entry in entries
            if (name := fingerprint(entry)) in last
            and (refresh or _is_due(entry, last[name], replan_after))
        ]
        plan = make_plan(
            entries,
            settings,
            secret,
            previous=previous,
            again={name for _, name in due},
            placed=results.plan.places(),
            shard_size=shard_size,
        )
        results.plan.write(plan, previous)
        note_secret(secret, results.plan.secret_check)
        for _, name in due:
            last.pop(name, None)
        write_asked(results.plan.asked, _asked(entries, plan, last))
    _log.info(
        "%s, %d series, %s",
        counted(len(entries), "entry", "entries"),
        len(plan.series),
        counted(len(plan.problems), "problem"),
    )
    for problem in plan.problems:  # which the verdict and `seriesport plan` show
        _log.info("cohort line %d: %s [%s]", problem.line, problem.message, problem.code)
    return plan


def _addresses(entry: Entry) -> list[Address]:
    template = [entry.template] if entry.template else []
    return [entry.source, *template, *entry.destinations]


def _last_asked(folder: PlanFolder, previous: Plan | None) -> dict[str, int]:
    """When the entries of the previous plan were asked for, by fingerprint."""
    if previous is None:
        return {}
    asked = {one.entry: one.time for one in read_asked(folder.asked)}
    # The plan of a version that did not write it down is as old as its file.
    usual = NEVER if asked else int((folder.folder / "series.jsonl").stat().st_mtime)
    known = {name for row in previous.series for name in row.entries}
    return {name: asked.get(name, usual) for name in known}


def _is_due(entry: Entry, last: int, replan_after: float | None) -> bool:
    if last == NEVER:
        return True
    if replan_after is None or entry.names_series:
        return False
    return is_older(last, replan_after)


def _asked(entries: Sequence[Entry], plan: Plan, last: Mapping[str, int]) -> Iterator[Asked]:
    """When each entry was asked for: now, unless `last` has another time."""
    now = int(time.time())
    unanswered = {problem.line for problem in plan.problems}
    for entry in entries:
        name = fingerprint(entry)
        moment = NEVER if entry.line in unanswered else last.get(name, now)
        yield Asked(moment, not entry.names_series, entry.line, name)
