"""Images that are no DICOM become DICOM in the workflow, and go where DICOM goes."""

from __future__ import annotations

import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image

import data
from peers.xnat import Xnat
from seriesport import Series
from seriesport.config.settings import Settings
from seriesport.store.bundle import read_bundle
from seriesport.transports.xnat.server import XnatServer
from seriesport.workflow.convert import convert_shard
from seriesport.workflow.fetch import fetch_shard
from seriesport.workflow.ledger import Outcome, Status
from seriesport.workflow.plan import plan_cohort
from seriesport.workflow.shard import Results
from seriesport.workflow.upload import upload_shard

WHO = data.identity("templates", patient_id="0050 template")


@pytest.fixture(autouse=True)
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a CT series and a NIfTI on its grid."""
    data.ct(tmp_path / "ct", WHO, slices=6, size=32)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def results() -> Results:
    return Results(Path("results"))


def mask(path: Path) -> np.ndarray:
    """A NIfTI on the grid of the CT; its values in the order of the CT's instances."""
    series = Series("ct")
    values = (np.asarray(series) > np.median(np.asarray(series))).astype(np.uint8)
    affine = series.affine_ras[:, [2, 1, 0, 3]]
    nibabel.save(nibabel.Nifti1Image(values.transpose(2, 1, 0), affine), path)
    return values


def run(
    results: Results, entry: str, settings: Settings | None = None, **options: bool
) -> tuple[Outcome, Outcome, Outcome]:
    cohort = Path("cohort.yaml")
    cohort.write_text(f"cohort:\n  - {{{entry}}}\n")
    cohort.chmod(0o600)
    settings = settings or Settings()
    plan = plan_cohort(results, cohort, settings)
    assert not plan.problems, plan.problems
    (row,) = plan.series
    (fetched,) = fetch_shard(results, row.shard, settings)
    (converted,) = convert_shard(results, row.shard, ["preview"], ["dicom"], **options)
    (uploaded,) = upload_shard(results, row.shard, ["dicom"], settings)
    return fetched, converted, uploaded


def test_a_nifti_becomes_dicom_of_the_templates_patient_and_is_delivered(
    results: Results, room: Path
) -> None:
    values = mask(room / "mask.nii.gz")
    entry = "source: mask.nii.gz, template: ct, destinations: [out]"
    lines = run(results, entry)
    assert [line.status for line in lines] == [Status.COMPLETE] * 3, lines
    paths = sorted((room / "out").rglob("*.dcm"))
    assert len(paths) == 6
    made = [pydicom.dcmread(path) for path in paths]
    assert {one.PatientID for one in made} == {"0050 template"}
    assert {one.StudyInstanceUID for one in made} == {WHO.study_instance_uid}
    assert {one.SeriesInstanceUID for one in made}.isdisjoint({WHO.series_instance_uid})
    ordered = sorted(made, key=lambda one: float(one.ImagePositionPatient[2]))
    stack = np.array([one.pixel_array * int(one.get("RescaleSlope", 1)) for one in ordered])
    stack = stack + int(ordered[0].get("RescaleIntercept", 0))
    assert np.array_equal(stack, values)
    before = {path: path.stat().st_mtime_ns for path in paths}
    assert run(results, entry) == lines
    assert {path: path.stat().st_mtime_ns for path in paths} == before


def test_a_picture_in_a_zip_goes_to_an_xnat_as_dicom(
    results: Results, room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (20, 10), (250, 120, 0)).save(room / "figure.png")
    with zipfile.ZipFile("figures.zip", "w") as archive:
        archive.write("figure.png", "some/figure.png")
    monkeypatch.setenv("SERIESPORT_USER_LAB", "admin")
    monkeypatch.setenv("SERIESPORT_PASSWORD_LAB", "admin")
    with Xnat(room / "xnat") as server:
        server.add_project("P")
        settings = Settings({"lab": XnatServer("lab", url=server.url)})
        entry = (
            "source: 'figures.zip?some/figure.png', template: ct,"
            " destinations: ['xnat://lab/P/sub/ses'], upload: [dicom, preview]"
        )
        lines = run(results, entry, settings)
        assert [line.status for line in lines] == [Status.COMPLETE] * 3, lines
        (scan,) = server.scans("P", "ses")
        assert server.resources("P", "ses", scan) == ["DICOM", "SNAPSHOTS"]
        assert len(server.stored("P", "ses", scan)) == 1


def test_two_templates_make_two_series_of_one_image(results: Results, room: Path) -> None:
    mask(room / "mask.nii.gz")
    data.ct(room / "other", WHO.series(9), slices=6, size=32)
    run(results, "source: mask.nii.gz, template: ct, destinations: [out]")
    run(results, "source: mask.nii.gz, template: other, destinations: [out]")
    assert len(list((room / "out").iterdir())) == 2


def test_a_series_made_with_a_template_has_a_number_and_what_the_entry_says(
    results: Results, room: Path
) -> None:
    Image.new("L", (20, 10), 80).save(room / "figure.png")

    def made(entry: str) -> tuple[str, int, str]:
        before = set((room / "out").rglob("*.dcm"))
        lines = run(results, f"source: figure.png, template: ct, destinations: [out]{entry}")
        assert [line.status for line in lines] == [Status.COMPLETE] * 3, lines
        (new,) = map(pydicom.dcmread, set((room / "out").rglob("*.dcm")) - before)
        assert new.StudyInstanceUID == WHO.study_instance_uid
        return new.Modality, new.SeriesNumber, new.get("SeriesDescription", "")

    number = pydicom.dcmread(next((room / "ct").iterdir())).SeriesNumber
    assert made("") == ("OT", number * 100 + 1, "")
    assert made(", series_number: '77'") == ("OT", 77, "")
    assert made(", series_number: '77', series_description: Größe") == ("OT", 77, "Größe")


def test_an_image_that_does_not_fit_its_geometry_is_a_reason(results: Results, room: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 3), np.int16), np.eye(4)), "small.nii")
    entry = "source: small.nii, template: ct, geometry: ct, destinations: [out]"
    fetched, converted, uploaded = run(results, entry)
    assert fetched.ok
    assert converted.code == "geometry-mismatch"
    assert uploaded.code == "not-attempted"
    assert not (room / "out").exists()


def test_postscript_is_run_where_the_config_allows_it(results: Results, room: Path) -> None:
    (room / "figure.ps").write_text(
        "%!PS\n<< /PageSize [100 50] >> setpagedevice\n1 0 0 setrgbcolor 0 0 50 50 rectfill\n"
        "showpage\n"
    )
    entry = "source: figure.ps, template: ct, destinations: [out]"
    _, refused, _ = run(results, entry)
    assert refused.code == "postscript-off"
    _, made, sent = run(results, entry, postscript=True)
    assert (made.status, sent.status) == (Status.COMPLETE, Status.COMPLETE), (made, sent)
    bundle = next(results.folder.glob("converted/*/*.zip"))
    (instance,) = read_bundle(bundle)
    assert instance.header.sop_class_uid == "1.2.840.10008.5.1.4.1.1.7"


def test_an_image_of_another_format_beside_the_named_one_is_left_alone(
    results: Results, room: Path
) -> None:
    values = mask(room / "mask.nii.gz")
    Series(np.zeros((2, 4, 4), np.int16), geometry=np.eye(4)).write("mask.mha")
    Series(np.zeros((2, 4, 4), np.int16), geometry=np.eye(4)).write("mask.nii")
    (room / "mask.json").write_text("{}")
    run(results, "source: mask.nii.gz, template: ct, destinations: [out]")
    assert len(list((room / "out").rglob("*.dcm"))) == len(values)
