from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seriesport.errors import SeriesportError
from seriesport.model.identifiers import is_uid
from seriesport.transports.archive.address import DicomAddress
from seriesport.transports.file.address import FileAddress
from seriesport.transports.registry import parse
from seriesport.transports.xnat.address import XnatAddress
from seriesport.transports.zip.address import ZipAddress

AWKWARD = ["00/12", "a#b", "a?b", "50%", "DOE^JOHN", "two words", "A*", "A\\B", "Müller-Ωß", "0012"]

part = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)
filled = part.filter(bool)
path = (
    st.text(
        st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=20
    )
    .map(lambda text: Path(os.path.normpath(f"/{text}")))
    .filter(lambda p: p.suffix.lower() != ".zip")
)
selection = (
    st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)
    .map(lambda text: text.strip("/"))
    .filter(lambda text: ".." not in text.split("/"))
)


def problem(text: str) -> tuple[int, str]:
    """The character that the error points at, from 1, and what it says."""
    with pytest.raises(SeriesportError) as caught:
        parse(text)
    assert caught.value.code == "address-invalid"
    assert "\n" not in caught.value.message
    where, _, what = caught.value.message.removeprefix("address, character ").partition(": ")
    return int(where), what


@given(part, part, part)
def test_every_archive_address_reads_back_from_its_url(patient: str, study: str, series: str):
    address = DicomAddress("pacs", 104, "ARCHIVE", patient, study, series if study else "")
    assert parse(address.url) == address


@given(filled, part, part, part)
def test_every_xnat_address_reads_back_from_its_url(
    project: str, subject: str, exp: str, scan: str
):
    experiment = exp if subject else ""
    address = XnatAddress(
        "xnat.example.org", None, project, subject, experiment, scan if experiment else ""
    )
    assert parse(address.url) == address


@given(path)
def test_every_path_reads_back_from_its_url(path: Path):
    assert parse(FileAddress(path).url) == FileAddress(path)


@given(path, selection)
def test_every_selection_of_a_zip_reads_back_from_its_url(path: Path, chosen: str):
    assert parse(ZipAddress(path, chosen).url) == ZipAddress(path, chosen)


@given(st.text(max_size=60).map(lambda text: f"dicom://{text}"))
def test_any_text_is_an_address_or_an_error_with_a_place_in_it(text: str):
    try:
        address = parse(text)
    except SeriesportError as error:
        place = int(error.message.split("character ")[1].split(":")[0])
        assert 1 <= place <= len(text) + 1
    else:
        assert parse(address.url) == address


@pytest.mark.parametrize("identifier", AWKWARD)
def test_awkward_identifiers_are_kept_as_they_are(identifier: str):
    address = DicomAddress("pacs", None, "ARCHIVE", identifier, identifier, identifier)
    assert set(address.url.removeprefix("dicom://pacs/ARCHIVE/")) <= set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%/"
    )
    assert parse(address.url) == address


def test_a_file_name_that_is_not_utf8_reads_back_from_its_url():
    address = FileAddress(Path(os.fsdecode(b"/data/caf\xe9")))
    assert address.url == "file:///data/caf%E9"
    assert parse(address.url) == address


def test_a_study_can_be_named_without_its_patient():
    assert parse("dicom://pacs/ARCHIVE//1.2.3") == DicomAddress(
        "pacs", None, "ARCHIVE", "", "1.2.3"
    )


@pytest.mark.parametrize("calling", ["RESEARCH1", "A B&C=?/%", "calling="])
def test_a_calling_title_reads_back_and_names_no_other_place(calling: str):
    address = DicomAddress("pacs", 104, "ARCHIVE", "p", "1.2.3", calling=calling)
    assert parse(address.url) == address
    assert address.identity == "dicom://pacs:104/ARCHIVE/p/1.2.3"
    assert address.root == DicomAddress("pacs", 104, "ARCHIVE", calling=calling)


def test_slashes_at_the_end_add_nothing():
    assert parse("dicom://pacs/ARCHIVE/p//") == parse("dicom://pacs/ARCHIVE/p")


def test_spaces_around_an_ae_title_are_no_part_of_it():
    assert parse("dicom://pacs/%20ARCHIVE%20").url == "dicom://pacs/ARCHIVE"


