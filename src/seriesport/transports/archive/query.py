"""Questions to an archive about studies, series and instances; answers are compared exactly.

Archives match in their own way (wildcards, case, padding, ignored keys), so that a key only
narrows the question, and what is not exactly what was asked for is dropped.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from seriesport.dimse.attributes import UTF_8, Answer, Key, character_sets, integer
from seriesport.dimse.contexts import PATIENT_ROOT_FIND, STUDY_ROOT_FIND
from seriesport.dimse.find import find
from seriesport.dimse.pdu import malformed
from seriesport.errors import SeriesportError
from seriesport.model.identifiers import is_uid
from seriesport.model.instance import OPAQUE_UID
from seriesport.model.series import Expected

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from seriesport.dimse.association import Association

_WILDCARD = re.compile(r"[*?\\]")


@dataclass(frozen=True, slots=True)
class Study:
    """A study as an archive describes it."""

    patient_id: str
    uid: str
    accession_number: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """What an archive tells of what a study holds, where it tells."""

    sop_classes: tuple[str, ...] = ()
    """SOP Classes in Study (0008,0062)."""
    series: int | None = None
    """Number of Study Related Series (0020,1206)."""


@dataclass(frozen=True, slots=True)
class Series:
    """A series as an archive describes it."""

    study: Study
    uid: str
    modality: str
    number: str
    description: str = ""
    instances: int | None = None


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
    if len(readings) == 1 and study.count(".") > 1 and OPAQUE_UID.fullmatch(study):
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
    # An archive may compare bytes, and know a text in another character set than UTF-8
    for character_set in character_sets("".join(sent.values())):
        if found := _matching_studies(association, sent, wanted, character_set):
            return found
    ascii_only = {key: text for key, text in sent.items() if text.isascii()}
    if ascii_only and len(ascii_only) < len(sent):
        return _matching_studies(association, ascii_only, wanted)
    return []


def _matching_studies(
    association: Association,
    sent: Mapping[Key, str],
    wanted: Mapping[Key, str],
    character_set: str = UTF_8,
) -> list[Study]:
    keys = {
        Key.LEVEL: "STUDY",
        Key.PATIENT_ID: "",
        Key.STUDY_INSTANCE_UID: "",
        Key.ACCESSION_NUMBER: "",
    }
    listing = _Listing(association, keys, Key.STUDY_INSTANCE_UID, wanted.get(Key.PATIENT_ID, ""))
    studies: dict[str, Study] = {}
    for answer in ask(association, keys | dict(sent), character_set=character_set):
        uid = answer.text(Key.STUDY_INSTANCE_UID)
        if uid and all(answer.text(key) == text.strip(" ") for key, text in wanted.items()):
            listing.add(uid)
            studies[uid] = Study(
                answer.text(Key.PATIENT_ID), uid, answer.text(Key.ACCESSION_NUMBER)
            )
    listing.check("studies")
    return list(studies.values())


def find_contents(association: Association, study: Study) -> Content:
    """Return what the archive tells of what a study holds.

    It is asked for apart from the studies themselves: archives are free to support these keys
    (PS3.4 section C.6.2.1.2), and some list one study alone where they are among the keys.
    """
    keys = {
        Key.LEVEL: "STUDY",
        Key.STUDY_INSTANCE_UID: study.uid,
        Key.SOP_CLASSES_IN_STUDY: "",
        Key.STUDY_SERIES: "",
    }
    content = Content()
    for answer in _ask_more(association, keys, study.patient_id):
        if _echoes(answer, Key.STUDY_INSTANCE_UID, study.uid):
            series = answer.number(Key.STUDY_SERIES)
            content = Content(answer.texts(Key.SOP_CLASSES_IN_STUDY), series)
    return content


def find_series(
    association: Association, study: Study, wanted: str, counted: int | None = None
) -> list[Series]:
    """Return the series of a study, by series UID or series number; an empty text is any.

    `counted` is how many series the archive says that the study has.

    Raises:
        SeriesportError: listing-doubtful, or what the query raises.
    """
    keys = {
        Key.LEVEL: "SERIES",
        Key.STUDY_INSTANCE_UID: study.uid,
        Key.SERIES_INSTANCE_UID: wanted if is_uid(wanted) else "",
        Key.MODALITY: "",
        Key.SERIES_NUMBER: "",
    }
    listing = _Listing(association, keys, Key.SERIES_INSTANCE_UID, study.patient_id)
    series: dict[str, Series] = {}
    for answer in ask(association, keys, study.patient_id):
        uid = answer.text(Key.SERIES_INSTANCE_UID)
        if not uid or not _echoes(answer, Key.STUDY_INSTANCE_UID, study.uid):
            continue
        listing.add(uid)
        if not wanted or _is_series(answer, wanted):
            number = answer.text(Key.SERIES_NUMBER)
            series[uid] = Series(study, uid, answer.text(Key.MODALITY), number)
    listing.check("the series of a study")
    if counted is not None and len(listing.times) < counted and not wanted:
        what = f"the archive counts {counted} series in a study and lists {len(listing.times)}"
        raise SeriesportError("listing-doubtful", what)
    described = _described(association, keys, study, series)
    return [described.get(uid, one) for uid, one in series.items()]


def _described(
    association: Association, keys: Mapping[Key, str], study: Study, series: Mapping[str, Series]
) -> dict[str, Series]:
    """Return series with what an archive need not tell: description and number of instances.

    Where it then lists other series than without these keys, they are asked for one by one.
    """
    keys = dict(keys) | {Key.SERIES_DESCRIPTION: "", Key.SERIES_INSTANCES: ""}
    answers = list(_ask_more(association, keys, study.patient_id)) if series else []
    listed = [answer.text(Key.SERIES_INSTANCE_UID) for answer in answers]
    if len(set(listed)) != len(listed) or not set(listed) >= series.keys():
        answers = [
            answer
            for uid in series
            for answer in _ask_more(
                association, keys | {Key.SERIES_INSTANCE_UID: uid}, study.patient_id
            )
            if answer.text(Key.SERIES_INSTANCE_UID) == uid
        ]
    return {
        uid: replace(
            series[uid],
            description=answer.text(Key.SERIES_DESCRIPTION),
            instances=answer.number(Key.SERIES_INSTANCES),
        )
        for answer in answers
        if (uid := answer.text(Key.SERIES_INSTANCE_UID)) in series
    }


def _is_series(answer: Answer, wanted: str) -> bool:
    """Whether it is the series with this UID or number (an integer string, so 7 is 007)."""
    if wanted in (answer.text(Key.SERIES_INSTANCE_UID), answer.text(Key.SERIES_NUMBER)):
        return True
    number = integer(wanted)
    return number is not None and number == answer.number(Key.SERIES_NUMBER)


def find_instances(
    association: Association,
    study: Study,
    series_uid: str,
    *,
    detailed: bool,
) -> dict[str, Expected]:
    """Return the instances of a series, by SOP Instance UID, in the archive's order.

    `detailed` asks for SOP classes and transfer syntaxes too, which costs some archives a look
    into every file (Orthanc: three times as long).

    Raises:
        SeriesportError: listing-doubtful, or what the query raises.
    """
    keys = {
        Key.LEVEL: "IMAGE",
        Key.STUDY_INSTANCE_UID: study.uid,
        Key.SERIES_INSTANCE_UID: series_uid,
        Key.SOP_INSTANCE_UID: "",
        Key.INSTANCE_NUMBER: "",
    }
    listing = _Listing(association, keys, Key.SOP_INSTANCE_UID, study.patient_id)
    expected: dict[str, Expected] = {}
    for answer in ask(association, keys, study.patient_id):
        uid = answer.text(Key.SOP_INSTANCE_UID)
        if uid and _echoes(answer, Key.SERIES_INSTANCE_UID, series_uid):
            listing.add(uid)
            expected[uid] = Expected(uid, instance_number=answer.number(Key.INSTANCE_NUMBER))
    listing.check("the instances of a series")
    if detailed and expected:
        keys |= {Key.SOP_CLASS_UID: "", Key.TRANSFER_SYNTAX_UIDS: ""}
        for answer in _ask_more(association, keys, study.patient_id):
            uid = answer.text(Key.SOP_INSTANCE_UID)
            if uid in expected and _echoes(answer, Key.SERIES_INSTANCE_UID, series_uid):
                expected[uid] = replace(
                    expected[uid],
                    sop_class_uid=answer.text(Key.SOP_CLASS_UID) or None,
                    transfer_syntax_uids=answer.texts(Key.TRANSFER_SYNTAX_UIDS),
                )
    return expected


def has_instance(association: Association, study: Study, series_uid: str, uid: str) -> bool:
    """Ask for one instance by its SOP Instance UID."""
    keys = {
        Key.LEVEL: "IMAGE",
        Key.STUDY_INSTANCE_UID: study.uid,
        Key.SERIES_INSTANCE_UID: series_uid,
        Key.SOP_INSTANCE_UID: uid,
    }
    answers = list(ask(association, keys, study.patient_id))
    return any(answer.text(Key.SOP_INSTANCE_UID) == uid for answer in answers)


class _Listing:
    """The UIDs in the answers to a question, of which some may come more than once.

    Two causes were seen. One archive answers once for each instance whatever the level
    (pynetdicom's qrscp); it answers as often when it is asked for that UID alone. Another names
    one thing in the answers that are due to others (tiny_pacs), so that these are lost.
    """

    def __init__(
        self, association: Association, keys: Mapping[Key, str], unique: Key, patient_id: str
    ) -> None:
        self._association = association
        self._keys = keys
        self._unique = unique
        self._patient_id = patient_id
        self.times: Counter[str] = Counter()
        """How often each UID came."""

    def add(self, uid: str) -> None:
        """Take a UID that an answer names.

        Raises:
            SeriesportError: protocol-error, where it cannot stand in a later question.
        """
        self.times[_sendable(uid)] += 1

    def check(self, what: str) -> None:
        """Refuse answers that name one thing in place of another.

        Raises:
            SeriesportError: listing-doubtful.
        """
        for uid, times in self.times.items():
            if times > 1 and times != self._answers_about(uid):
                problem = (
                    f"the archive gave {self.times.total()} answers about {what},"
                    f" which name only {len(self.times)}"
                )
                raise SeriesportError("listing-doubtful", problem)

    def _answers_about(self, uid: str) -> int:
        keys = dict(self._keys) | {self._unique: uid}
        answers = list(ask(self._association, keys, self._patient_id))
        return sum(answer.text(self._unique) == uid for answer in answers)


def _echoes(answer: Answer, key: Key, uid: str) -> bool:
    """Whether a UID that was asked for comes back, or is left out, as some archives do."""
    return answer.text(key) in ("", uid)


def _sendable(uid: str) -> str:
    """A UID out of an answer that can stand in a later question.

    Raises:
        SeriesportError: protocol-error. Dropping it would be a loss that nobody sees.
    """
    if OPAQUE_UID.fullmatch(uid) is None:
        raise malformed("a UID in an answer has characters that no UID may have")
    return uid


def _ask_more(
    association: Association, keys: Mapping[Key, str], patient_id: str
) -> Iterator[Answer]:
    """Ask with keys that an archive need not support: it may fail at them, and nothing is lost."""
    try:
        yield from ask(association, keys, patient_id)
    except SeriesportError as error:
        if error.code != "dimse-failure":
            raise


def ask(
    association: Association,
    keys: Mapping[Key, str],
    patient_id: str | None = None,
    character_set: str = UTF_8,
) -> Generator[Answer]:
    """Ask in the Study Root model, or in the Patient Root model where the archive has only that.

    The latter wants the patient's ID in every question (PS3.4 annex C.6.1). Closed early, it aborts
    the association.
    """
    model = association.model(STUDY_ROOT_FIND, PATIENT_ROOT_FIND)
    if model == PATIENT_ROOT_FIND and patient_id and not _WILDCARD.search(patient_id):
        keys = dict(keys) | {Key.PATIENT_ID: patient_id}
    return find(association, keys, model, character_set)
