"""The steps of the workflow: a row for each, and what follows from their order.

To add a step, add its module here, its row, and its rule in `workflow/rules/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from seriesport.cohort.plan import Shard
    from seriesport.config.config_yaml import Config
    from seriesport.workflow.ledger import Outcome
    from seriesport.workflow.shard import Results

    Work = Callable[[Results, str, Config], list[Outcome]]


class Files(Enum):
    """Kind of the files that a step writes for a series, beside its ledger."""

    BUNDLES = auto()
    """`KEY.zip` and its manifest `KEY.json`. The ledger has the size of the first ZIP."""
    FORMATS = auto()
    """Files whose names begin with the key. The ledger has the size of them all."""
    RECEIPTS = auto()
    """Records of the shard alone: the series went elsewhere."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one step does to the series of a shard."""

    name: str
    """Name of its rule, of its file in `workflow/rules/` and of its module, which has the function
    `run(results, shard, config)`."""
    folder: str
    """Its folder below results/."""
    done: str
    """Column of the tables that says how it ended."""
    column: str
    """Column of the tables that lists its files."""
    writes: Files
    reads: tuple[Files, ...] = (Files.BUNDLES,)
    """Files of the steps before it that it reads."""
    records: tuple[str, ...] = ("records.jsonl",)
    """Files with what it keeps of each series. The first one can be made again."""
    servers: Callable[[Shard], tuple[str, ...]] = lambda _: ()
    """Return the names of the servers that the job of a shard talks to."""

    @property
    def run(self) -> Work:
        """The function that does its work on a shard, loaded when it is first needed."""
        module = import_module(f"seriesport.workflow.{self.name}")
        return cast("Work", module.run)

    @property
    def before(self) -> tuple[Step, ...]:
        """The steps before it whose files it reads."""
        earlier = STEPS[: STEPS.index(self)]
        return tuple(step for step in earlier if step.writes in self.reads)


FETCH = Step(
    "fetch",
    folder="dicom",
    done="fetched",
    column="bundle",
    writes=Files.BUNDLES,
    reads=(),
    servers=lambda shard: shard.sources,
)
CONVERT = Step(
    "convert",
    folder="converted",
    done="converted",
    column="outputs",
    writes=Files.FORMATS,
)
UPLOAD = Step(
    "upload",
    folder="uploaded",
    done="uploaded",
    column="receipts",
    writes=Files.RECEIPTS,
    reads=(Files.BUNDLES, Files.FORMATS),
    records=("receipts.jsonl", "seen.jsonl", "sent.jsonl"),
    servers=lambda shard: shard.destinations,
)
STEPS = (FETCH, CONVERT, UPLOAD)
"""In the order in which a series passes them."""


def step_of(ledger: str) -> Step:
    """Return the step that writes a ledger."""
    folder = Path(ledger).parents[1].name
    return next(step for step in STEPS if step.folder == folder)


def rules_of(step: Step, rules: Iterable[Any]) -> set[str]:
    """Return the names of a step's rules, which other workflows may have renamed.

    Args:
        step: The step.
        rules: Snakemake's rules.
    """
    ledger = f"{step.folder}/*/ledger.tsv"
    return {rule.name for rule in rules if any(Path(o).match(ledger) for o in rule.output)}
