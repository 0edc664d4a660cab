"""What a cohort costs beside transfer and conversion, for 1,000, 10,000 and 100,000 series.

    python benchmarks/cohorts.py [--sizes 1000 10000 100000] [--run 1000] [--slurm]

The source makes tiny series when it is asked (tests/peers/counting), so that what is measured is
our own: reading the cohort, planning, keys, proof, bundles, ledgers, Snakemake.
"""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import ArgumentParser
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from archives import Run, run
from counted_project import CountedProject, write_cohort, write_ledgers
from peers import often
from peers.slurm import Slurm

SIZES = (1_000, 10_000, 100_000)
SNAKEMAKE = ("/usr/bin/env", sys.executable, str(Path(often.__file__)))
# Looked at every second: how long Snakemake waits before it looks is not what is measured.
_ON_SLURM = (
    "--profile=profiles/slurm",
    "--slurm-init-seconds-before-status-checks=1",
    "--latency-wait=10",
)
_STEPS = {
    "plan": "seriesport.workflow.plan import plan_cohort as step; from pathlib import Path; "
    "step(results, Path('config/cohort.tsv'), settings)",
    "verdict": "seriesport.workflow.verdict import judge as step; step(results)",
}


def main() -> None:
    """Print both tables."""
    options = ArgumentParser(description=__doc__)
    options.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    options.add_argument("--run", type=int, nargs="*", default=[1_000])
    options.add_argument(
        "--slurm", action="store_true", help="the runs on a SLURM of two nodes too"
    )
    chosen = options.parse_args()
    if chosen.sizes:
        print(f"{'series':>8}  {'':20}{'wall s':>8}{'CPU s':>8}{'MiB':>6}  asked for")
    for count in chosen.sizes:
        costs(count)
    for count in chosen.run:
        overhead(count)
        if chosen.slurm:
            with tempfile.TemporaryDirectory() as folder, Slurm(Path(folder)):
                overhead(count, *_ON_SLURM)


def costs(count: int) -> None:
    """Plan, plan again, with 100 rows more, dry run, verdict: seconds and peak memory of each."""
    with tempfile.TemporaryDirectory() as folder:
        project = CountedProject.make(Path(folder, "clone"), count)

        def show(name: str, cost: Run) -> None:
            asked = project.asked()["find"]
            numbers = f"{cost.process:>8.1f}{cost.cpu:>8.1f}{cost.memory:>6.0f}"
            print(f"{count:>8,}  {name:20}{numbers}  {asked:,}", flush=True)

        show("plan", _library(project, "plan"))
        show("plan again", _library(project, "plan"))
        write_cohort(project.folder, count + 100)
        show("plan with 100 more", _library(project, "plan"))
        show("dry run", _snakemake(project, "--dry-run", "--quiet", "all"))
        write_ledgers(project)
        show("verdict", _library(project, "verdict"))


def overhead(count: int, *options: str) -> None:
    """A whole run of tiny series in shards of 100, without formats."""
    with tempfile.TemporaryDirectory(dir=Path.home() if options else None) as folder:
        project = CountedProject.make(Path(folder, "clone"), count, shard_size=100)
        cost = _snakemake(project, *options)
        kind = "SLURM" if options else "one machine"
        print(f"{kind}, {count:,} series: {cost.process:.1f} s, {cost.process / count:.4f} s each")
        started = time.monotonic()
        _snakemake(project, *options)
        print(f"  again, with nothing to do: {time.monotonic() - started:.1f} s")


def _library(project: CountedProject, step: str) -> Run:
    code = (
        "from seriesport.config.config_yaml import load_config; "
        "from seriesport.workflow.shard import Results; from pathlib import Path; "
        "settings = load_config(Path('config/config.yaml')).settings; "
        f"results = Results(Path('results')); from {_STEPS[step]}"
    )
    command = ["/usr/bin/env", sys.executable, "-c", code]
    return run(command, project.environment(), project.folder)


def _snakemake(project: CountedProject, *options: str) -> Run:
    return run([*SNAKEMAKE, "--cores", "2", *options], project.environment(), project.folder)


if __name__ == "__main__":
    main()
