"""No identifier gets out of the files that carry it by nature."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

import data
from project import SERVE, SNAKEMAKE, Project
from watch import Watch

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("privacy")]

NAME, PATIENT, ACCESSION = "CANARYNAME^QUITE", "0047CANARY11", "CANARYACC22"
LABEL = "canarylabel33"
SOURCES = ("archive", "canaries", "broken")


def _cohort(project: Project) -> list[str]:
    """Sources of every kind that are full of canaries, a cohort over them, and the canaries."""
    who = data.identity(
        "privacy", patient_id=PATIENT, patient_name=NAME, accession_number=ACCESSION
    )
    other = who.series(2)
    made = data.mr(project.folder / "archive" / "canaries", who, slices=3)
    data.mr(project.folder / "canaries", other, slices=3)
    bad = who.series(3)
    broken = data.mr(project.folder / "broken", bad, slices=2).paths[0]
    broken.write_bytes(broken.read_bytes()[:-50])
    project.write_cohort(
        f"""
defaults:
  formats: [nifti, npz, preview]
  destinations: [delivered, delivered.zip, dicom://demo/ARCHIVE]
cohort:
  - label: {LABEL}
    source: dicom://demo/ARCHIVE
    patient: "{PATIENT}"
    accession: "{ACCESSION}"
    series: "{who.series_instance_uid}"
  - source: canaries
    series: "{other.series_instance_uid}"
  - source: broken
    series: "{bad.series_instance_uid}"
  - source: dicom://demo/ARCHIVE
    patient: "{PATIENT}"
    study: "{who.study_instance_uid}.999"
"""
    )
    uids = [
        who.study_instance_uid,
        who.series_instance_uid,
        other.series_instance_uid,
        bad.series_instance_uid,
        *made.uids,
    ]
    return [*NAME.split("^")[:1], PATIENT, ACCESSION, LABEL, *uids]


def _may_carry(path: Path) -> bool:
    """The sources, the cohort file, the plan, bundles (also in the making), images, deliveries."""
    parts = path.parts
    return (
        parts[0] in (*SOURCES, "delivered", "delivered.zip", "cache")
        or path.match("config/cohort.yaml")
        or path.match("results/cohort.tsv")
        or parts[:2] in (("results", "plan"), ("results", "staging"))
        or path.match("results/dicom/*/*.zip")
        or path.match("results/dicom/*/.*.zip.*")
        or path.match("results/converted/*/*.nii.gz")
    )


def _decoded(name: str) -> str:
    """A name of `.snakemake/`, which hides paths under base64."""
    try:
        return base64.b64decode(name, validate=True).decode("latin-1")
    except ValueError:
        return name


def leaks(project: Project, canaries: list[str]) -> list[str]:
    pattern = re.compile("|".join(map(re.escape, canaries)).encode(), re.IGNORECASE)
    leaks: list[str] = []
    for path in sorted(project.folder.rglob("*")):
        relative = path.relative_to(project.folder)
        names = str(relative) + " " + " ".join(map(_decoded, relative.parts))
        if pattern.search(names.encode()) and relative.parts[0] not in SOURCES:
            leaks.append(f"name {relative}")
        if path.is_file() and not _may_carry(relative) and pattern.search(path.read_bytes()):
            leaks.append(str(relative))
    return leaks


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.clone(tmp_path / "clone")


def test_a_run_with_failures_leaks_no_identifier(project: Project) -> None:
    canaries = _cohort(project)
    with Watch() as watch:
        done = project.demo()
    assert done.returncode != 0  # the broken series and the absent study
    rows = project.table()
    assert sorted(row["status"] for row in rows) == ["complete", "complete", "failed", "failed"]
    screen = done.stdout + done.stderr
    assert not [c for c in canaries if c.lower() in screen.lower()]
    assert not [c for c in canaries if any(c in word for word in watch.seen)]
    assert any("snakemake" in word for word in watch.seen)
    assert leaks(project, canaries) == []
    report = project.snakemake("--report", "report.html")
    assert report.returncode == 0, report.stderr
    assert leaks(project, canaries) == []


def test_a_killed_run_leaks_no_identifier(project: Project) -> None:
    canaries = _cohort(project)
    with (project.folder / "screen.txt").open("wb") as screen:
        run = subprocess.Popen(
            [*SERVE, *SNAKEMAKE],
            cwd=project.folder,
            env=project.environment(),
            stdout=screen,
            stderr=screen,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while not list(project.results.glob("dicom/*/*.zip")) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    assert list(project.results.glob("dicom/*/*.zip"))
    assert leaks(project, canaries) == []


def test_the_search_for_canaries_finds_one_that_is_planted(project: Project) -> None:
    (project.folder / "results").mkdir()
    (project.folder / "results" / "x.log").write_text(f"patient {PATIENT}")
    hidden = base64.b64encode(f"results/{ACCESSION}".encode()).decode()
    (project.folder / ".snakemake").mkdir()
    (project.folder / ".snakemake" / hidden).write_text("{}")
    assert len(leaks(project, [PATIENT, ACCESSION])) == 2
