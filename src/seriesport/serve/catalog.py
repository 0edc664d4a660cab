"""What the embedded archive holds: the DICOM files of a folder, listed, matched and added to."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from fnmatch import translate
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from seriesport.dicom.elements import Syntax
from seriesport.dicom.part10 import load_instance
from seriesport.dicom.readers import stream_reader
from seriesport.dicom.reading import look_up
from seriesport.dimse.attributes import Answer
from seriesport.errors import SeriesportError
from seriesport.store.files import PART_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from seriesport.model.instance import Instance

UNIQUE_KEYS = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}
"""The attribute that tells entities apart at each query level (PS3.4 annex C.3)."""

_LEVELS = tuple(UNIQUE_KEYS.values())
_PART_KEYS: dict[str, Callable[[Instance], str]] = {
    "PatientID": lambda one: one.header.patient_id,
    "StudyInstanceUID": lambda one: one.header.study_instance_uid,
    "SeriesInstanceUID": lambda one: one.header.series_instance_uid,
    "SOPInstanceUID": lambda one: one.uid,
    "SOPClassUID": lambda one: one.header.sop_class_uid,
    "AccessionNumber": lambda one: one.header.accession_number,
    "Modality": lambda one: one.header.modality,
    "SeriesNumber": lambda one: one.header.series_number,
    "SeriesDescription": lambda one: one.header.series_description,
    "InstanceNumber": lambda one: str(one.header.instance_number or ""),
}
_COUNTS = {
    "NumberOfPatientRelatedStudies": (0, 1),
    "NumberOfPatientRelatedSeries": (0, 2),
    "NumberOfPatientRelatedInstances": (0, 3),
    "NumberOfStudyRelatedSeries": (1, 2),
    "NumberOfStudyRelatedInstances": (1, 3),
    "NumberOfSeriesRelatedInstances": (2, 3),
}
_LISTS = {"ModalitiesInStudy": "Modality", "SOPClassesInStudy": "SOPClassUID"}


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute that can be asked for, by keyword and value representation (PS3.6)."""

    keyword: str
    vr: str


ATTRIBUTES = {
    0x00080016: Attribute("SOPClassUID", "UI"),
    0x00080018: Attribute("SOPInstanceUID", "UI"),
    0x00080020: Attribute("StudyDate", "DA"),
    0x00080021: Attribute("SeriesDate", "DA"),
    0x00080030: Attribute("StudyTime", "TM"),
    0x00080031: Attribute("SeriesTime", "TM"),
    0x00080050: Attribute("AccessionNumber", "SH"),
    0x00080060: Attribute("Modality", "CS"),
    0x00080061: Attribute("ModalitiesInStudy", "CS"),
    0x00080062: Attribute("SOPClassesInStudy", "UI"),
    0x00080090: Attribute("ReferringPhysicianName", "PN"),
    0x00081030: Attribute("StudyDescription", "LO"),
    0x0008103E: Attribute("SeriesDescription", "LO"),
    0x00100010: Attribute("PatientName", "PN"),
    0x00100020: Attribute("PatientID", "LO"),
    0x00100030: Attribute("PatientBirthDate", "DA"),
    0x00100040: Attribute("PatientSex", "CS"),
    0x00180015: Attribute("BodyPartExamined", "CS"),
    0x00181030: Attribute("ProtocolName", "LO"),
    0x0020000D: Attribute("StudyInstanceUID", "UI"),
    0x0020000E: Attribute("SeriesInstanceUID", "UI"),
    0x00200010: Attribute("StudyID", "SH"),
    0x00200011: Attribute("SeriesNumber", "IS"),
    0x00200012: Attribute("AcquisitionNumber", "IS"),
    0x00200013: Attribute("InstanceNumber", "IS"),
    0x00201200: Attribute("NumberOfPatientRelatedStudies", "IS"),
    0x00201202: Attribute("NumberOfPatientRelatedSeries", "IS"),
    0x00201204: Attribute("NumberOfPatientRelatedInstances", "IS"),
    0x00201206: Attribute("NumberOfStudyRelatedSeries", "IS"),
    0x00201208: Attribute("NumberOfStudyRelatedInstances", "IS"),
    0x00201209: Attribute("NumberOfSeriesRelatedInstances", "IS"),
    0x00280008: Attribute("NumberOfFrames", "IS"),
    0x00280010: Attribute("Rows", "US"),
    0x00280011: Attribute("Columns", "US"),
}
"""By tag, all that a query may ask for."""
_FROM_FILE = frozenset(one.keyword for one in ATTRIBUTES.values()) - {
    *_PART_KEYS,
    *_COUNTS,
    *_LISTS,
}
_CHARACTER_SET = 0x00080005
_RANGES = frozenset({"DA", "TM", "DT"})
_WITHOUT_WILDCARDS = frozenset({"UI", "IS", "DS", "US", "DA", "TM", "DT"})


@dataclass(frozen=True, slots=True)
class Key:
    """One attribute of a query: its keyword, its value representation and what is asked."""

    keyword: str
    vr: str
    value: str
    """Values separated by backslashes; empty matches everything (PS3.4 C.2.2.2.3)."""


