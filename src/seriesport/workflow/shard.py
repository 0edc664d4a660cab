"""What the steps share: where things lie, and a loop that one bad series cannot stop."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seriesport.access import adopt, make_folder
from seriesport.cohort.plan import PlanFolder
from seriesport.errors import SeriesportError, unwritable
from seriesport.privacy import where
from seriesport.store.files import remove_parts
from seriesport.store.lease import lease
from seriesport.transports.parallel import in_parallel
from seriesport.transports.served import REFUSALS
from seriesport.workflow.ledger import LEDGER, Outcome, Status, write_ledger
from seriesport.workflow.steps import UPLOAD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seriesport.cohort.plan import PlannedSeries
    from seriesport.workflow.records import Records
    from seriesport.workflow.steps import Step

_log = logging.getLogger("seriesport")


@dataclass(frozen=True, slots=True)
class Results:
    """The folders of a set of results."""

    folder: Path

    @property
    def secret(self) -> Path:
        """The secret that keys are made with."""
        return self.folder / "secret"

    @property
    def plan(self) -> PlanFolder:
        """The plan."""
        return PlanFolder(self.folder / "plan")

    @property
    def summary(self) -> Path:
        """The table of all series for everybody."""
        return self.folder / "summary.tsv"

    @property
    def table(self) -> Path:
        """The table of all series, with the user's labels."""
        return self.folder / "cohort.tsv"

    @property
    def verdict(self) -> Path:
        """The table as the last run showed it."""
        return self.folder / "verdict.txt"

    @property
    def alone(self) -> list[Path]:
        """What nobody but its owner may read, whoever may read the rest."""
        return [self.secret, self.table, self.verdict, self.plan.folder, self.folder / "staging"]

    @property
    def logs(self) -> Path:
        """The logs of the jobs."""
        return self.folder / "logs"

    def log(self, rule: str, shard: str) -> Path:
        """The log of a rule's job for a shard."""
        return self.logs / rule / f"{shard}.log"

    def staging(self, key: str) -> Path:
        """Where the instances of a series wait for their bundle."""
        return self.folder / "staging" / key

    def step(self, step: Step, shard: str) -> Path:
        """The folder of a shard's files for a step."""
        return self.folder / step.folder / shard

    def ledger(self, step: Step, shard: str) -> Path:
        """The ledger of a step over a shard."""
        return self.step(step, shard) / LEDGER

    def retry(self, step: Step, shard: str) -> Path:
        """The file that orders a step to be repeated for a shard."""
        return self.plan.retry(step.folder, shard)

    def records(self, step: Step, shard: str) -> Path:
        """What a step keeps of a shard's series: what it made of them, or their receipts."""
        return self.step(step, shard) / step.records[0]

    def seen(self, shard: str) -> Path:
        """When each destination was last seen to have a series, by its name in the receipts."""
        return self.step(UPLOAD, shard) / "seen.jsonl"

    def sent(self, shard: str) -> Path:
        """What the destinations got of a shard's series and did not have before."""
        return self.step(UPLOAD, shard) / "sent.jsonl"


def run_shard(
    folder: Path,
    rows: Sequence[PlannedSeries],
    work: Callable[[PlannedSeries], Outcome],
    workers: int = 1,
    records: Sequence[Records] = (),
    let_go: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """Bring every series of a shard to an end, good or bad, and write `records` and the ledger.

    `folder` is that of a step's files for the shard.
    Several series are worked on at a time, and fewer once a server refuses: see `in_parallel`.

    Raises:
        SeriesportError: shard-busy, where another job is at the same step of the same shard.
    """
    try:
        make_folder(folder)
        adopt(folder, folder.parent)
        with lease(folder / "lease", wait=0, busy="another job is at work on this shard"):
            remove_parts(folder)  # of a job that was killed, perhaps on another node
            lines = in_parallel(
                rows,
                lambda row: guarded(row, work),
                workers,
                refused=lambda line: not REFUSALS.isdisjoint(line.codes),
                let_go=let_go,
            )
            for kept in records:
                kept.write(line.key for line in lines)
            write_ledger(folder / LEDGER, lines)
    except OSError as error:
        raise unwritable(error) from error
    return lines


def guarded(row: PlannedSeries, work: Callable[[PlannedSeries], Outcome]) -> Outcome:
    """The work on one series; whatever it raises becomes a line that says so."""
    started = time.monotonic()
    try:
        line = work(row)
    except SeriesportError as error:
        line = Outcome(row.key, Status.FAILED, error.code, error.message)
    except OSError as error:
        line = Outcome(row.key, Status.FAILED, "file-unwritable", where(error))
    except Exception as error:  # noqa: BLE001 - one series must not stop its shard
        line = Outcome(row.key, Status.FAILED, "internal", where(error))
    seconds = time.monotonic() - started
    _log.log(
        logging.INFO if line.ok else logging.ERROR,
        "series %s: %s, %d of %d, %.1f MB, %.1f s%s",
        line.key, line.status, line.done, line.expected, line.size / 1e6, seconds,
        "" if line.ok else f": {line.detail} [{line.code}]",
    )  # fmt: skip
    return line
