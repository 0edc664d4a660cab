"""What a dry run costs for 1,000, 10,000 and 100,000 listed series: seconds and peak memory.

    python benchmarks/dry_run.py

The plan is written as the checkpoint would leave it, with synthetic identifiers; then
`snakemake --dry-run` builds the graph of all shards.
"""

from __future__ import annotations

import math
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from archives import run
from project import BIN, Project
from seriesport.address import DicomAddress
from seriesport.plan import MOST_SHARDS, Plan, PlanFolder, PlannedSeries
from seriesport.transports.protocol import SeriesReference

SIZES = (1_000, 10_000, 100_000)


def _plan(count: int) -> Plan:
    size = math.ceil(count / MOST_SHARDS)
    return Plan(tuple(_row(i, f"demo-{i // size + 1:04d}") for i in range(count)), ())


def _row(i: int, shard: str) -> PlannedSeries:
    study, series = f"1.2.826.0.1.{i // 5}", f"1.2.826.0.1.{i // 5}.{i}"
    reference = SeriesReference(
        DicomAddress("demo", None, "ARCHIVE", f"P{i // 5:07d}", study, series),
        f"P{i // 5:07d}",
        study,
        series,
        modality="CT",
        instances=200,
    )
    return PlannedSeries(
        f"{i:016d}", shard, reference, ("dicom://demo/ARCHIVE",), None, (i,), (), (f"{i:064x}",)
    )


def main() -> None:
    """Measure each size in a clone of its own."""
    print(f"{'series':>8}{'dry run s':>11}{'MiB':>7}")
    for count in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            project = Project.clone(Path(folder, "clone"), demo=False)
            PlanFolder(project.results / "plan").write(_plan(count))
            command = [str(BIN / "snakemake"), "--cores", "2", "--dry-run", "--quiet", "all"]
            cost = run(command, project.environment(), project.folder)
            print(f"{count:>8,}{cost.process:>11.1f}{cost.memory:>7.0f}", flush=True)


if __name__ == "__main__":
    main()
