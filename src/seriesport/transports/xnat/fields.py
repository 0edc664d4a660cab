"""What XNAT records of a session and a scan: the data types, and the fields from the headers.

The types are those of XNAT's own importer (dicom-xnat-sop: series-scans.properties,
study-sessions.properties, modality-sessions.properties), and so are the fields (dicom-xnat-mx:
ImageScanAttributes, MRScanAttributes, CTScanAttributes).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from html import unescape
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from seriesport.dicom.part10 import read_texts
from seriesport.dicom.readers import bytes_reader, stream_reader
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from seriesport.model.instance import Instance
    from seriesport.model.series import SeriesReference

OTHER_SESSION, OTHER_SCAN = "xnat:otherDicomSessionData", "xnat:otherDicomScanData"

_BY_CLASS = {
    "1": ("cr", "cr"),
    "1.1": ("dx", "dx"),
    "1.1.1": ("dx", "dx"),
    "1.2": ("mg", "mg"),
    "1.2.1": ("mg", "mg"),
    "1.3": ("", "io"),
    "1.3.1": ("", "io"),
    "2": ("ct", "ct"),
    "2.1": ("ct", "ct"),
    "3.1": ("us", "us"),
    "4": ("mr", "mr"),
    "4.1": ("mr", "mr"),
    "4.3": ("mr", "mr"),
    "6.1": ("us", "us"),
    "7": ("", "sc"),
    "9.1.1": ("ecg", "ecg"),
    "9.1.3": ("ecg", "ecg"),
    "9.2.1": ("", "hd"),
    "9.3.1": ("", "eps"),
    "12.1": ("xa", "xa"),
    "12.2": ("", "rf"),
    "13.1.1": ("xa", "xa"),
    "13.1.2": ("", "dx3DCraniofacial"),
    "20": ("nm", "nm"),
    "66.4": ("", "seg"),
    "77.1.1.1": ("", "esv"),
    "77.1.2": ("gm", "gm"),
    "77.1.2.1": ("", "gmv"),
    "77.1.4.1": ("", "xcv"),
    "77.1.5.1": ("", "op"),
    "77.1.5.2": ("", "op"),
    "77.1.5.4": ("opt", "opt"),
    "77.1.6": ("sm", "sm"),
    "88.11": ("sr", "sr"),
    "88.22": ("sr", "sr"),
    "88.33": ("", "sr"),
    "88.50": ("", "sr"),
    "88.65": ("", "sr"),
    "88.67": ("", "sr"),
    "128": ("pet", "pet"),
    "130": ("pet", "pet"),
    "481.1": ("rt", "rtImage"),
    "481.2": ("rt", "rtImage"),
    "481.3": ("", "rtImage"),
    "481.4": ("", "rtImage"),
    "481.5": ("", "rtImage"),
    "481.6": ("", "rtImage"),
    "481.7": ("", "rtImage"),
    "481.8": ("", "rtImage"),
    "481.9": ("", "rtImage"),
}
"""Session and scan by the end of the storage SOP class's UID; empty: by the modality."""
_STORAGE = "1.2.840.10008.5.1.4.1.1."

_SESSIONS = {
    "MR": "mr", "PT": "pet", "CT": "ct", "XA": "xa", "US": "us", "IVUS": "us", "RT": "rt",
    "CR": "cr", "OPT": "opt", "MG": "mg", "DX": "dx", "NM": "nm", "SR": "sr", "SM": "sm",
    "GM": "gm", "RF": "rf", "ES": "es", "XC": "xc", "ECG": "ecg", "EEG": "eeg",
}  # fmt: skip
"""Session by modality."""

_SCANS = {
    "MR": "mr", "PT": "pet", "CT": "ct", "XA": "xa", "US": "us", "IVUS": "us", "CR": "cr",
    "OPT": "opt", "MG": "mg", "DX": "dx", "NM": "nm", "SR": "sr", "SM": "sm", "GM": "gm",
    "RF": "rf", "SEG": "seg", "RTIMAGE": "rtImage", "RTDOSE": "rtImage", "RTSTRUCT": "rtImage",
    "RTPLAN": "rtImage", "IO": "io", "OP": "op", "ECG": "ecg", "EPS": "eps", "HD": "hd",
}  # fmt: skip
"""Scan by modality, where the SOP class is not known."""


