"""The lines that README.md shows, against real archives, an XNAT, ZIPs and folders."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest
from PIL import Image as Picture

import data
import dicom_files
from faulty import Fault, FaultyArchive
from seriesport import Series
from seriesport.config.settings import Settings
from seriesport.errors import SeriesportError
from seriesport.transports.archive.server import DicomServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from peers import Dcmqrscp, Orthanc
    from peers.xnat import Xnat

FIGURE = """%!PS-Adobe-3.0
%%BoundingBox: 0 0 200 100
<< /PageSize [200 100] >> setpagedevice
1 0 0 setrgbcolor 0 0 100 100 rectfill
0 0 1 setrgbcolor 100 0 100 50 rectfill
showpage
%%EOF
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a user."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def xnat_server(
    here: Path, xnat: Xnat, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Xnat:
    """The XNAT that config/config.yaml calls `xnat.server`, with a project of the test's own."""
    (here / "config").mkdir()
    (here / "config" / "config.yaml").write_text(f"servers: {{xnat.server: {{url: {xnat.url}}}}}\n")
    monkeypatch.setenv("SERIESPORT_USER_XNAT_SERVER", "admin")
    monkeypatch.setenv("SERIESPORT_PASSWORD_XNAT_SERVER", "admin")
    monkeypatch.setenv("NETRC", "/nonexistent")
    xnat.add_project(project_of(request))
    return xnat


def project_of(request: pytest.FixtureRequest) -> str:
    return "".join(c for c in request.node.name if c.isalnum())[:40]


def same(one: Series, other: Series) -> None:
    """The same voxels in the same places, of the same patient."""
    np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    assert one.axes == other.axes
    np.testing.assert_allclose(one.affine_lps, other.affine_lps, atol=1e-6)
    for name in ("patientName", "patientID", "accessionNumber", "studyInstanceUID"):
        assert getattr(one, name) == getattr(other, name)


def stored(server: Orthanc | Dcmqrscp, made: data.Made) -> str:
    server.store(made.paths)
    return f"dicom://localhost:{server.port}/{server.aet}"


