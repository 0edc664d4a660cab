"""`seriesport prune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seriesport.access import share_with
from seriesport.cli.output import print_json, print_table
from seriesport.cohort import read_cohort
from seriesport.config.config_yaml import load_config
from seriesport.errors import SeriesportError
from seriesport.workflow.prune import HERE, Asked, prune
from seriesport.workflow.shard import Results

if TYPE_CHECKING:
    from seriesport.workflow.prune import Done

_COLUMNS = ("label", "key", "what", "count", "where", "result")


def prune_cohort(config_path: Path, asked: Asked, *, as_json: bool) -> None:
    """List what belongs to no row of the cohort any more, or remove it, and say what became of it.

    Raises:
        SeriesportError: the first thing that was to be removed and stays.
    """
    config = load_config(config_path)
    share_with(config.readable_by)
    entries = read_cohort(config.cohort, may_be_empty=True)
    found = prune(Results(config.results), entries, config.settings, asked)
    rows = [dict(zip(_COLUMNS, _row(done), strict=True)) for done in found]
    if as_json:
        print_json(rows)
    elif rows:
        print_table(_COLUMNS, [list(row.values()) for row in rows])
    else:
        print_table(["nothing is left of what was taken out of the cohort"], [])
    failed = [done.error for done in found if done.error is not None and _matters(done, asked)]
    if failed:
        stay = "stays" if len(failed) == 1 else "stay; the first"
        what = f"{len(failed)} of {len(found)} {stay}: {failed[0].message}"
        raise SeriesportError(failed[0].code, what)


def _matters(done: Done, asked: Asked) -> bool:
    """Whether it was to be removed: deliveries are so with --delivered alone."""
    delivery = done.what not in HERE
    return not delivery or (asked.delivered and not asked.forget)


def _row(done: Done) -> tuple[str, str, str, int, str, str]:
    label = " ".join(done.remnant.labels) or "-"
    where = done.where or (f"results, {done.size / 1e6:.1f} MB" if done.size else "results")
    if done.what not in HERE and not done.where:
        where = f"{done.remnant.delivered[0].sent.kind}, address unknown"
    return label, done.remnant.key, done.what, done.count, where, done.result
