from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from seriesport.cli.demo import lay_out
from seriesport.cohort import Entry, read_cohort
from seriesport.config.schema import load_schema
from seriesport.errors import SeriesportError
from seriesport.model.series import SeriesReference
from seriesport.transports.archive.address import DicomAddress
from seriesport.transports.file.address import FileAddress
from seriesport.transports.registry import parse
from seriesport.transports.xnat.address import XnatAddress
from seriesport.transports.zip.address import ZipAddress

ROOT = Path(__file__).parents[1]
STUDY, SERIES = "1.2.840.113619.2.55.3.1", "1.2.840.113619.2.55.3.1.4"


class Desk:
    """A folder in which a user writes cohort files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, text: str | bytes, name: str = "cohort.yaml", mode: int = 0o600) -> list[Entry]:
        file = self.folder / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        file.chmod(mode)
        return read_cohort(file)

    def refusal(self, text: str | bytes, name: str = "cohort.yaml") -> tuple[str, list[str]]:
        """The reason code, and the message's lines after the file's name."""
        with pytest.raises(SeriesportError) as caught:
            self.read(text, name)
        start = str(self.folder / name)
        lines = caught.value.message.split("\n")
        assert all(line.startswith(start) for line in lines)
        return caught.value.code, [line.removeprefix(start) for line in lines]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path)


def series(**changes: Any) -> SeriesReference:
    given: dict[str, Any] = {
        "address": FileAddress(Path("/x")),
        "patient_id": "0012345",
        "study_instance_uid": STUDY,
        "series_instance_uid": SERIES,
        "accession_number": "A001",
        "modality": "MR",
        "series_number": "4",
        "series_description": "t1_mprage",
    }
    return SeriesReference(**(given | changes))


# What an entry says


def test_an_entry_by_uids_names_one_series_of_the_archive(desk: Desk):
    [entry] = desk.read(
        f'cohort:\n- source: dicom://pacs/AE\n  patient: "00/12 #5"\n'
        f'  study: "{STUDY}"\n  series: "{SERIES}"\n'
    )
    assert entry.source == DicomAddress("pacs", None, "AE", "00/12 #5", STUDY, SERIES)
    assert entry.names_series
    assert entry.line == 2
    assert entry.formats is None
    assert entry.destinations == ()


def test_an_entry_by_accession_and_series_number_names_one_series(desk: Desk):
    [entry] = desk.read(
        'cohort: [{source: "dicom://p:104/AE", accession: "A/1", series_number: "04"}]'
    )
    assert entry.source == DicomAddress("p", 104, "AE", "", "A/1", "04")
    assert (entry.accession, entry.series_number) == ("A/1", "04")


def test_identifiers_stay_beside_the_address_of_a_folder_or_zip(desk: Desk):
    entries = desk.read(f'cohort:\n- {{source: scans, series: "{SERIES}"}}\n- source: a.zip?time\n')
    assert entries[0].source == FileAddress(desk.folder / "scans")
    assert entries[0].series == SERIES
    assert entries[1].source == ZipAddress(desk.folder / "a.zip", "time")


def test_identifiers_in_the_address_count_as_the_entrys_own(desk: Desk):
    [entry] = desk.read(
        f'cohort:\n- source: dicom://p/AE/0012/{STUDY}\n  patient: "0012"\n  series_number: "4"'
    )
    assert (entry.patient, entry.study, entry.series_number) == ("0012", STUDY, "4")
    assert entry.source == DicomAddress("p", None, "AE", "0012", STUDY, "4")


def test_an_entry_of_an_xnat_takes_scans_by_type_quality_and_series_number(desk: Desk):
    [entry] = desk.read(
        "cohort:\n- source: xnat://x/P/S 1/E\n  scan_type: 'T1*'\n  quality: [usable, '?']\n"
        '  series_number: "04"\n  destinations: [xnat://x/P/S/E, xnat://x/P/S/E/4]\n'
    )
    assert entry.source == XnatAddress("x", None, "P", "S 1", "E")
    fits = series(scan_type="T1w", quality="usable")
    assert entry.accepts(fits)
    assert entry.accepts(replace(fits, quality="?"))
    assert not entry.accepts(replace(fits, quality="unusable"))
    assert not entry.accepts(replace(fits, scan_type="xT1"))
    assert not entry.accepts(replace(fits, series_number="5"))


def test_defaults_hold_until_an_entry_says_otherwise(desk: Desk):
    first, second = desk.read(
        "defaults:\n  source: scans\n  destinations: [out, dicom://p/AE]\n  formats: [npz]\n"
        "  description_regex: ^t1\n  min_instances: 3\n"
        "cohort:\n- label: a\n- {source: b, destinations: [], formats: [], description: 't2*'}\n"
    )
    assert first.destinations == (parse("out"), parse("dicom://p/AE"))
    assert (first.formats, first.min_instances) == (("npz",), 3)
    assert (second.destinations, second.formats, second.min_instances) == ((), (), 3)
    assert not second.accepts(series(series_description="t1"))
    assert second.accepts(series(series_description="t2_tse"))


def test_anchors_and_merge_keys_work_as_in_any_yaml(desk: Desk):
    first, second = desk.read(
        "cohort:\n- &one {source: scans, destinations: &d [out]}\n- {<<: *one, label: b}\n"
    )
    assert second.destinations == first.destinations
    assert (second.label, second.line) == ("b", 3)


@pytest.mark.parametrize(
    ("keys", "changes", "accepted"),
    [
        ("", {}, True),
        ('patient: "0012345"', {}, True),
        ('patient: "12345"', {}, False),
        ('patient: "0012345"', {"patient_id": "12345"}, False),
        ('patient: "A*"', {"patient_id": "AB"}, False),
        (f'study: "{STUDY}"', {"study_instance_uid": STUDY + "1"}, False),
        ('accession: "A001"', {"accession_number": "A002"}, False),
        (f'series: "{SERIES}"', {"series_instance_uid": SERIES + "1"}, False),
        ('series_number: "04"', {}, True),
        ('series_number: "5"', {}, False),
        ('series_number: "4"', {"series_number": ""}, False),
        ("modality: [CT, MR]", {}, True),
        ("modality: [CT]", {}, False),
        ("modality: []", {}, True),
        ("description: t1_*", {}, True),
        ("description: '*mprage'", {}, True),
        ("description: t1", {}, False),
        ("description: T1_*", {}, False),
        ("description: mprage", {}, False),
        ("description: '1_*'", {}, False),
        ("description: 't?_[lmn]*'", {}, True),
        ("description: 't1[*]'", {"series_description": "t1*"}, True),
        ("description: 't1[*]'", {"series_description": "t1x"}, False),
        ("description_regex: mpr", {}, True),
        ("description_regex: ^mpr", {}, False),
        ("description_regex: (?i)^T1", {}, True),
    ],
)
def test_filters_choose_series(desk: Desk, keys: str, changes: dict[str, Any], accepted: bool):
    [entry] = desk.read(f"cohort:\n- source: scans\n  {keys}\n")
    assert entry.accepts(series(**changes)) is accepted


def test_a_series_below_the_least_number_of_instances_is_too_small(desk: Desk):
    asking, not_asking = desk.read("cohort:\n- {source: a, min_instances: 20}\n- {source: b}\n")
    assert asking.too_small(19)
    assert not asking.too_small(20)
    assert not asking.too_small(None)
    assert not not_asking.too_small(0)


def test_the_example_and_the_demos_cohort_are_read(tmp_path: Path):
    lay_out(tmp_path)
    example = shutil.copy(ROOT / "config" / "cohort.example.yaml", tmp_path / "cohort.yaml")
    example.chmod(0o600)
    for path in (example, tmp_path / "config" / "cohort.yaml"):
        assert len(read_cohort(path)) >= 4


# Identifiers are text


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (
            "0012345",
            '"patient: xxxxxxx" is a number to YAML; write it in quotes: patient: "xxxxxxx"',
        ),
        ("1.20", '"patient: x.xx" is a number to YAML; write it in quotes: patient: "x.xx"'),
        ("12:34:56", '"patient: xx:xx:xx" is a number'),
        ("NO", '"patient: xx" is a truth value'),
        ("2024-01-01", '"patient: xxxx-xx-xx" is a date'),
        ("2024-99-99", '"patient: xxxx-xx-xx" is a date'),
        ("0x1F", '"patient: xxxx" is a number'),
        ("1_000", '"patient: x_xxx" is a number'),
        ("9" * 5000, '"patient: ' + "x" * 40 + '" is a number'),
        ("", 'patient is empty to YAML; write it in quotes, patient: "…", or leave the key out'),
        ("~", "patient is empty to YAML"),
        ("#5", "patient is empty to YAML"),
    ],
)
def test_an_unquoted_identifier_is_refused_with_its_line_and_how_to_quote(
    desk: Desk, written: str, shown: str
):
    code, lines = desk.refusal(f"cohort:\n- source: scans\n  patient: {written}\n")
    assert code == "identifier-not-text"
    assert len(lines) == 1
    assert lines[0].startswith(f", line 3: {shown}")
    assert not re.search("[0-9]{2}", lines[0])


@pytest.mark.parametrize("key", ["label", "accession", "series_number", "study", "series"])
def test_every_identifier_must_be_text(desk: Desk, key: str):
    code, _ = desk.refusal(f"cohort:\n- {{source: scans, {key}: 12}}\n")
    assert code == "identifier-not-text"


@pytest.mark.parametrize(
    "identifier",
    ["00/12", "a#b", "a?b", "50%", "DOE^JOHN", "two words", "A*", "A\\B", "Ωß", "0012"],
)
def test_awkward_identifiers_are_kept_as_they_are(desk: Desk, identifier: str):
    entry = {"source": "dicom://p/AE", "patient": identifier, "accession": identifier}
    [read] = desk.read(yaml.safe_dump({"cohort": [entry]}))
    assert (read.patient, read.accession) == (identifier, identifier)
    assert read.source == DicomAddress("p", None, "AE", identifier, identifier)
    row = f'source,patient,accession\ndicom://p/AE,"{identifier}","{identifier}"\n'
    [same] = desk.read(row, "cohort.csv")
    assert (same.source, same.patient) == (read.source, identifier)


@pytest.mark.parametrize("wrong", [" 12", "12 ", "1\\n2", "1\\u200b2", "", "x" * 257])
def test_invisible_characters_in_an_identifier_are_refused(desk: Desk, wrong: str):
    code, [line] = desk.refusal(f'cohort:\n- source: scans\n  patient: "{wrong}"\n')
    assert code == "cohort-invalid"
    assert line.startswith(", line 3: patient must be text of 1 to 256 characters")


# What is wrong is told by line, without identifiers


def test_mistakes_are_shown_together_with_line_key_and_what_was_expected(desk: Desk):
    code, lines = desk.refusal(
        "defaults:\n"
        "  source: dicom://p/AE/50%\n"
        "  patient: '1'\n"
        "cohort:\n"
        "- pateint: '1'\n"
        "- study: '1 2'\n"
        "  modality: CT\n"
        "- formats: [npz, nfti]\n"
        "  min_instances: 0\n"
        "  max_series: many\n"
        "- 5\n"
        "- source: a\n"
        "  destinations:\n"
        "  - out\n"
        "  - dicom://p/AE/patient\n"
        "- source: a\n"
        "  description: a\n"
        "  description_regex: b\n"
        "- source: a\n"
        "  description_regex: '('\n"
    )
    assert code == "address-invalid"
    assert lines == [
        ", line 2: source: address, character 16: '%' in the patient must be written as %25",
        ", line 3: patient belongs into an entry, not into defaults",
        ", line 5: the key 'pateint' is unknown; did you mean 'patient'?",
        ", line 6: study must be a UID, which is numbers joined by dots",
        ", line 7: modality must be a list, not text; put it in [ ]",
        ", line 8: formats, item 2, must be one of: dicom, nifti, metaimage, npz, mat, preview",
        ", line 9: min_instances must be at least 1",
        ", line 10: max_series must be a whole number, not text; leave out the quotes",
        ", line 11: an entry must be keys with values, such as: source: …",
        ", line 15: a destination ends with the AE title; the images carry their own identifiers",
        ", line 18: description and description_regex exclude each other; keep one of them",
        ", line 20: description_regex is not a regular expression that Python can read",
    ]


def test_many_mistakes_end_after_twenty(desk: Desk):
    _, lines = desk.refusal("cohort:\n" + "- {source: a, patient: 1}\n" * 1000)
    assert len(lines) == 21
    assert lines[-1] == ": not checked further after 20 problems"


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("{}", "the entry has no source"),
        ("{source: dicom://p/AE, series_number: '4'}", "series_number needs its study"),
        (f"{{source: dicom://p/AE, series: '{SERIES}'}}", "series needs its study"),
        ("{source: dicom://p/AE, study: '21.03'}", "study is no DICOM UID"),
        ("{source: dicom://p/AE, accession: '1.2.3'}", "write study:"),
        (f"{{source: a, study: '{STUDY}', accession: 'A'}}", "study and accession exclude"),
        (
            f"{{source: a, series: '{SERIES}', series_number: '4'}}",
            "series and series_number exclude",
        ),
        ("{source: dicom://p/AE/1, patient: '2', accession: 'A'}", "patient is another one"),
        (f"{{source: dicom://p/AE/1/A, study: '{STUDY}'}}", "names the study already"),
        ("{source: a, destinations: [x, ./x]}", "names one place twice"),
        ("{source: a, destinations: [x, x]}", "names something twice"),
        ("{source: 'xnat://x/p', patient: 'a'}", "patient does not go here: an xnat://"),
        ("{source: a, scan_type: 'T1*'}", "scan_type goes with an xnat:// source alone"),
        ("{source: dicom://p/AE/1/A, quality: [usable]}", "quality goes with an xnat:// source"),
        ("{source: a, destinations: ['xnat://x/p/s']}", "names project, subject and experiment"),
        ("{source: a, series_description: b}", "series_description goes with template alone"),
        ("{source: a, template: t, series_number: '9999999999'}", "larger than DICOM can write"),
        ("{source: a, template: t, description: b}", "description does not go with template"),
        (
            "{source: a, template: t, series_description: 'a\\b'}",
            "without spaces at its ends, back",
        ),
        ("{source: a, series_number: 'four'}", 'a whole number in quotes, as in "4"'),
        ("{source: ~}", "source must be an address or a path, not nothing"),
        ("{source: a, patient: [a]}", "patient must be text of 1 to 256"),
        ("{source: a, input_order: tiem}", "input_order must be auto, none, or names such as time"),
    ],
)
def test_what_contradicts_itself_is_refused(desk: Desk, entry: str, says: str):
    code, [line] = desk.refusal(f"cohort:\n- {entry}\n")
    assert code == "cohort-invalid"
    assert line.startswith(", line 2: ")
    assert says in line


def test_a_truth_value_is_no_number_even_beside_one(desk: Desk):
    _, [line] = desk.refusal(
        "cohort:\n- {source: a, min_instances: 1}\n- {source: a, min_instances: true}\n"
    )
    assert line == ", line 3: min_instances must be a whole number, not true or false"


def test_a_line_feed_at_the_end_of_a_path_is_refused(desk: Desk):
    _, [line] = desk.refusal('cohort:\n- source: "scans\\n"\n')
    assert line == ", line 2: source must be an address or a path"


def test_a_label_stands_once(desk: Desk):
    _, lines = desk.refusal("cohort:\n- {source: a, label: x}\n- source: a\n  label: x\n")
    assert lines == [", line 4: the label is that of line 2 too"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: the file must have the key 'cohort'"),
        ("cohort: none", "line 1: below 'cohort' stands a list: each entry begins"),
        ("cohort: []", "lists no series"),
        ("- source: a", "line 1: the file must have the key 'cohort'"),
        ("cohort:\n- source: a\n  source: b", "line 3: this key stands here a second time"),
        ("cohort:\n- source: a\n  1: b", "line 3: this key is not text"),
        ("cohort:\n- source: a\n patient: b", "line 3: YAML cannot be read"),
        ("cohort:\n  - label: a\n\tpatient: CANARY", "line 3: this line is indented with a tab"),
        ("cohort:\n\t- label: CANARY", "line 2: this line is indented with a tab; use spaces"),
        ("cohort:\n- patient: *CANARY", "line 2: a text that begins with '*' needs quotes"),
        ("cohort:\n- patient: !CANARY", "line 2: a text that begins with '!' needs quotes"),
        ("cohort:\n- patient: @CANARY", "needs quotes"),
        ('cohort:\n- patient: "CANARY\\q"', "single quotes"),
        ('cohort:\n- patient: "CANARY', "a quote is never closed"),
        ("cohort: []\n---\ncohort: []", "line 2: a second document"),
        ("cohort: " + "[" * 100_000, "deep"),
        ("cohort: &a [*a]", "needs quotes"),
        ("cohort:\n- patient: CANARY\0", "line 2: this line holds a control character"),
        (b"cohort:\n- patient: CANARY\xff", "line 2: this is not UTF-8 text"),
        ("cohort:\n- {source: a, CANARY: b}", "line 2: this key is unknown; there are: label"),
        ("cohorts: []\ncohort: [{source: a}]", "line 1: the key 'cohorts' is unknown"),
        ("demo: 1\ncohort: [{source: a}]", "line 1: demo must be true or false"),
    ],
)
def test_a_file_that_is_no_cohort_is_refused_with_its_line(
    desk: Desk, text: str | bytes, says: str
):
    code, lines = desk.refusal(text)
    assert code == "cohort-invalid"
    assert says in lines[0]
    assert "CANARY" not in "".join(lines)


def test_aliases_that_multiply_are_refused_quickly(desk: Desk):
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
    )
    code, [line] = desk.refusal(laughs)
    assert code == "cohort-invalid"
    assert "more than" in line


CANARY = "Q7CANARY7Q"
KEYS = sorted(load_schema("cohort")["$defs"]["entry"]["properties"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    key=st.sampled_from([*KEYS, "wrong"]),
    around=st.sampled_from(
        ["{}", "[{}]", "'{}\x01'", '"{}\\u200b"', "{}: {}", "&{} x", "dicom://p/{}/%"]
    ),
    name=st.sampled_from(["cohort.yaml", "cohort.csv"]),
)
def test_no_message_repeats_a_value(desk: Desk, key: str, around: str, name: str):
    value = around.replace("{}", CANARY)
    text = f"cohort:\n- source: dicom://p/AE\n  {key}: {value}\n"
    if name.endswith(".csv"):
        text = f"{key};source\n{value};dicom://p/AE\n"
    told = ""
    try:
        desk.read(text, name)
    except SeriesportError as error:
        told = str(error)
    assert CANARY not in told


# Who may read the file


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_file_that_others_can_read_is_refused(desk: Desk, mode: int):
    for name, text in (("cohort.yaml", "cohort: [{source: a}]"), ("cohort.tsv", "source\na\n")):
        with pytest.raises(SeriesportError) as caught:
            desk.read(text, name, mode)
        assert caught.value.code == "cohort-not-private"
        assert f"chmod 0600 {desk.folder / name}" in caught.value.message


def test_the_demos_file_may_be_read_by_others(desk: Desk):
    assert desk.read("demo: true\ncohort: [{source: a}]", mode=0o644)
    (desk.folder / "list.tsv").write_text("source\na\n")
    assert read_cohort(desk.folder / "list.tsv", demo=True)


def test_a_file_that_is_not_there_is_named(desk: Desk):
    for path in (desk.folder / "none.yaml", desk.folder):
        with pytest.raises(SeriesportError) as caught:
            read_cohort(path)
        assert caught.value.code == "file-unreadable"


def test_an_unknown_kind_of_file_is_refused(desk: Desk):
    _, [line] = desk.refusal("x", "cohort.xlsx")
    assert ".tsv" in line


# Tables


def test_a_table_says_the_same_as_yaml(desk: Desk):
    [row] = desk.read(
        "Label\tsource\tpatient\tstudy\tseries number\tmodality\tdescription\tmin-instances\t"
        "max_series\tdestinations\tformats\n"
        f"a\tdicom://p/AE\t0012345\t{STUDY}\t4\tCT|MR\tt1_*\t20\t3\tout | dicom://p/AE\tnone\n",
        "cohort.tsv",
    )
    [entry] = desk.read(
        f'\ncohort: [{{label: a, source: "dicom://p/AE", patient: "0012345", study: "{STUDY}", '
        'series_number: "4", modality: [CT, MR], description: t1_*, min_instances: 20, '
        "max_series: 3, destinations: [out, dicom://p/AE], formats: []}]"
    )
    assert row == entry


@pytest.mark.parametrize("separator", ["\t", ",", ";"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_spreadsheets_table_is_read_however_it_was_saved(
    desk: Desk, separator: str, end: str, encoding: str
):
    inner = "," if separator == "\t" else separator
    rows = [
        ["# made by hand"],
        ["patient", "source", "description", ""],
        [],
        ["0012", " scans ", f'"a{inner}""b"""', "", ""],
        ["# a comment; with, all\tmarks"],
        ["", "", "", ""],
        ['"#12"', "scans"],
        ["Müller", "scans"],
    ]
    text = end.join(separator.join(row) for row in rows)
    entries = desk.read(text.encode(encoding), "cohort.csv")
    assert [entry.patient for entry in entries] == ["0012", "#12", "Müller"]
    assert [entry.line for entry in entries] == [4, 7, 8]
    assert entries[0].accepts(series(patient_id="0012", series_description=f'a{inner}"b"'))
    assert entries[0].source == FileAddress(desk.folder / "scans")


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("1.2E+10", "rounded by a spreadsheet"),
        ("1,2E+10", "rounded by a spreadsheet"),
        ("'0012", "apostrophe"),
        ("#REF!", "formula"),
        ("########", "formula"),
    ],
)
def test_what_a_spreadsheet_spoilt_is_refused_with_its_line(desk: Desk, cell: str, says: str):
    code, [line] = desk.refusal(f"source;patient\na;1\na;{cell}\n", "cohort.csv")
    assert code == "identifier-not-text"
    assert line.startswith(", line 3: patient ")
    assert says in line