@pytest.mark.parametrize("kind", ["orthanc", "dcmqrscp"])
def test_a_series_is_read_by_accession_and_series_number(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server = request.getfixturevalue(kind)
    who = data.identity(f"series by number {kind}", series_number=4)
    made = data.ct(tmp_path / "ct", who, slices=4)
    url = stored(server, made)
    other = data.ct(tmp_path / "other", who.series(5), slices=3)
    server.store(other.paths)

    si = Series(f"{url}/{who.patient_id}/{who.accession_number}/4")

    assert si.shape == (4, 64, 64)
    assert si.spacing == (1.5, 5.625, 5.625)
    assert si.patientName == who.patient_name
    assert (si.accessionNumber, si.seriesNumber) == (who.accession_number, 4)
    same(si, Series(tmp_path / "ct"))


def test_a_study_of_several_series_is_an_error_that_lists_them_without_identifiers(
    orthanc: Orthanc, tmp_path: Path
) -> None:
    who = data.identity("several series", series_description="SECRET")
    url = stored(orthanc, data.ct(tmp_path / "ct", who))
    orthanc.store(data.mr(tmp_path / "mr", who.series(2)).paths)
    place = f"{url}/{who.patient_id}/{who.accession_number}"

    with pytest.raises(SeriesportError) as caught:
        Series(place)

    assert caught.value.code == "ambiguous"
    message = caught.value.message
    assert "series 1 (CT, 5 instances); series 2 (MR, 12 instances)" in message
    assert "add the series number" in message
    for secret in (who.patient_id, who.accession_number, "SECRET", who.study_instance_uid):
        assert secret not in message
    assert Series(place, opts={"series": 2}).shape == (3, 4, 64, 64)


def test_a_whole_archive_is_not_asked_for() -> None:
    with pytest.raises(SeriesportError) as caught:
        Series("dicom://localhost:1/AET")
    assert caught.value.code == "ambiguous"


def test_an_archive_that_delivers_less_than_it_lists_raises_and_gives_no_shorter_volume(
    tmp_path: Path,
) -> None:
    made = data.ct(tmp_path / "ct", data.identity("lost at the archive"))
    who = made.identity
    with FaultyArchive(made.paths) as archive:
        archive.fail(Fault.FEWER, times=float("inf"), count=2)
        place = f"{archive.aet}/{who.patient_id}/{who.study_instance_uid}/1"
        server = DicomServer("faulty", archive.host, archive.port, backoff=0)
        with pytest.raises(SeriesportError) as caught:
            Series(f"dicom://faulty/{place}", settings=Settings({"faulty": server}))
    assert caught.value.code == "incomplete"
    assert caught.value.message.startswith("2 of 5 instances missing")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_folder_of_a_zip_is_read_by_time(here: Path, compression: int) -> None:
    who = data.identity("time in a zip")
    made = data.mr(here / "mr", who)
    other = data.ct(here / "ct", who.series(2))
    with zipfile.ZipFile("data.zip", "w", compression) as archive:
        for path in made.paths:
            archive.write(path, f"exam/time/{path.name}")
        for path in other.paths:
            archive.write(path, f"exam/ct/{path.name}")

    img = Series("data.zip?time/", input_order="time")

    assert img.axes == ("time", "slice", "row", "column")
    assert img.timeline is not None
    np.testing.assert_allclose(img.timeline, [0, 0.4, 0.8])
    same(img, Series(here / "mr", input_order="time"))


def test_a_scan_is_read_changed_and_stored_as_another_scan(
    here: Path, xnat_server: Xnat, request: pytest.FixtureRequest
) -> None:
    project = project_of(request)
    who = data.identity(project)
    made = data.ct(here / "ct", who)
    files = {path.name: path for path in made.paths}
    xnat_server.add_scan(project, "subject", f"{project}_e", "scan", files)
    experiment = f"xnat://xnat.server/{project}/subject/{project}_e"

    img = Series(f"{experiment}/scan")
    same(img, Series(here / "ct"))
    img.seriesNumber = 9999
    img.seriesDescription = "New Series"
    receipt = img.write(experiment)

    assert receipt is not None
    assert receipt.complete
    assert sum(entry.sent for entry in receipt.entries) == 5
    again = img.write(experiment)
    assert again is not None
    assert again.complete
    assert not any(entry.sent for entry in again.entries)
    new = Series(experiment, opts={"series": 9999})
    same(new, img)
    assert new.seriesDescription == "New Series"
    assert new.seriesInstanceUID != img.seriesInstanceUID


def test_nifti_goes_to_a_resource_of_its_scan(
    here: Path, xnat_server: Xnat, request: pytest.FixtureRequest
) -> None:
    project = project_of(request)
    made = data.ct(here / "ct", data.identity(project))
    xnat_server.add_project(project)
    experiment = f"xnat://xnat.server/{project}/subject/{project}_e"
    si = Series(here / "ct")
    receipt = si.write(experiment, formats=["dicom", "nifti"], keep_uid=True)
    assert receipt is not None
    assert receipt.complete
    assert len(receipt.entries) == len(made.paths) + 1
    nifti = Series(f"{experiment}/1/NIFTI")
    np.testing.assert_array_equal(np.asarray(nifti), np.asarray(si))


def test_dicom_and_nifti_of_one_write_are_of_one_scan(
    here: Path, xnat_server: Xnat, request: pytest.FixtureRequest
) -> None:
    project = project_of(request)
    data.ct(here / "ct", data.identity(project))
    xnat_server.add_project(project)
    si = Series(here / "ct") * 2
    si.write(f"xnat://xnat.server/{project}/s/{project}_e", formats=["nifti", "dicom"])
    (scan,) = xnat_server.scans(project, f"{project}_e")
    made = xnat_server.resources(project, f"{project}_e", scan)
    assert sorted(made) == ["DICOM", "NIFTI"]


@pytest.mark.parametrize("kind", ["orthanc", "dcmqrscp"])
def test_a_changed_series_is_not_taken_for_that_of_its_kept_uids_in_an_archive(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    made = data.ct(tmp_path / "ct", data.identity(f"kept {kind}"), slices=3)
    url = stored(request.getfixturevalue(kind), made)
    si = Series(tmp_path / "ct")
    copied = si.write(url, keep_uid=True)
    assert copied is not None
    assert not any(entry.sent for entry in copied.entries)
    for changed in (si + 1, si[::2], Series(si)):
        changed.seriesDescription = "other"
        with pytest.raises(SeriesportError) as caught:
            changed.write(url, keep_uid=True)
        assert caught.value.code == "destination-conflict"
    with pytest.raises(SeriesportError) as caught:
        (si * 2).write(url, keep_uid=True)
    assert caught.value.code == "destination-conflict"


def test_a_postscript_figure_becomes_a_series_that_an_archive_renders(
    here: Path, orthanc: Orthanc
) -> None:
    who = data.identity("figure")
    data.ct(here / "dicom" / "data", who)
    Path("figure.ps").write_text(FIGURE)

    ps = Series("figure.ps", template="dicom/data")
    receipt = ps.write(f"dicom://localhost:{orthanc.port}/{orthanc.aet}", formats=["dicom"])

    assert receipt is not None
    assert receipt.complete
    assert ps.colour
    [name] = orthanc.rest("POST", "/tools/find", {
        "Level": "Instance",
        "Query": {"PatientID": who.patient_id, "StudyInstanceUID": who.study_instance_uid},
    })  # fmt: skip
    tags = orthanc.rest("GET", f"/instances/{name}/simplified-tags")
    assert tags["SOPClassUID"] == "1.2.840.10008.5.1.4.1.1.7"
    assert tags["PatientName"] == who.patient_name
    preview = Picture.open(io.BytesIO(orthanc.rest("GET", f"/instances/{name}/preview")))
    np.testing.assert_array_equal(np.asarray(preview.convert("RGB")), np.asarray(ps))
    height, width = preview.size[1], preview.size[0]
    assert width == pytest.approx(2 * height, abs=1)
    assert preview.convert("RGB").getpixel((width // 4, height // 2)) == (255, 0, 0)
    assert preview.convert("RGB").getpixel((3 * width // 4, 3 * height // 4)) == (0, 0, 255)
    file = here / "fetched.dcm"
    file.write_bytes(orthanc.rest("GET", f"/instances/{name}/file"))
    assert dicom_files.errors(file) == []
    again = ps.write(f"dicom://localhost:{orthanc.port}/{orthanc.aet}", formats=["dicom"])
    assert again is not None
    assert not any(entry.sent for entry in again.entries)


@pytest.mark.usefixtures("here")
def test_page_and_resolution_of_a_document_are_chosen() -> None:
    Path("pages.ps").write_text(FIGURE + FIGURE.replace("1 0 0 setrgb", "0 1 0 setrgb"))
    second = Series("pages.ps", opts={"page": 2, "dpi": 72})
    assert second.shape == (100, 200, 3)
    assert second[50, 50].tolist() == [0, 255, 0]


def test_postscript_in_a_folder_is_not_run_unasked(here: Path) -> None:
    for folder in ("found", "found.ps"):
        (here / folder).mkdir()
        (here / folder / "figure.ps").write_text(FIGURE)
        with pytest.raises(SeriesportError) as caught:
            Series(folder)
        assert caught.value.code == "postscript-off"


WRITERS: dict[str, Callable[[Any, Path], str]] = {
    "orthanc": lambda r, _: _archive(r.getfixturevalue("orthanc")),
    "dcmqrscp": lambda r, _: _archive(r.getfixturevalue("dcmqrscp").another_ae()),
    "folder": lambda _, here: str(here / "out"),
    "zip": lambda _, here: str(here / "out.zip"),
}


def _archive(entity: Any) -> str:
    return f"dicom://localhost:{entity.port}/{entity.aet}"


@pytest.mark.parametrize("kind", WRITERS)
def test_what_is_written_reads_back_and_a_second_write_sends_nothing(
    kind: str, request: pytest.FixtureRequest, here: Path
) -> None:
    who = data.identity(f"round trip {kind}")
    data.mr(here / "mr", who)
    url = WRITERS[kind](request, here)
    si = Series("mr")
    si.seriesNumber = 77
    receipt, again = si.write(url), si.write(url)
    assert receipt is not None
    assert again is not None
    assert receipt.complete
    assert again.complete
    assert sum(entry.sent for entry in receipt.entries) == 12
    assert not any(entry.sent for entry in again.entries)
    if url.startswith("dicom:"):
        url = f"{url}/{who.patient_id}/{who.study_instance_uid}/77"
    back = Series(url)
    same(back, si)
    assert back.seriesNumber == 77


def test_a_kept_uid_is_kept_and_another_content_under_it_is_refused(here: Path) -> None:
    made = data.ct(here / "ct", data.identity("kept"))
    si = Series("ct")
    assert si.write("copy", keep_uid=True) is not None
    written = sorted(p for p in Path("copy").rglob("*") if p.is_file())
    assert {str(pydicom.dcmread(p).SOPInstanceUID) for p in written} == set(made.uids)
    si[0] += 1
    with pytest.raises(SeriesportError) as caught:
        si.write("copy", keep_uid=True)
    assert caught.value.code == "destination-conflict"
