"""The step `plan`: the cohort file against its sources, frozen in results/plan."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from seriesport.cohort import read_cohort
from seriesport.keys import check_secret, load_secret, note_secret
from seriesport.plan import make_plan

if TYPE_CHECKING:
    from pathlib import Path

    from seriesport.plan import Plan
    from seriesport.settings import Settings
    from seriesport.steps.shard import Results

_log = logging.getLogger("seriesport")


def plan_cohort(
    results: Results,
    cohort: Path,
    settings: Settings,
    *,
    shard_size: int = 0,
    refresh: bool = False,
) -> Plan:
    """Plan a cohort. What an earlier plan resolved is kept, unless `refresh` asks for it anew.

    Raises:
        SeriesportError: cohort-invalid, identifier-not-text, address-invalid, with the line;
            cohort-not-private.
    """
    entries = read_cohort(cohort)
    check_secret(results.secret, results.plan.secret_check)
    secret = load_secret(results.secret)
    plan = make_plan(
        entries,
        settings,
        secret,
        previous=None if refresh else results.plan.read(),
        placed=results.plan.places(),
        shard_size=shard_size,
    )
    results.plan.write(plan)
    note_secret(secret, results.plan.secret_check)
    _log.info(
        "%d entries, %d series, %d problems", len(entries), len(plan.series), len(plan.problems)
    )
    for problem in plan.problems:
        _log.error("cohort line %d: %s [%s]", problem.line, problem.message, problem.code)
    return plan
