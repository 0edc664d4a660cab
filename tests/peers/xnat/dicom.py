"""What the server reads from the DICOM files of an import."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

MODALITY_TYPES = {
    "MR": "mr", "CT": "ct", "PT": "pet", "CR": "cr", "DX": "dx", "MG": "mg", "NM": "nm", "US": "us",
    "XA": "xa", "RF": "rf", "OP": "op", "OPT": "opt", "SM": "sm", "ES": "es", "SC": "sc",
    "SR": "sr", "SEG": "seg", "RTIMAGE": "rtImage",
}  # fmt: skip


@dataclass
class Slice:
    """One image's header."""

    kind: str
    """Modality (0008,0060)."""
    xsi: str
    number: str
    instance: str
    study: str
    patient_id: str
    patient_name: str
    fields: dict[str, str] = field(default_factory=dict)
    """Of the scan."""
    session: dict[str, str] = field(default_factory=dict)
    """Of the session."""


def read_slice(content: bytes) -> Slice | None:
    """An image's header; None for what is no DICOM. Its end is not looked at."""
    import pydicom  # noqa: PLC0415
    from pydicom.errors import InvalidDicomError  # noqa: PLC0415

    try:
        found = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
    except (InvalidDicomError, EOFError, ValueError, OSError):
        return None
    if "SeriesInstanceUID" not in found:
        return None
    kind = _text(found, "Modality") or "OT"
    short = MODALITY_TYPES.get(kind, "otherDicom")
    machine = {
        "scanner/manufacturer": _text(found, "Manufacturer"),
        "scanner/model": _text(found, "ManufacturerModelName"),
    }
    return Slice(
        kind,
        f"xnat:{short}ScanData",
        _text(found, "SeriesNumber") or "1",
        _text(found, "SOPInstanceUID"),
        _text(found, "StudyInstanceUID"),
        _text(found, "PatientID"),
        _text(found, "PatientName"),
        {**_scan_fields(found), **machine},
        {**session_fields(found), **machine},
    )


def _scan_fields(found: Any) -> dict[str, str]:
    words = {
        "UID": _text(found, "SeriesInstanceUID"),
        "series_description": _text(found, "SeriesDescription"),
        "type": _text(found, "SeriesDescription"),
        "startTime": _time(_text(found, "SeriesTime")),
        "parameters/fov/x": _text(found, "Columns"),
        "parameters/fov/y": _text(found, "Rows"),
        "parameters/voxelRes/z": _text(found, "SliceThickness"),
        "parameters/orientation": "Tra" if "ImageOrientationPatient" in found else "",
    }
    spacing = found.get("PixelSpacing")
    if spacing:
        words |= {
            "parameters/voxelRes/x": str(spacing[1]),
            "parameters/voxelRes/y": str(spacing[0]),
        }
    return words


def session_fields(found: Any) -> dict[str, str]:
    """What a session takes from an image."""
    day = _text(found, "StudyDate")
    return {
        "date": f"{day[:4]}-{day[4:6]}-{day[6:8]}" if len(day) == 8 else "",
        "time": _time(_text(found, "StudyTime")),
        "UID": _text(found, "StudyInstanceUID"),
        "modality": _text(found, "Modality"),
        "session_type": _text(found, "StudyDescription"),
        "dcmPatientId": _text(found, "PatientID"),
        "dcmPatientName": _text(found, "PatientName"),
        "dcmAccessionNumber": _text(found, "AccessionNumber"),
    }


def renamed(content: bytes, names: tuple[str, str, str]) -> bytes:
    """What XNAT's own script makes of an image when it is archived: other bytes than were sent.

    `names` are those of project, subject and session.
    """
    import pydicom  # noqa: PLC0415
    from pydicom.errors import InvalidDicomError  # noqa: PLC0415

    out = io.BytesIO()
    try:
        found = pydicom.dcmread(io.BytesIO(content))
        found.StudyDescription, found.PatientName, found.PatientID = names
        found.PatientIdentityRemoved, found.DeidentificationMethod = "YES", "XNAT"
        found.save_as(out)
    except (InvalidDicomError, EOFError, ValueError, OSError, AttributeError):
        return content
    return out.getvalue()


def session_type(kinds: set[str]) -> str:
    """The type of a session with scans of these modalities."""
    if {"PT", "MR"} <= kinds:
        return "xnat:petmrSessionData"
    for kind in ("PT", "MR", "CT"):
        if kind in kinds:
            return f"xnat:{MODALITY_TYPES[kind]}SessionData"
    short = MODALITY_TYPES.get(min(kinds, default=""), "otherDicom")
    # Documents such as reports and segmentations have scans, and no sessions of their own.
    short = "otherDicom" if short in ("sr", "seg", "rtImage") else short
    return f"xnat:{short}SessionData"


def _text(found: Any, keyword: str) -> str:
    value = found.get(keyword)
    return "" if value is None else str(value)


def _time(text: str) -> str:
    return f"{text[:2]}:{text[2:4]}:{text[4:6]}" if len(text) >= 6 else ""
