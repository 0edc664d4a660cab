"""The main job from an XNAT and to one: whole, again after a kill, and without an identifier."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
import yaml

import data
from peers.xnat import Fault, Xnat
from project import SNAKEMAKE, Project, tree
from test_privacy import leaks
from watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from peers import Orthanc

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("xnat-job")]

USER, PASSWORD = "researcher", "CANARYpass77word"
SUBJECT, SESSION = "CANARYSUBJ55", "CANARYSESS66"
PATIENT, NAME, ACCESSION = "0048CANARY88", "CANARYDAUGHTER^TWO", "CANARYACC99"
NOT_RESULTS = ("logs", "retry", "again", "asked.tsv", "seen.jsonl")


@pytest.fixture(params=["1.8", "1.6.4"])
def xnat(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Xnat]:
    with Xnat(tmp_path / "xnat", request.param) as server:
        server.add_user(USER, PASSWORD)
        server.add_project("STUDY", researcher="member")
        yield server


class Job:
    """A clone that goes from an XNAT and an archive to the same XNAT and a folder."""

    def __init__(self, tmp_path: Path, xnat: Xnat, orthanc: Orthanc) -> None:
        who = data.identity(
            f"xnat job {xnat.url}",
            patient_id=PATIENT,
            patient_name=NAME,
            accession_number=ACCESSION,
        )
        self.ct = data.ct(tmp_path / "ct", who, slices=12, size=64)
        self.mr = data.mr(tmp_path / "mr", who.series(2), times=2, slices=6)
        names = {path.name: path for path in self.ct.paths}
        xnat.add_scan("STUDY", SUBJECT, SESSION, "1", names, xsi="xnat:ctScanData", type="CT")
        orthanc.store(self.mr.paths)
        self.project = Project.clone(tmp_path / "clone", demo=False)
        self.secrets = [SUBJECT, SESSION, PATIENT, "CANARYDAUGHTER", ACCESSION, PASSWORD]
        self.secrets += [who.study_instance_uid, *self.ct.uids, *self.mr.uids]
        netrc = self.project.folder / "netrc"
        netrc.write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
        netrc.chmod(0o600)
        config = {
            "formats": ["preview"],
            "servers": {
                "xnat": {"url": xnat.url},
                "pacs": {"host": orthanc.host, "port": orthanc.port},
            },
        }
        (self.project.folder / "config" / "config.yaml").write_text(yaml.safe_dump(config))
        self.project.write_cohort(
            f"""
cohort:
  - label: from
    source: xnat://xnat/STUDY/{SUBJECT}/{SESSION}
    destinations: [delivered]
  - label: to
    source: dicom://pacs/{orthanc.aet}
    patient: "{PATIENT}"
    study: "{who.study_instance_uid}"
    series_number: "2"
    destinations: ["xnat://xnat/STUDY/{SUBJECT}/NEW_{SESSION}"]
    upload: [dicom, nifti]
"""
        )
        os.environ["NETRC"] = str(netrc)


@pytest.fixture
def job(tmp_path: Path, xnat: Xnat, orthanc: Orthanc, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setenv("NETRC", "")
    return Job(tmp_path, xnat, orthanc)


def test_series_go_from_and_to_xnat_and_no_identifier_gets_out(xnat: Xnat, job: Job) -> None:
    with Watch() as watch:
        done = job.project.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    delivered = list((job.project.folder / "delivered").rglob("*.dcm"))
    assert {data.dataset_bytes(p) for p in delivered} == set(job.ct.datasets.values())
    stored = xnat.stored("STUDY", f"NEW_{SESSION}", "2")
    assert len(stored) == len(job.mr.uids)
    made = xnat.stored("STUDY", f"NEW_{SESSION}", "2", "NIFTI")
    assert sorted(name.lstrip("0123456789.") for name in made) == ["json", "nii.gz"]
    screen = done.stdout + done.stderr
    assert not [c for c in job.secrets if c.lower() in screen.lower()]
    assert not [c for c in job.secrets if any(c in word for word in watch.seen)]
    found = leaks(job.project, job.secrets)
    assert found == ["netrc"]
    assert USER not in xnat.open_sessions.values()

    puts = xnat.count("PUT", "/files/")
    before = job.project.bundles()
    again = job.project.snakemake()
    assert again.returncode == 0
    assert xnat.count("PUT", "/files/") == puts
    assert job.project.bundles() == before

    shutil.rmtree(job.project.results)
    anew = job.project.snakemake()
    assert anew.returncode == 0, anew.stdout + anew.stderr
    assert xnat.count("PUT", "/files/") == puts
    assert xnat.stored("STUDY", f"NEW_{SESSION}", "2", "NIFTI") == made


@pytest.mark.parametrize("xnat", ["1.8"], indirect=True)
def test_a_run_that_is_killed_ends_with_the_same_files_in_xnat(xnat: Xnat, job: Job) -> None:
    xnat.faults.add(Fault("stall", "*/files/*", seconds=0.1, times=None))
    moments = random.Random(7)
    for _ in range(3):
        run = subprocess.Popen(
            SNAKEMAKE,
            cwd=job.project.folder,
            env=job.project.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(moments.uniform(2, 6))
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        job.project.snakemake("--unlock")
    xnat.faults.clear()
    done = job.project.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    delivered = tree(job.project.folder / "delivered")
    assert len(delivered) == len(job.ct.uids)
    assert xnat.scans("STUDY", f"NEW_{SESSION}") == ["2"]
    assert len(xnat.stored("STUDY", f"NEW_{SESSION}", "2")) == len(job.mr.uids)
    assert not xnat.orphans("STUDY", f"NEW_{SESSION}", "2")
    sent = [r for r in xnat.requests if r.method == "PUT" and "/files/" in r.path]
    taken = [r.path for r in sent if r.status == 200]
    assert len(taken) == len(set(taken))
