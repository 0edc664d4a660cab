"""Before the first job: results are closed and mended, uploads that are due are ordered."""

from __future__ import annotations

import time
from itertools import chain, count
from typing import TYPE_CHECKING

from seriesport.access import restrict, share_with
from seriesport.config.ages import seconds
from seriesport.errors import SeriesportError, unwritable
from seriesport.privacy import tracked_by_git
from seriesport.store.keys import check_secret
from seriesport.store.sealed import check_sealed
from seriesport.workflow.ledger import LEDGER, Status, read_ledger
from seriesport.workflow.receipts import is_since
from seriesport.workflow.records import read_records
from seriesport.workflow.retries import repeat
from seriesport.workflow.steps import STEPS, UPLOAD

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from seriesport.config.config_yaml import Config
    from seriesport.workflow.shard import Results

ALONE = {
    "former.jsonl": "what left the cohort earlier is known by that copy alone",
    "sent.jsonl": "what was delivered before cannot be taken back by seriesport prune",
}
"""Files that cannot be made again, and what is lost with them."""


def guard(results: Results, config: Config) -> list[str]:
    """Let nobody read the results who is not meant to; give a line where git has the cohort.

    Raises:
        SeriesportError: file-unwritable.
    """
    share_with(config.readable_by)
    try:
        restrict(results.folder, results.alone)
    except OSError as error:
        raise unwritable(error) from error
    if not tracked_by_git(config.cohort):
        return []
    what = f"git tracks {config.cohort}, so that a commit publishes its identifiers"
    return [f"{what}; run: git rm --cached {config.cohort} [cohort-tracked]"]


def mend(results: Results) -> list[str]:
    """Put damaged files aside, so that they are made anew; give a line to show for each.

    Raises:
        SeriesportError: secret-lost.
    """
    check_secret(results.secret, results.plan.secret_check)
    said: list[str] = []
    for path, output, error in [*damaged(results)]:
        what = "it is put aside and made anew"
        aside = path.with_name(f"{path.name}.damaged")
        if path.name in ALONE:
            aside = _free(aside)
            what = f"it is put aside as {aside.name}: {ALONE[path.name]}"
        said.append(f"{error.message}; {what} [{error.code}]")
        if path.exists():
            path.replace(aside)
        # Without it Snakemake takes the step for unfinished.
        output.unlink(missing_ok=True)
    return said


def put_aside(results: Results) -> list[Path]:
    """Return the damaged copies that `mend` has put aside."""
    places = ("plan", "plan/shards", *(f"{step.folder}/*" for step in STEPS))
    return sorted(p for place in places for p in results.folder.glob(f"{place}/*.damaged*"))


class Rechecks:
    """Orders uploads whose destinations are to be asked, each at the most once in a process.

    Args:
        results: The results.
        recheck: When destinations are asked what they have, as config.yaml says it.
    """

    def __init__(self, results: Results, recheck: str) -> None:
        self._results = results
        self._recheck = recheck
        self._asked: set[str] = set()

    def order(self, shard: str, forced: Collection[str]) -> None:
        """Order the upload of a shard if it is due, or forced.

        Args:
            shard: The shard.
            forced: Rules and files that Snakemake is forced to make anew.
        """
        results = self._results
        if shard in self._asked or not results.ledger(UPLOAD, shard).exists():
            return
        self._asked.add(shard)
        if _is_forced(shard, forced) or _is_old(results, shard, self._recheck):
            repeat(results, UPLOAD, shard)


def damaged(results: Results) -> Iterator[tuple[Path, Path, SeriesportError]]:
    """Give the damaged files, each with the output that Snakemake makes them together with.

    Manifests are not among them: the verdict looks at those.
    """
    plan = results.plan
    names = [plan.index, *plan.beside, *sorted((plan.folder / "shards").glob("*.jsonl"))]
    for path in names:
        if plan.index.exists() or path.exists():
            yield from _checked(path, plan.index)
    for path in (plan.asked, plan.former_file):
        if path.exists():
            yield from _checked(path, plan.index)
    for step in STEPS:
        for folder in sorted((results.folder / step.folder).glob("*/")):
            ledger = folder / LEDGER
            for path in (ledger, *sorted(folder.glob("*.jsonl"))):
                if path.exists():
                    yield from _checked(path, ledger)


def _free(path: Path) -> Path:
    """Return a name that nothing has, for a copy that is not to be lost."""
    others = (path.with_name(f"{path.name}-{number}") for number in count(2))
    return next(one for one in chain([path], others) if not one.exists())


def _checked(path: Path, output: Path) -> Iterator[tuple[Path, Path, SeriesportError]]:
    try:
        check_sealed(path)
    except SeriesportError as error:
        yield path, output, error


def _is_forced(shard: str, forced: Collection[str]) -> bool:
    files = [name for name in forced if "/" in name]
    return len(files) < len(forced) or any(shard in name.split("/") for name in files)


def _is_old(results: Results, shard: str, recheck: str) -> bool:
    if recheck == "never":
        return False
    lines = read_ledger(results.ledger(UPLOAD, shard)).values()
    delivered = [line.key for line in lines if line.status is Status.COMPLETE]
    if recheck in ("listed", "digest"):
        return bool(delivered)
    earliest = time.time() - seconds(recheck)
    seen = read_records(results.seen(shard))
    return not all(
        is_since(moment, earliest)
        for key in delivered
        for moment in seen.get(key, {"": ""}).values()
    )
