"""The fields that a PUT gives, in its query or as an XML document."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from peers.xnat.http import Request, fail
from peers.xnat.listing import DEMOGRAPHICS

if TYPE_CHECKING:
    from peers.xnat.routes import Service

NOT_FIELDS = {
    "xsiType", "req_format", "format", "event_reason", "event_type", "event_action", "event_id",
    "allowDataDeletion", "removeFiles", "inbody", "triggerPipelines", "activate", "quarantine",
    "columns", "overwrite",
}  # fmt: skip
MODALITIES = {
    "mr", "ct", "pet", "petmr", "cr", "dx", "dx3DCraniofacial", "ecg", "eeg", "eps", "esv", "es",
    "gmv", "gm", "hd", "io", "meg", "mg", "nm", "op", "opt", "rf", "rt", "sm", "us", "voiceAudio",
    "xa3D", "xa", "xcv", "xc", "sc", "otherDicom",
}  # fmt: skip
SCANS = MODALITIES | {"seg", "sr", "pr", "ko", "unknown", "rtImage"}
SCAN = {
    "ID", "type", "UID", "quality", "note", "condition", "series_description", "documentation",
    "scanner", "scanner/manufacturer", "scanner/model", "modality", "operator", "frames",
    "startTime", "start_date", "stationName", "fieldStrength", "coil", "marker",
    "stabilization", "bodyPart", "series_class", "series_number", "protocolName", "data_type",
    "requestedProcedureDescription", "pixelBandwidth", "date", "time",
}  # fmt: skip
EXPERIMENT = {
    "ID", "label", "date", "time", "note", "project", "visit_id", "visit", "version", "original",
    "protocol", "acquisition_site", "investigator", "session_type", "modality", "UID", "operator",
    "scanner", "scanner/manufacturer", "scanner/model", "dcmAccessionNumber", "dcmPatientId",
    "dcmPatientName", "dcmPatientBirthDate", "dcmPatientWeight", "prearchivePath", "duration",
    "fieldStrength", "studyType", "patientID", "patientName", "subject_ID", "age", "coil",
}  # fmt: skip
SUBJECT = {"ID", "label", "group", "src", "project", *DEMOGRAPHICS}
PROJECT = {"ID", "name", "secondary_ID", "description", "keywords", "alias"}
OF_THE_PATH = ("ID", "label", "project", "subject_ID")
"""Fields that the path says."""
NO_XML = (
    "org.xml.sax.SAXParseException; lineNumber: 1; columnNumber: 1; "
    "Content is not allowed in prolog."
)


@dataclass
class Given:
    """What a PUT says of an item."""

    xsi: str = ""
    words: dict[str, str] = field(default_factory=dict)


def given(service: Service, request: Request, allowed: set[str]) -> Given:
    """The type and the fields that a PUT gives. One field that does not exist loses all of them.

    An older XNAT stores a text of the query XML-escaped, and that of a document as it is.
    """
    is_xml = "xml" in request.headers.get("content-type", "")
    if request.body and (is_xml or request.flag("inbody")):
        return _of_document(request.body, allowed)
    words, known = _of_query(request, allowed)
    if service.old:
        words = {key: escaped(value) for key, value in words.items() if key != "start_date"}
    return Given(request.query.get("xsiType", ""), words if known else {})


def escaped(value: str) -> str:
    """A text as Java's `escapeXml` writes it."""
    plain = escape(value, {'"': "&quot;", "'": "&apos;"})
    return plain.encode("ascii", "xmlcharrefreplace").decode()


def _of_query(request: Request, allowed: set[str]) -> tuple[dict[str, str], bool]:
    """The fields of the query, and whether all of them exist in the data model."""
    words: dict[str, str] = {}
    known = True
    spelled = {name.lower(): name for name in allowed}
    for key, value in request.query.items():
        if key in NOT_FIELDS:
            continue
        name = key.partition("/")[2] if ":" in key else key
        name = re.sub(r"\[@?[^\]]*\]", "", name).removeprefix("demographics/")
        name = spelled.get(name.lower(), name)
        known &= name in allowed or name.startswith(("parameters/", "fields/field"))
        words[name] = value
    return {key: value for key, value in words.items() if key not in OF_THE_PATH}, known


def _of_document(body: bytes, allowed: set[str]) -> Given:
    try:
        root = ET.fromstring(body)
    except ET.ParseError:
        raise fail(422, NO_XML) from None
    words: dict[str, str] = {}
    _flatten(root, "", words)
    for name in words:
        if name not in allowed and not name.startswith("parameters/"):
            raise fail(422, f"Element not found: '{name}'")
    return Given(
        _type(_local(root.tag)),
        {key: value for key, value in words.items() if key not in OF_THE_PATH},
    )


def _type(element: str) -> str:
    """The type of the item that an element describes, such as xnat:mrScanData of MRScan."""
    for ending in ("Scan", "Session"):
        name = element.removesuffix(ending)
        known = next((each for each in SCANS if each.lower() == name.lower()), name)
        if name != element:
            return f"xnat:{known}{ending}Data"
    return f"xnat:{element[:1].lower()}{element[1:]}Data"


def _flatten(element: ET.Element, path: str, words: dict[str, str]) -> None:
    for name, value in element.attrib.items():
        if not name.startswith("{"):
            words[f"{path}{name}"] = value
    for child in element:
        below = f"{path}{_local(child.tag)}"
        if child.text and child.text.strip():
            words[below] = child.text
        _flatten(child, f"{below}/", words)


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def check_date(words: dict[str, str]) -> None:
    """Refuse what is no date."""
    try:
        date.fromisoformat(words.get("date") or "2000-01-01")
    except ValueError:
        raise fail(
            400,
            "The content of element 'xnat:experimentData' is not complete. "
            "'{\"http://nrg.wustl.edu/xnat\":date}' Must Be A Valid Date\n",
        ) from None
