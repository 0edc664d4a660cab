"""The bundle of a series that a step reads: that of the last step before it which wrote one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seriesport.errors import SeriesportError
from seriesport.store.bundle import read_manifest, verify_bundle
from seriesport.workflow.ledger import Status, line_of, read_ledger
from seriesport.workflow.steps import UPLOAD, Files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from seriesport.cohort.plan import PlannedSeries
    from seriesport.store.bundle import Manifest
    from seriesport.workflow.ledger import Outcome
    from seriesport.workflow.shard import Results
    from seriesport.workflow.steps import Step


@dataclass(frozen=True, slots=True)
class Bundle:
    """The bundle of a series, and those of its template and its geometry."""

    path: Path
    outcome: Outcome
    """Of the step that wrote it."""
    beside: Mapping[str, Path]
    """By `template` and `geometry`."""

    @property
    def content(self) -> str:
        """A hash of all that is made from it: its own, its template's, its geometry's."""
        if not self.beside:
            return self.outcome.sha256
        hashes = [read_manifest(path).sha256 for path in self.beside.values()]
        return hashlib.sha256(" ".join([self.outcome.sha256, *hashes]).encode()).hexdigest()

    def check(self) -> Manifest:
        """Check the bundle against its ledger and its manifest, and return the latter.

        Raises:
            SeriesportError: bundle-damaged.
        """
        manifest = read_manifest(self.path)
        if manifest.sha256 != self.outcome.sha256:
            what = "the bundle is not the one that the ledger names"
            raise SeriesportError("bundle-damaged", what)
        verify_bundle(self.path, manifest)
        return manifest


class Bundles:
    """The bundles that a step reads over a shard.

    Raises:
        SeriesportError: file-unreadable, file-damaged: of a ledger.
    """

    def __init__(self, results: Results, step: Step, shard: str) -> None:
        self._written = [
            (one, results.step(one, shard), read_ledger(results.ledger(one, shard)))
            for one in _writers(step)
        ]

    def of(self, key: str) -> Bundle:
        """Return the bundle of a series.

        A step that had nothing to do for the series gives on the bundle that it read.

        Raises:
            SeriesportError: not-attempted, where a step before failed for the series.
        """
        bundle: Bundle | None = None
        found: dict[str, Path] = {}
        for step, folder, ledger in self._written:
            line = line_of(ledger, key)
            if not line.ok:
                raise SeriesportError("not-attempted", f"not {step.done} [{line.code}]")
            if line.status is Status.COMPLETE:
                zips = [name for name in line.files.split() if name.endswith(".zip")]
                found |= {name.split(".")[-2]: folder / name for name in zips}
                path = found[key]
                beside = {name: path for name, path in found.items() if name != key}
                bundle = Bundle(path, line, beside)
        if bundle is None:
            raise SeriesportError("not-attempted", "no step has written a bundle")
        return bundle


def delivered_bundle(results: Results, row: PlannedSeries) -> Path:
    """Return the path of the bundle that an upload had, whatever the ledgers say by now."""
    paths = [results.step(step, row.shard) / f"{row.key}.zip" for step in _writers(UPLOAD)]
    return next((path for path in reversed(paths) if path.exists()), paths[0])


def _writers(step: Step) -> list[Step]:
    return [one for one in step.before if one.writes is Files.BUNDLES]
