"""The main job between real servers: from Orthanc, through conversion, to dcmqrscp and a ZIP."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import nibabel
import pytest
import yaml

import data
from project import Project
from seriesport.bundle import read_bundle

if TYPE_CHECKING:
    from pathlib import Path

    from peers import Dcmqrscp, Orthanc

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("workflow")]


def _configure(project: Project, orthanc: Orthanc, dcmqrscp: Dcmqrscp) -> None:
    config = {
        "cohort": "config/cohort.yaml",
        "formats": ["nifti", "npz", "preview"],
        "servers": {
            "source": {"host": orthanc.host, "port": orthanc.port, "associations": 2},
            "target": {"host": dcmqrscp.host, "port": dcmqrscp.port},
        },
    }
    (project.folder / "config" / "config.yaml").write_text(yaml.safe_dump(config))


def test_series_go_from_orthanc_to_dcmqrscp_and_nothing_is_lost(
    tmp_path: Path, orthanc: Orthanc, dcmqrscp: Dcmqrscp
) -> None:
    ct_of = data.identity("main job", patient_id="0012 main^job", accession_number="MAIN0001")
    mr_of = ct_of.series(2, series_description="perfusion")
    ct = data.ct(tmp_path / "ct", ct_of, slices=24, size=128)
    mr = data.mr(tmp_path / "mr", mr_of, times=3, slices=10)
    orthanc.store(ct.paths + mr.paths)
    project = Project.clone(tmp_path / "clone", demo=False)
    _configure(project, orthanc, dcmqrscp)
    project.write_cohort(
        f"""
defaults:
  source: dicom://source/{orthanc.aet}
  destinations: ["dicom://target/{dcmqrscp.aet}", delivered.zip]
cohort:
  - label: ct
    patient: "0012 main^job"
    study: "{ct_of.study_instance_uid}"
    series: "{ct_of.series_instance_uid}"
  - label: mr
    accession: "MAIN0001"
    series_number: "2"
"""
    )
    done = project.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["label"]: row for row in project.table()}
    assert {row["status"] for row in rows.values()} == {"complete"}
    for label, made in (("ct", ct), ("mr", mr)):
        bundle = project.results / rows[label]["bundle"].split()[0]
        fetched = {one.uid: one.payload.open().read() for one in read_bundle(bundle)}
        assert fetched == made.datasets
        receipts = json.loads((project.results / rows[label]["receipts"]).read_text())
        assert all(d["delivered"] == len(made.uids) for d in receipts["deliveries"])
    sent = {data.dataset_bytes(path) for path in dcmqrscp.files()}
    assert {*ct.datasets.values(), *mr.datasets.values()} <= sent
    shapes = {
        label: nibabel.load(next(project.results.glob(f"converted/*/{row['key']}.nii.gz"))).shape
        for label, row in rows.items()
    }
    assert shapes == {"ct": (128, 128, 24), "mr": (64, 64, 10, 3)}

    again = project.snakemake()
    assert again.returncode == 0
    assert len(dcmqrscp.files()) == len(sent)