class Catalog:
    """The instances of a folder, by SOP Instance UID. Thread-safe.

    Args:
        folder: searched to its leaves. DICOM files are told by their content; of two files
            with one SOP Instance UID the first in order of names counts.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.receiving = Lock()
        """Held while something that was received gets its place."""
        self.syntaxes: dict[str, Counter[str]] = {}
        """By SOP class, how many instances are held in each transfer syntax."""
        self._instances: dict[str, Instance] = {}
        self._members: dict[tuple[str, ...], list[Instance]] = {}
        self._number = 0
        for path in _files(folder):
            try:
                self.add(replace(load_instance(path), location=path))
            except SeriesportError:
                continue

    def add(self, instance: Instance) -> None:
        """List an instance; one with a UID that is listed already changes nothing."""
        if self._instances.setdefault(instance.uid, instance) is instance:
            held = self.syntaxes.setdefault(instance.header.sop_class_uid, Counter())
            held[instance.transfer_syntax_uid] += 1
            for depth in range(len(_LEVELS) - 1):
                self._members.setdefault(_identity(instance, depth), []).append(instance)

    def get(self, uid: str) -> Instance | None:
        """The instance with this SOP Instance UID."""
        return self._instances.get(uid)

    def __len__(self) -> int:
        return len(self._instances)

    def next_path(self) -> Path:
        """A name in the folder that is not taken and was never given before."""
        with self.receiving:
            while True:
                self._number += 1
                path = self.folder / f"{self._number:06d}.dcm"
                if not path.exists():
                    return path

    def select(self, keys: Iterable[Key]) -> list[Instance]:
        """The instances that match every key, in order of patient, study, series and number."""
        instances = list(self._instances.values())
        for key in keys:
            if key.value and key.keyword not in _COUNTS:
                instances = self._matching(instances, key)
        return sorted(
            instances,
            key=lambda one: (
                one.header.patient_id,
                one.header.study_instance_uid,
                one.header.series_instance_uid,
                one.order,
            ),
        )

    def _matching(self, instances: list[Instance], key: Key) -> list[Instance]:
        matches = matcher(key.vr, key.value)
        if key.keyword in _LISTS:
            member = _PART_KEYS[_LISTS[key.keyword]]
            studies = {
                one.header.study_instance_uid
                for one in self._instances.values()
                if matches(member(one))
            }
            return [one for one in instances if one.header.study_instance_uid in studies]
        if key.keyword in _PART_KEYS or key.keyword in _FROM_FILE:
            return [one for one in instances if matches(attribute(one, key.keyword))]
        return instances  # a key that is not supported is not matched (PS3.4 C.2.2.1.3)

    def entities(self, level: str, keys: Iterable[Key]) -> list[Instance]:
        """One instance for each patient, study, series or instance that matches."""
        depth = _LEVELS.index(UNIQUE_KEYS[level])
        found: dict[tuple[str, ...], Instance] = {}
        for one in self.select(keys):
            found.setdefault(_identity(one, depth), one)
        return list(found.values())

    def value(self, one: Instance, keyword: str) -> str:
        """The value of an attribute for the patient, study, series or instance of `one`."""
        if keyword in _COUNTS:
            above, below = _COUNTS[keyword]
            members = self._members[_identity(one, above)]
            return str(len({_identity(other, below) for other in members}))
        if keyword in _LISTS:
            of = _PART_KEYS[_LISTS[keyword]]
            return "\\".join(sorted({of(other) for other in self._members[_identity(one, 1)]}))
        return attribute(one, keyword)


def attribute(one: Instance, keyword: str) -> str:
    """The value of an attribute of an instance; empty where it has none or it is not listed."""
    getter = _PART_KEYS.get(keyword)
    if getter is not None:
        return getter(one)
    return _from_file(one).get(keyword, "") if keyword in _FROM_FILE else ""


def _identity(one: Instance, depth: int) -> tuple[str, ...]:
    return tuple(_PART_KEYS[keyword](one) for keyword in _LEVELS[: depth + 1])


def _files(folder: Path) -> list[Path]:
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders.sort()
        found += [Path(parent, name) for name in sorted(names) if not name.endswith(PART_SUFFIX)]
    return found


@lru_cache(maxsize=10_000)
def _from_file(one: Instance) -> dict[str, str]:
    """What a query may ask for beyond an instance's header, read when somebody asks."""
    syntax = Syntax.of(one.transfer_syntax_uid)
    try:
        with one.payload.open() as stream:
            tags = (*ATTRIBUTES, _CHARACTER_SET)
            values = look_up(stream_reader(stream), one.payload.size, syntax, tags)
    except (OSError, SeriesportError):
        return {}
    found = Answer(values)
    return {
        known.keyword: _numbers(values.get(tag, b""), syntax)
        if known.vr == "US"
        else found.text_at(tag)
        for tag, known in ATTRIBUTES.items()
    }


def _numbers(value: bytes, syntax: Syntax) -> str:
    order = "little" if syntax.little else "big"
    pairs = (value[i : i + 2] for i in range(0, len(value) - 1, 2))
    return "\\".join(str(int.from_bytes(pair, order)) for pair in pairs)


def matcher(vr: str, wanted: str) -> Callable[[str], bool]:
    """Attribute matching: list of UIDs, range, wildcard or single value (PS3.4 C.2.2.2)."""
    if vr == "UI":
        uids = frozenset(wanted.split("\\"))
        return lambda value: value in uids
    if vr in _RANGES and "-" in wanted:
        first, _, last = wanted.partition("-")
        return lambda value: bool(value) and first <= value and (not last or value <= last + "~")
    if vr not in _WITHOUT_WILDCARDS and ("*" in wanted or "?" in wanted):
        # '[' has no meaning in DICOM, but has one to fnmatch
        pattern = re.compile(translate(wanted.replace("[", "[[]")), re.DOTALL | _case(vr))
        return lambda value: pattern.match(value) is not None
    if vr == "PN":
        return lambda value: value.casefold() == wanted.casefold()
    return lambda value: value.strip() == wanted.strip()


def _case(vr: str) -> re.RegexFlag:
    return re.IGNORECASE if vr == "PN" else re.NOFLAG
