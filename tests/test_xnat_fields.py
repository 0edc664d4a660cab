"""What XNAT records of a session and a scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pydicom
import pytest
from pydicom.uid import (
    BasicTextSRStorage,
    CTImageStorage,
    EnhancedMRImageStorage,
    PositronEmissionTomographyImageStorage,
    RTStructureSetStorage,
)

import data
from seriesport.dicom.part10 import load_instance
from seriesport.transports.xnat.fields import (
    Facts,
    scan_number,
    scan_types,
    session_fields,
    session_types,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("sop_class", "modality", "session", "scan"),
    [
        (CTImageStorage, "CT", "ct", "ct"),
        (EnhancedMRImageStorage, "MR", "mr", "mr"),
        (PositronEmissionTomographyImageStorage, "PT", "pet", "pet"),
        (BasicTextSRStorage, "SR", "sr", "sr"),
        (RTStructureSetStorage, "RTSTRUCT", "otherDicom", "rtImage"),
        ("1.2.3", "MR", "mr", "mr"),
        ("", "PT", "pet", "pet"),
        ("", "??", "otherDicom", "otherDicom"),
    ],
)
def test_session_and_scan_have_the_types_of_xnats_importer(
    sop_class: str, modality: str, session: str, scan: str
) -> None:
    assert session_types(sop_class, modality)[0] == f"xnat:{session}SessionData"
    assert scan_types(sop_class, modality)[0] == f"xnat:{scan}ScanData"
    assert scan_types(sop_class, modality)[-1] == "xnat:otherDicomScanData"


@pytest.mark.parametrize(
    ("number", "scan"),
    [
        ("4", "4"),
        ("+4", "_4"),
        ("", "1_2_3"),
        ("a/b", "1_2_3"),
        ("..", "1_2_3"),
        ("1.5", "1_2_3"),
        ("é", "1_2_3"),
    ],
)
def test_a_scan_is_named_by_its_number_or_else_its_uid(number: str, scan: str) -> None:
    assert scan_number(number, "1.2.3") == scan


def changed(made: data.Made, **values: str) -> None:
    for path in made.paths:
        data_set = pydicom.dcmread(path)
        for name, value in values.items():
            setattr(data_set, name, value)
        data_set.save_as(path)


def facts_of(made: data.Made, xsi_type: str) -> dict[str, str]:
    facts = Facts()
    for path in made.paths:
        instance = load_instance(path)
        content = instance.payload.open().read()
        facts.note(instance.uid, content[:65536], len(content), instance.transfer_syntax_uid)
    return facts.fields(xsi_type)


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "deflated", "big-endian"])
def test_the_headers_give_a_scans_fields(tmp_path: Path, syntax: str) -> None:
    made = data.mr(tmp_path, data.identity("f"), times=1, slices=2, size=16, syntax=syntax)
    words = {"Manufacturer": "Ä\\B", "SeriesTime": "101112.5", "SeriesDate": "20240102"}
    changed(made, **words, MagneticFieldStrength="30000", RepetitionTime="2000.0")
    fields = facts_of(made, "xnat:mrScanData")
    assert fields["frames"] == "2"
    assert fields["startTime"] == "10:11:12"
    assert fields["fieldStrength"] == "3.0"
    assert fields["parameters/tr"] == "2000"
    assert fields["scanner/manufacturer"] == "Ä\\B"
    assert "fieldStrength" not in facts_of(made, "xnat:ctScanData")


def test_what_differs_within_a_series_is_no_field_of_its_scan(tmp_path: Path) -> None:
    made = data.mr(tmp_path, data.identity("f"), times=1, slices=2, size=16)
    one, other = (pydicom.dcmread(path) for path in made.paths)
    one.EchoTime, other.EchoTime = "10", "20"
    one.save_as(made.paths[0])
    other.save_as(made.paths[1])
    assert "parameters/te" not in facts_of(made, "xnat:mrScanData")


@pytest.mark.parametrize(
    ("date", "field"), [("20240229", "2024-02-29"), ("20230229", None), ("", None), ("2024", None)]
)
def test_a_session_has_the_studys_date_where_it_is_one(
    tmp_path: Path, date: str, field: str | None
) -> None:
    made = data.ct(tmp_path, data.identity("f"), slices=1, size=16)
    changed(made, StudyDate=date)
    fields = session_fields(load_instance(made.paths[0]))
    assert fields.get("date") == field
    assert fields["UID"] == made.identity.study_instance_uid