def test_a_formula_that_keeps_text_is_read_as_the_text(desk: Desk):
    [entry] = desk.read('source;patient\na;="0012"\n', "cohort.csv")
    assert entry.patient == "0012"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ": the table has no header line"),
        ("# only\n\n", ": the table has no header line"),
        ("source\n", " lists no series"),
        ("CANARY,1.2.3\n", ", line 1: the first line must name the columns"),
        ("source,pateint\n", ", line 1: column 2: the column 'pateint' is unknown; did you mean"),
        ("source,CANARY\n", ", line 1: column 2: this column is unknown"),
        ("source,source\n", ", line 1: column 2: source is there twice"),
        ("source,patient\na,1,CANARY\n", ", line 2: the row has more cells"),
        ("source,,patient\na,CANARY,1\n", ", line 2: a cell stands in a column without a name"),
        ('source,patient\na,1\n"a,CANARY\na,2\n', ", line 3: the quotes of a cell"),
        ('source,patient\na,"CANARY\n2"\n', ", line 3: patient must be text"),
        ("patient,source\n#CANARY,a\n", ", line 2: write '# ' for a comment"),
        ("source,min_instances\na,20.5\n", ", line 2: min_instances must be a whole number"),
        ("source,formats\na,nfti|npz\n", ", line 2: formats, item 1, must be one of"),
        ("source,modality\na,CT MR x\n", ", line 2: modality, item 1, must be a modality"),
        ("source,destinations\na,x|\n", ", line 2: destinations, item 2, must be an address"),
        (
            "source,destinations\na,x|zip://y\n",
            ", line 2: destinations, item 2: address, character",
        ),
        (b"PK\x03\x04CANARY", ": this is a spreadsheet program's own file; save the table as"),
        ("source,label\na;CANARY\n", ", line 2: the cells are separated in another way than in"),
        ("source\tmodality\na\tCT,MR\n", ", line 2: modality: put '|' between items, as in CT|MR"),
        (b"source,patient\na,M\xfcCANARY\n", ", line 2: this is not UTF-8 text; save the table as"),
    ],
)
def test_a_table_with_a_mistake_is_refused_with_its_line(desk: Desk, text: str | bytes, says: str):
    _, [line] = desk.refusal(text, "cohort.csv")
    assert line.startswith(says)
    assert "CANARY" not in line


