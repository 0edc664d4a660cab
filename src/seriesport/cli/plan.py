"""`seriesport plan`."""

from __future__ import annotations

from pathlib import Path

import typer

from seriesport.cli.output import print_json, print_table
from seriesport.cohort.resolve import kind
from seriesport.config.config_yaml import load_config
from seriesport.errors import SeriesportError
from seriesport.workflow.beginning import guard
from seriesport.workflow.plan import plan_cohort
from seriesport.workflow.shard import Results


def plan(config_path: Path, *, refresh: bool, as_json: bool) -> None:
    """Plan a cohort and show what its entries mean.

    Raises:
        SeriesportError: the first problem, where an entry could not be resolved.
    """
    config = load_config(config_path)
    results = Results(config.results)
    for line in guard(results, config):
        typer.echo(f"seriesport: {line}", err=True)
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
        first = made.problems[0]
        raise SeriesportError(
            first.code,
            f"{len(made.problems)} entries of {config.cohort} were not resolved;"
            f" line {first.line}: {first.message}",
        )
