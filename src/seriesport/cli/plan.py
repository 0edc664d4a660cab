"""`seriesport plan`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from seriesport.cli.output import print_json, print_table, say
from seriesport.cohort.resolve import kind
from seriesport.config.config_yaml import load_config
from seriesport.errors import REASONS, SeriesportError
from seriesport.privacy import with_matches
from seriesport.workflow.plan import plan_cohort
from seriesport.workflow.shard import Results
from seriesport.workflow.startup import guard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seriesport.cohort.plan import Problem

_MOST_SHOWN = 60


def plan(config_path: Path, *, refresh: bool, as_json: bool) -> None:
    """Plan a cohort, show what its entries mean, and each problem on stderr.

    On a terminal, a problem has the entry's label and the identifiers of what matches instead.

    Raises:
        SeriesportError: with the code of the first problem, where an entry could not be resolved.
    """
    config = load_config(config_path)
    results = Results(config.results)
    for line in guard(results, config):
        say(line)
    made = plan_cohort(
        results,
        config.cohort,
        config.settings,
        shard_size=config.shard_size,
        refresh=refresh,
        replan_after=config.ask_again_after,
    )
    rows = [
        {
            "line": ",".join(map(str, row.lines)),
            "key": row.key,
            "shard": row.shard,
            "modality": kind(row.reference),
            "instances": row.reference.instances,
            "destinations": len(row.destinations),
        }
        for row in made.series
    ]
    problems = [{"line": p.line, "code": p.code, "message": p.message} for p in made.problems]
    if as_json:
        print_json({"series": rows, "problems": problems})
    elif rows:
        print_table(list(rows[0]), [list(row.values()) for row in rows])
    if made.problems:
        raise _failure([_error(problem, config.cohort) for problem in made.problems])


def _error(problem: Problem, cohort: Path) -> SeriesportError:
    label = f" ({problem.label})" if problem.label and sys.stderr.isatty() else ""
    what = f"{cohort}, line {problem.line}{label}: {problem.message}"
    return SeriesportError(problem.code, what, problem.matches)


def _failure(errors: Sequence[SeriesportError]) -> SeriesportError:
    """Return the one failure; of several, show each and return their number."""
    if len(errors) == 1:
        return errors[0]
    for error in errors[:_MOST_SHOWN]:
        print(with_matches(error, f"seriesport: {error}"), file=sys.stderr)
    if len(errors) > _MOST_SHOWN:
        say(f"and {len(errors) - _MOST_SHOWN} more; see --json")
    code, *others = dict.fromkeys(error.code for error in errors)
    for other in others:
        say(f"{other}: {REASONS[other].advice}")
    return SeriesportError(code, f"{len(errors)} entries were not resolved")