@pytest.mark.slow
def test_a_hundred_thousand_rows_are_read_in_little_memory(desk: Desk):
    head = "label\tsource\tpatient\tstudy\tseries\tdestinations\n"
    rows = (
        f"l{i}\tdicom://p/AE\t{i:08d}\t{STUDY}.{i}\t{STUDY}.{i}.1\tout|dicom://p/AE\n"
        for i in range(100_000)
    )
    file = desk.folder / "cohort.tsv"
    file.write_text(head + "".join(rows))
    file.chmod(0o600)
    code = (
        "import re, sys; from pathlib import Path;"
        "from seriesport.cohort import read_cohort;"
        "entries = read_cohort(Path(sys.argv[1]));"
        # its own high-water mark: ru_maxrss begins with that of the process which started it
        "status = Path('/proc/self/status').read_text();"
        "print(len(entries), int(re.search(r'VmHWM:\\s*(\\d+)', status)[1]) / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, file], capture_output=True, text=True, check=True, timeout=60
    )
    count, megabytes = map(float, done.stdout.split())
    assert count == 100_000
    assert megabytes < 300


# The library's own checks and the schema say the same


identifiers = st.one_of(st.text(max_size=70), st.sampled_from(["1.2.3", "04", "0012", " x", "x\n"]))
values = st.one_of(
    identifiers,
    st.integers(-2, 3),
    st.booleans(),
    st.none(),
    st.lists(
        st.one_of(st.sampled_from(["CT", "npz", "out", "ct "]), st.integers(0, 1)), max_size=3
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(KEYS), values), min_size=1, max_size=6))
def test_what_the_reader_takes_fits_the_schema(desk: Desk, pairs: list[tuple[str, Any]]):
    cohort = [{"source": "scans", key: value} for key, value in pairs]
    try:
        desk.read(yaml.safe_dump({"cohort": cohort}, allow_unicode=True))
    except SeriesportError:
        return
    Draft202012Validator(load_schema("cohort")).validate({"cohort": cohort})