def test_a_relative_path_starts_at_the_working_directory(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse("a/../b") == FileAddress(tmp_path / "b")


def test_a_zip_is_known_by_its_suffix_or_its_scheme(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse("scan.ZIP") == ZipAddress(tmp_path / "scan.ZIP")
    assert parse("scan.zip?time/Image_00020.dcm") == ZipAddress(
        tmp_path / "scan.zip", "time/Image_00020.dcm"
    )
    assert parse("zip:///any.name?time/") == ZipAddress(Path("/any.name"), "time")
    (tmp_path / "folder.zip").mkdir()
    assert parse("folder.zip") == FileAddress(tmp_path / "folder.zip")


def test_an_existing_path_wins_over_a_reading_of_the_question_mark(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "what?#now").mkdir()
    assert parse("what?#now") == FileAddress(tmp_path / "what?#now")
    assert parse("what?#not") == ZipAddress(tmp_path / "what", "#not")


def test_a_plain_path_is_not_decoded(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse("100%25") == FileAddress(tmp_path / "100%25")


@pytest.mark.parametrize(
    ("text", "bad", "says"),
    [
        ("dicom://pacs/A/50%/1.2.3", "%/", "%25"),
        ("dicom://pacs/A/p?x", "?x", "%3F"),
        ("dicom://pacs/A/p/st#udy", "#udy", "%23"),
        ("dicom://pacs/A/p//123", "123", "study"),
        ("dicom://pacs/A/p/s/e/x", "x", "%2F"),
        ("dicom://pacs:99999/A", "99999", "port"),
        ("dicom://pacs:/A", "/A", "port"),
        ("dicom://DOE^JANE/A", "DOE^JANE/A", "host"),
        ("dicom:///A", "/A", "host"),
        ("dicom://pacs/", "", "AE title"),
        ("dicom://pacs", "", "AE title"),
        ("dicom://pacs/SEVENTEEN_LETTERS", "SEVENTEEN", "16"),
        ("dicom://pacs/A/p?calling=ME", "?calling", "calling_aet"),
        ("dicom://pacs:104/A?calling=", "", "16"),
        ("dicom://pacs:104/A/p?calling=A%5CB", "A%5CB", "backslash"),
        ("dicom://pacs:104/A?calling=SEVENTEEN_LETTERS", "SEVENTEEN", "16"),
        ("dicom://pacs:104?calling=ME", "?calling", "AE title"),
        ("dicom://me:secret@pacs/A", "me:", "passwords"),
        ("dicom://pacs/A/%FF", "%FF", "UTF-8"),
        ("dicom://pacs/A/a%0Ab", "a%0A", "control"),
        ("dicom:/pacs/A", "dicom:", "dicom://"),
        (" dicom://pacs/A", " dicom:", "nothing before"),
        ("ftp://host/x", "ftp:", "scheme"),
        ("zip://data/x.zip", "data", "three slashes"),
        ("file:///a%zz", "%zz", "%25"),
        ("a.zip?../b", "../b", "climb"),
        ("zip:///a.zip?%2E%2E/b", "%2E", "climb"),
        ("?x", "?x", "empty"),
        ("~/scans", "~", "home"),
        ("a\0b", "\0", "NUL"),
        ("", "", "empty"),
    ],
)
def test_an_error_points_at_the_bad_part(text: str, bad: str, says: str):
    place, what = problem(text)
    assert text[place - 1 :].startswith(bad)
    assert place <= len(text) + 1
    assert says in what


@pytest.mark.parametrize(
    "text",
    [
        "dicom://CANARY^1/A",
        "dicom://pacs:CANARY/A",
        "dicom://CANARY:CANARY@pacs/A",
        "dicom://p/A/CANARY%",
    ],
)
def test_an_error_does_not_repeat_the_address(text: str):
    assert "CANARY" not in problem(text)[1]


@pytest.mark.parametrize("text", ["1.2.3", "2.25.329800735698586629295641978511506172918", "0.0.0"])
def test_uids_are_recognised(text: str):
    assert is_uid(text)


@pytest.mark.parametrize(
    "text", ["", "1.2", "1.2.03", "3.2.1", "1.2.3.", "1..2", "1.2.3\n", "1." * 40 + "1", "A.1"]
)
def test_what_is_no_uid_is_recognised(text: str):
    assert not is_uid(text)


def test_the_root_of_a_source_holds_no_identifier():
    assert parse("dicom://pacs:104/A/p/1.2.3/4").root == parse("dicom://pacs:104/A")
