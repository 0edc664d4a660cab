"""Orders to repeat a step or the plan, as files that the workflow takes as inputs."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from seriesport.store.files import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from seriesport.workflow.shard import Results
    from seriesport.workflow.steps import Step

_COARSE_NS = 2_000_000_000


def repeat(results: Results, step: Step, shard: str) -> None:
    """Order that the next run repeats a step for a shard.

    An upload then believes no receipt from before the order.
    """
    _place(results.retry(step, shard), results.ledger(step, shard))


def plan_again(results: Results) -> None:
    """Order that the next run plans again."""
    _place(results.plan.again, results.plan.index)


def ordered_at(results: Results, step: Step, shard: str) -> float:
    """Return when a step was last ordered to be repeated, in seconds since 1970; 0 for never."""
    try:
        return int(results.retry(step, shard).read_text("ascii")) / 1e9
    except FileNotFoundError:
        return 0.0
    except (OSError, ValueError):  # damaged: of now
        return time.time()


def _place(order: Path, than: Path) -> None:
    # The text changes as well as the time, since Snakemake does not run again for an input that
    # is younger but the same.
    write_text(order, f"{time.time_ns()}\n", private=True)
    # Younger also where times are counted in steps of 2 seconds.
    with suppress(FileNotFoundError):
        least = than.stat().st_mtime_ns + _COARSE_NS
        if order.stat().st_mtime_ns < least:
            os.utime(order, ns=(least, least))
