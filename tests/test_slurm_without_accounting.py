"""The same profile on a cluster that keeps no accounts of its jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import data
from peers.slurm import Slurm
from project import Project
from test_slurm import OFTEN, PROFILE

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm"), pytest.mark.timeout(300)]


def test_the_profile_needs_no_accounting(tmp_path: Path) -> None:
    data.mr(tmp_path / "clone" / "source", data.identity("no accounts"), times=1, slices=3)
    project = Project.clone(tmp_path / "clone", demo=False)
    project.write_cohort("cohort: [{source: source, formats: [], destinations: []}]")
    (project.folder / "config" / "config.yaml").write_text("cohort: config/cohort.yaml\n")
    assert project.run("seriesport", "plan").returncode == 0
    (tmp_path / "slurm").mkdir()
    with Slurm(tmp_path / "slurm", accounting=False) as slurm:
        done = project.run(*PROFILE, *OFTEN, "results/dicom/local-0001/ledger.tsv")
        states = set(slurm.jobs().values())
    assert done.returncode == 0, done.stdout + done.stderr
    assert states == {"COMPLETED"}