def session_types(sop_class_uid: str, modality: str) -> tuple[str, ...]:
    """Types for a session that begins with such a series, best first; old servers lack some."""
    by_class, _ = _BY_CLASS.get(sop_class_uid.removeprefix(_STORAGE), ("", ""))
    kind = by_class or _SESSIONS.get(modality.upper(), "")
    return (f"xnat:{kind}SessionData", OTHER_SESSION) if kind else (OTHER_SESSION,)


def scan_types(sop_class_uid: str, modality: str) -> tuple[str, ...]:
    """Types for a scan of such a series, best first; old servers lack some."""
    _, by_class = _BY_CLASS.get(sop_class_uid.removeprefix(_STORAGE), ("", ""))
    kind = by_class or _SCANS.get(modality.upper(), "")
    return (f"xnat:{kind}ScanData", OTHER_SCAN) if kind else (OTHER_SCAN,)


def is_scan_id(text: str) -> bool:
    """Return True for what XNAT takes as the ID of a new scan: it answers 500 to any other."""
    return re.fullmatch("[A-Za-z0-9_-]{1,64}", text) is not None and text != "ALL"


def scan_number(series_number: str, series_instance_uid: str) -> str:
    """The ID of a new scan: the series number, else the UID, as in XNAT's DICOMSessionBuilder."""
    number = re.sub(r"^\+", "_", series_number)
    if is_scan_id(number):
        return number
    return re.sub("[^A-Za-z0-9_]", "_", series_instance_uid)


def identifying_fields(series_uid: str, description: str, modality: str) -> dict[str, str]:
    """The fields that a new scan begins with; every version of XNAT has them."""
    described = _line(description)
    known = {
        "UID": series_uid,
        "series_description": described,
        "type": described,
        "quality": "usable",
        "modality": _line(modality),
    }
    return {name: value for name, value in known.items() if value}


# Attributes of PS3.6 by their tags
_STUDY_DATE, _SERIES_TIME = 0x00080020, 0x00080031
_FRAMES = 0x00280008
_FIELD_STRENGTH = 0x00180087

_Convert = Callable[[str], str]


