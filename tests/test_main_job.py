"""The main job between real servers: from Orthanc, through conversion, to dcmqrscp and a ZIP."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
import yaml

import data
from peers.xnat import Xnat
from project import Project
from seriesport import Series
from seriesport.config.settings import Settings
from seriesport.store.bundle import read_bundle
from seriesport.transports.archive.server import DicomServer
from seriesport.transports.xnat.server import XnatServer

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
        delivered = [d["delivered"] for d in project.deliveries(rows[label])]
        assert delivered == [len(made.uids)] * 2
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

    source = f"dicom://source/{orthanc.aet}//{ct_of.study_instance_uid}"
    audit = ("seriesport", "verify", "results/dicom", "--against", source, "--json")
    whole = project.run(*audit)
    assert whole.returncode == 0, whole.stderr
    assert {row["result"] for row in json.loads(whole.stdout)} == {"whole"}
    lost = project.results / rows["mr"]["bundle"].split()[0]
    lost.unlink()
    found = project.run(*audit)
    assert found.returncode == 1
    assert f"{lost.name} is gone" in found.stderr
    assert "none of its 30 instances is here" in found.stdout


@pytest.mark.usefixtures("xnat_credentials")
def test_niftis_of_a_folder_and_an_xnat_become_dicom_in_an_archive(
    tmp_path: Path, orthanc: Orthanc
) -> None:
    who = data.identity("templates job", patient_id="0013 job", accession_number="MAIN0002")
    ct = data.ct(tmp_path / "ct", who, slices=6, size=32)
    orthanc.store(ct.paths)
    archive = f"dicom://pacs/{orthanc.aet}"
    template = f"{archive}/0013%20job/MAIN0002/1"
    project = Project.clone(tmp_path / "clone", demo=False)
    with Xnat(tmp_path / "xnat") as server:
        server.add_project("P")
        xnat = XnatServer("xnat", url=server.url)
        si = Series(tmp_path / "ct", settings=Settings({"xnat": xnat}))
        si.write("xnat://xnat/P/sub/ses", formats=["nifti"])
        planes = nibabel.Nifti1Image(np.asarray(si) + 1, si.affine_ras)
        nibabel.save(planes, project.folder / "sagittal.nii.gz")
        config = {
            "cohort": "config/cohort.yaml",
            "formats": ["preview"],
            "servers": {
                "pacs": {"host": orthanc.host, "port": orthanc.port},
                "xnat": {"url": server.url},
            },
        }
        (project.folder / "config" / "config.yaml").write_text(yaml.safe_dump(config))
        project.write_cohort(f"""
defaults: {{template: "{template}", destinations: ["{archive}"]}}
cohort:
  - {{label: a, source: sagittal.nii.gz, geometry: "{template}"}}
  - {{label: b, source: "xnat://xnat/P/sub/ses/1/NIFTI"}}
""")
        plan = project.run("seriesport", "plan")
        assert [line.split()[3:5] for line in plan.stdout.splitlines()[1:]] == [["files", "1"]] * 2
        done = project.snakemake()
        assert done.returncode == 0, done.stdout + done.stderr
        assert "2 of 2 proven complete" in done.stdout
    pacs = Settings({"pacs": DicomServer("pacs", orthanc.host, orthanc.port)})
    for row, value in zip(project.table(), (np.asarray(si) + 1, np.asarray(si)), strict=True):
        bundle = project.results / next(n for n in row["outputs"].split() if n.endswith(".zip"))
        (uid,) = {one.header.series_instance_uid for one in read_bundle(bundle)}
        made = Series(f"{archive}/0013%20job/{who.study_instance_uid}/{uid}", settings=pacs)
        np.testing.assert_array_equal(np.asarray(made), value)
        np.testing.assert_allclose(made.affine_lps, si.affine_lps, atol=1e-4)
        assert made.modality == "CT"
