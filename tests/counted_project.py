"""A clone with a cohort of as many tiny series as one asks for, from the source that counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import yaml

from project import ROOT, Project
from seriesport.store.bundle import Manifest
from seriesport.workflow.ledger import Outcome, Status, write_ledger
from seriesport.workflow.shard import Results
from seriesport.workflow.steps import CONVERT, FETCH, UPLOAD

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class CountedProject(Project):
    """See the module."""

    @classmethod
    def make(
        cls,
        folder: Path,
        count: int,
        *,
        shard_size: int = 0,
        formats: Sequence[str] = (),
        bad: Sequence[int] = (),
    ) -> Self:
        """A clone whose cohort lists `count` series, of which the `bad` ones cannot be fetched."""
        cls.clone(folder, demo=False)
        made = cls(folder)
        config = {
            "cohort": "config/cohort.tsv",
            "formats": list(formats),
            "shard_size": shard_size,
            "servers": {"many": {"host": "127.0.0.1", "port": 1, "attempts": 1}},
        }
        (folder / "config" / "config.yaml").write_text(yaml.safe_dump(config))
        write_cohort(folder, count, bad)
        return made

    def environment(self) -> dict[str, str]:
        """A user's, with the source that counts in the place of archives."""
        own = {
            "PYTHONPATH": str(ROOT / "tests" / "peers" / "counting"),
            "COUNTED": str(self.folder / "counted.txt"),
        }
        return super().environment() | own

    def asked(self) -> Counter[str]:
        """How often the source was asked since it was last looked at: `find`, `fetch`."""
        path = self.folder / "counted.txt"
        if not path.exists():
            return Counter()
        lines = path.read_text().split()
        path.unlink()
        return Counter(lines)


def write_cohort(folder: Path, count: int, bad: Sequence[int] = ()) -> None:
    """List so many series, five in a study."""
    path = folder / "config" / "cohort.tsv"
    path.touch(0o600)
    refused = set(bad)
    with path.open("w") as stream:
        stream.write("label\tsource\tpatient\tstudy\tseries\n")
        for n in range(count):
            patient = f"{'BAD' if n in refused else 'P'}{n // 5:07d}"
            study = f"1.2.826.0.1.3680043.10.1511.7.{n // 5}"
            stream.write(f"row {n}\tdicom://many/ARCHIVE\t{patient}\t{study}\t{study}.{n}\n")


def write_ledgers(project: Project) -> None:
    """Leave behind what the steps would, with empty bundles."""
    manifest = Manifest((), 2, 2, "uids", False, "dicom", "0" * 64, 0, "").to_json()
    results = Results(project.results)
    plan = results.plan.read()
    assert plan is not None
    for shard, rows in plan.shards().items():
        folder = results.step(FETCH, shard)
        folder.mkdir(parents=True, exist_ok=True)
        lines: list[Outcome] = []
        for row in rows:
            (folder / f"{row.key}.zip").touch()
            (folder / f"{row.key}.json").write_bytes(manifest)
            files = f"{row.key}.zip {row.key}.json"
            lines.append(Outcome(row.key, Status.COMPLETE, "", "", 2, 2, 0, files, "0" * 64))
        write_ledger(results.ledger(FETCH, shard), lines)
        for step in (CONVERT, UPLOAD):
            nothing = [Outcome(row.key, Status.NOTHING) for row in rows]
            write_ledger(results.ledger(step, shard), nothing)
