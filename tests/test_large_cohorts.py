"""A cohort of 10,000 series: nothing is asked for twice, and bad series hold up nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from counted_project import CountedProject, write_cohort
from project import SNAKEMAKE

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

COUNT = 10_000
BAD = range(0, COUNT, 500)
"""One in each shard."""
SHARDS = (1, 20)
FETCHED = [f"results/dicom/many-{n:04d}/ledger.tsv" for n in SHARDS]


def test_a_large_cohort_is_planned_fetched_and_grows_without_asking_twice(tmp_path: Path) -> None:
    project = CountedProject.make(tmp_path / "clone", COUNT, shard_size=500, bad=BAD)
    planned = project.run(*SNAKEMAKE, "results/plan/shards.tsv")
    assert planned.returncode == 0, planned.stderr
    assert project.asked() == {"find": COUNT}
    fetched = project.run(*SNAKEMAKE, *FETCHED)
    assert fetched.returncode == 0, fetched.stderr
    assert project.asked() == {"fetch": 2 * 499 * len(SHARDS)}
    before = project.bundles()
    assert len(before) == 499 * len(SHARDS)
    for ledger in FETCHED:
        folder = (project.folder / ledger).parent
        assert len(list(folder.iterdir())) == 2 * 499 + 1
        lines = (project.folder / ledger).read_text().splitlines()[1:-1]
        assert [line.split("\t")[1:3] for line in lines if "complete" not in line] == [
            ["failed", "dimse-failure"]
        ]
    assert not list(project.results.glob("staging/*/*/*"))

    write_cohort(project.folder, COUNT + 100, BAD)
    again = project.run(*SNAKEMAKE, "results/plan/shards.tsv")
    assert again.returncode == 0, again.stderr
    assert project.asked() == {"find": 100}
    more = project.run(*SNAKEMAKE, *FETCHED, "results/dicom/many-0021/ledger.tsv")
    assert more.returncode == 0, more.stderr
    assert project.asked() == {"fetch": 200}
    assert project.bundles().items() >= before.items()
    hidden = [path for path in project.folder.glob(".snakemake/**/*") if path.is_file()]
    assert len(hidden) < 100