def _line(text: str) -> str:
    """A text as a field holds it: one line of at most 255 characters."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text).split())[:255]


def _date(text: str) -> str:
    """A DA (PS3.5 section 6.2) as ISO 8601; empty where it is no date."""
    match = re.fullmatch(r"(\d{4})\.?(\d\d)\.?(\d\d)", text.strip(), re.ASCII)
    try:
        return date(*map(int, match.groups())).isoformat() if match else ""
    except ValueError:
        return ""


def _time(text: str) -> str:
    """A TM (PS3.5 section 6.2) as hours, minutes and seconds; empty where it is no time."""
    match = re.fullmatch(r"(\d\d):?(\d\d)?:?(\d\d)?(\.\d*)?", text.strip(), re.ASCII)
    if match is None:
        return ""
    hour, minute, second = (int(part or 0) for part in match.groups()[:3])
    return (
        f"{hour:02}:{minute:02}:{second:02}"
        if max(hour - 23, minute - 59, second - 59) <= 0
        else ""
    )


def _real(text: str) -> str:
    """A DS as a number; empty where it is none, or several."""
    return f"{float(text):g}" if re.fullmatch(r"[+-]?\d+(\.\d*)?([eE][+-]?\d{1,2})?", text) else ""


def _tesla(text: str) -> str:
    """A field strength rounded to 0.5 T; what is above 500 was given in gauss."""
    number = _real(text)
    if not number:
        return ""
    strength = float(number)
    strength = strength / 10000 if strength >= 500 else strength
    return str(round(strength * 2) / 2) if strength >= 0.25 else number


_ALL: dict[str, tuple[int, _Convert]] = {
    "scanner": (0x00081010, _line),
    "scanner/manufacturer": (0x00080070, _line),
    "scanner/model": (0x00081090, _line),
    "startTime": (_SERIES_TIME, _time),
    "requestedProcedureDescription": (0x00321060, _line),
    "protocolName": (0x00181030, _line),
    "bodyPartExamined": (0x00180015, _line),
}
_MR: dict[str, tuple[int, _Convert]] = {
    "fieldStrength": (_FIELD_STRENGTH, _tesla),
    "coil": (0x00181250, _line),
    "parameters/tr": (0x00180080, _real),
    "parameters/te": (0x00180081, _real),
    "parameters/ti": (0x00180082, _real),
    "parameters/flip": (0x00181314, _real),
    "parameters/sequence": (0x00180024, _line),
    "parameters/imageType": (0x00080008, _line),
    "parameters/scanSequence": (0x00180020, _line),
    "parameters/seqVariant": (0x00180021, _line),
    "parameters/scanOptions": (0x00180022, _line),
    "parameters/acqType": (0x00180023, _line),
}
_CT: dict[str, tuple[int, _Convert]] = {
    "parameters/kvp": (0x00180060, _real),
    "parameters/imageType": (0x00080008, _line),
    "parameters/options": (0x00180022, _line),
}
_MORE = {"xnat:mrScanData": _MR, "xnat:ctScanData": _CT}
_TAGS = frozenset({_FRAMES, *(tag for table in (_ALL, _MR, _CT) for tag, _ in table.values())})


class Facts:
    """What the headers of a series say, gathered while its data sets pass."""

    def __init__(self) -> None:
        self._values: dict[int, set[str]] = {}
        self._frames: dict[str, int] = {}

    def note(self, uid: str, head: bytes, size: int, transfer_syntax_uid: str) -> None:
        """Take the beginning of a data set of `size` bytes into account.

        One whose attributes do not lie within `head` counts as one frame and says nothing else.
        """
        try:
            texts = read_texts(bytes_reader(head), size, transfer_syntax_uid, _TAGS)
        except SeriesportError:
            texts = {}
        for tag, text in texts.items():
            self._values.setdefault(tag, set()).add(text)
        frames = texts.get(_FRAMES, "")
        self._frames[uid] = int(frames) if re.fullmatch("[0-9]{1,9}", frames) else 1

    def fields(self, xsi_type: str) -> dict[str, str]:
        """The fields of a scan of this type; what differs within the series has none."""
        found = {"frames": str(sum(self._frames.values()))} if self._frames else {}
        for name, (tag, convert) in (_ALL | _MORE.get(xsi_type, {})).items():
            texts = self._values.get(tag, set())
            value = convert(next(iter(texts))) if len(texts) == 1 else ""
            if value:
                found[name] = value
        return found


def session_fields(instance: Instance) -> dict[str, str]:
    """The fields of a new session: the study's UID, and its date where that is valid.

    Raises:
        SeriesportError: file-unreadable, source-changed, instance-invalid, instance-truncated.
    """
    tags = frozenset({_STUDY_DATE})
    with instance.payload.open() as stream:
        texts = read_texts(
            stream_reader(stream), instance.payload.size, instance.transfer_syntax_uid, tags
        )
    found = {
        "date": _date(texts.get(_STUDY_DATE, "")),
        "UID": instance.header.study_instance_uid,
    }
    return {name: value for name, value in found.items() if value}


def fields_of(series: SeriesReference) -> dict[str, str]:
    """As `identifying_fields`, of a series that is known by its reference alone."""
    return identifying_fields(
        series.series_instance_uid, series.series_description, series.modality
    )


def unescaped(text: str) -> str:
    """A text as it was given: what comes in a query is stored XML-escaped by XNAT 1.6."""
    return _ESCAPED.sub(lambda match: unescape(match[0]), text)


_ESCAPED = re.compile("&(?:#[0-9]{1,7}|amp|lt|gt|quot|apos);")


def document(xsi_type: str, ident: str, fields: Mapping[str, str]) -> bytes | None:
    """The XML document that makes a scan, whose texts are stored as they are.

    None where a query does as well: no text would be escaped, or the type has no known element.
    """
    element = _ELEMENTS.get(xsi_type)
    if element is None or not any(re.search(r"[&<>\"']|[^\x20-\x7e]", v) for v in fields.values()):
        return None
    said = {"ID": ident, **{name: fields[name] for name in ("type", "UID") if name in fields}}
    attributes = "".join(f" {name}={quoteattr(value)}" for name, value in said.items())
    children = "".join(
        f"<xnat:{name}>{escape(fields[name])}</xnat:{name}>"
        for name in ("quality", "series_description")
        if name in fields
    )
    space = 'xmlns:xnat="http://nrg.wustl.edu/xnat"'
    text = f"<xnat:{element} {space}{attributes}>{children}</xnat:{element}>"
    return f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode()


_ELEMENTS = {
    OTHER_SCAN: "OtherDicomScan",
    **{
        f"xnat:{kind}ScanData": f"{kind.upper()}Scan"
        for kind in ("mr", "ct", "pet", "us", "cr", "dx", "mg", "nm", "xa")
    },
}
"""Names of XML elements by data type, by XNAT's schema."""


def query(xsi_type: str, fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The query of a PUT that sets fields."""
    named = {f"{xsi_type}/{name}": value for name, value in fields}
    return {"xsiType": xsi_type, "req_format": "qs", **named}
