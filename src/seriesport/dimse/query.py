"""Questions to an archive about studies, series and instances; answers are compared exactly.

Archives match in their own way (wildcards, case, padding, ignored keys), so that a key only
narrows the question, and what is not exactly what was asked for is dropped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seriesport.address import is_uid
from seriesport.dimse.attributes import Answer, Key, integer
from seriesport.dimse.contexts import PATIENT_ROOT_FIND, STUDY_ROOT_FIND
from seriesport.dimse.find import find
from seriesport.dimse.pdu import malformed
from seriesport.errors import SeriesportError
from seriesport.transports.protocol import Expected

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from seriesport.dimse.association import Association

_WILDCARD = re.compile(r"[*?\\]")
_SENT_AS_UID = re.compile(r"[0-9A-Za-z._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Study:
    """A study as an archive describes it."""

    patient_id: str
    uid: str
    accession_number: str = ""
    sop_classes: tuple[str, ...] = ()
    """SOP Classes in Study (0008,0062), where the archive tells."""


@dataclass(frozen=True, slots=True)
class Series:
    """A series as an archive describes it."""

    study: Study
    uid: str
    modality: str
    number: str
    description: str
    instances: int | None


def find_studies(association: Association, patient: str, study: str) -> list[Study]:
    """The studies of a patient, by study UID or accession number; an empty text is any.

    Raises:
        SeriesportError: identifier-wildcard, or what the query raises.
    """
    if not study:
        keys = {Key.PATIENT_ID: patient}
        return _studies(association, keys)
    by_uid = {Key.STUDY_INSTANCE_UID: study, Key.PATIENT_ID: patient}
    by_accession = {Key.ACCESSION_NUMBER: study, Key.PATIENT_ID: patient}
    readings = [by_uid, by_accession] if is_uid(study) else [by_accession]
    if len(readings) == 1 and study.count(".") > 1 and _SENT_AS_UID.fullmatch(study):
        readings.append(by_uid)
    for keys in readings:
        if found := _studies(association, keys):
            return found
    return []


def _studies(association: Association, wanted: Mapping[Key, str]) -> list[Study]:
    wanted = {key: text for key, text in wanted.items() if text}
    sent = {key: text for key, text in wanted.items() if not _WILDCARD.search(text)}
    if wanted and not sent:
        raise SeriesportError(
            "identifier-wildcard",
            "the identifier has '*', '?' or '\\', and nothing else narrows the question",
        )
    found = _matching_studies(association, sent, wanted)
    # An archive may know a text in another character set than UTF-8
    ascii_only = {key: text for key, text in sent.items() if text.isascii()}
    if not found and ascii_only and len(ascii_only) < len(sent):
        found = _matching_studies(association, ascii_only, wanted)
    return found


def _matching_studies(
    association: Association, sent: Mapping[Key, str], wanted: Mapping[Key, str]
) -> list[Study]:
    keys = {
        Key.LEVEL: "STUDY",
        Key.PATIENT_ID: "",
        Key.STUDY_INSTANCE_UID: "",
        Key.ACCESSION_NUMBER: "",
        Key.SOP_CLASSES_IN_STUDY: "",
    }
    studies: dict[str, Study] = {}
    for answer in _ask(association, keys | dict(sent)):
        uid = answer.text(Key.STUDY_INSTANCE_UID)
        if uid and all(answer.text(key) == text.strip(" ") for key, text in wanted.items()):
            studies[_sendable(uid)] = Study(
                answer.text(Key.PATIENT_ID),
                uid,
                answer.text(Key.ACCESSION_NUMBER),
                answer.texts(Key.SOP_CLASSES_IN_STUDY),
            )
    return list(studies.values())


def find_series(association: Association, study: Study, wanted: str) -> list[Series]:
    """The series of a study, by series UID or series number; an empty text is any."""
    keys = {
        Key.LEVEL: "SERIES",
        Key.STUDY_INSTANCE_UID: study.uid,
        Key.SERIES_INSTANCE_UID: wanted if is_uid(wanted) else "",
        Key.MODALITY: "",
        Key.SERIES_NUMBER: "",
        Key.SERIES_DESCRIPTION: "",
        Key.SERIES_INSTANCES: "",
    }
    series: dict[str, Series] = {}
    for answer in _ask(association, keys, study.patient_id):
        uid = answer.text(Key.SERIES_INSTANCE_UID)
        if not uid or not _echoes(answer, Key.STUDY_INSTANCE_UID, study.uid):
            continue
        if wanted and not _is_series(answer, wanted):
            continue
        series[_sendable(uid)] = Series(
            study,
            uid,
            answer.text(Key.MODALITY),
            answer.text(Key.SERIES_NUMBER),
            answer.text(Key.SERIES_DESCRIPTION),
            answer.number(Key.SERIES_INSTANCES),
        )
    return list(series.values())


def _is_series(answer: Answer, wanted: str) -> bool:
    """Whether it is the series with this UID or number (an integer string, so 7 is 007)."""
    if wanted in (answer.text(Key.SERIES_INSTANCE_UID), answer.text(Key.SERIES_NUMBER)):
        return True
    number = integer(wanted)
    return number is not None and number == answer.number(Key.SERIES_NUMBER)


def find_instances(
    association: Association, study: Study, series_uid: str, *, detailed: bool
) -> dict[str, Expected]:
    """The instances of a series, by SOP Instance UID, in the archive's order.

    `detailed` asks for SOP classes and transfer syntaxes too, which costs some archives a look
    into every file (Orthanc: three times as long).
    """
    keys = {
        Key.LEVEL: "IMAGE",
        Key.STUDY_INSTANCE_UID: study.uid,
        Key.SERIES_INSTANCE_UID: series_uid,
        Key.SOP_INSTANCE_UID: "",
        Key.INSTANCE_NUMBER: "",
    }
    if detailed:
        keys |= {Key.SOP_CLASS_UID: "", Key.TRANSFER_SYNTAX_UIDS: ""}
    expected: dict[str, Expected] = {}
    for answer in _ask(association, keys, study.patient_id):
        uid = answer.text(Key.SOP_INSTANCE_UID)
        if uid and _echoes(answer, Key.SERIES_INSTANCE_UID, series_uid):
            expected[_sendable(uid)] = Expected(
                uid,
                answer.text(Key.SOP_CLASS_UID) or None,
                answer.number(Key.INSTANCE_NUMBER),
                answer.texts(Key.TRANSFER_SYNTAX_UIDS),
            )
    return expected


def _echoes(answer: Answer, key: Key, uid: str) -> bool:
    """Whether a UID that was asked for comes back, or is left out, as some archives do."""
    return answer.text(key) in ("", uid)


def _sendable(uid: str) -> str:
    """A UID out of an answer that can stand in a later question.

    Raises:
        SeriesportError: protocol-error. Dropping it would be a loss that nobody sees.
    """
    if _SENT_AS_UID.fullmatch(uid) is None:
        raise malformed("a UID in an answer has characters that no UID may have")
    return uid


def _ask(
    association: Association, keys: Mapping[Key, str], patient_id: str | None = None
) -> Iterator[Answer]:
    """Ask in the Study Root model, or in the Patient Root model where the archive has only that.

    The latter wants the patient's ID in every question (PS3.4 annex C.6.1).
    """
    if association.context(STUDY_ROOT_FIND) or not association.context(PATIENT_ROOT_FIND):
        return find(association, keys)
    if patient_id and not _WILDCARD.search(patient_id):
        keys = dict(keys) | {Key.PATIENT_ID: patient_id}
    return find(association, keys, PATIENT_ROOT_FIND)
