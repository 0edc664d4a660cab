"""What the cohort's entries mean: the sources are asked, and their answers checked."""

from __future__ import annotations

import hashlib
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from seriesport.counts import counted
from seriesport.errors import SeriesportError
from seriesport.model.series import Harm, SeriesReference
from seriesport.privacy import printable, where
from seriesport.transports.parallel import workers
from seriesport.transports.registry import open_transport, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seriesport.cohort import Entry
    from seriesport.config.settings import Settings
    from seriesport.model.address import Address
    from seriesport.transports.contract import Transport

_MOST_THREADS = 16
_MOST_LISTED = 10
_log = logging.getLogger("seriesport")


@dataclass(frozen=True, slots=True)
class Found:
    """A series that an entry means, and the series that it is to be made DICOM with."""

    series: SeriesReference
    template: SeriesReference | None = None
    geometry: SeriesReference | None = None


Answer = list[Found] | SeriesportError


def fingerprint(entry: Entry) -> str:
    """What an entry asks for, apart from where it stands and where it goes."""
    asked: tuple[object, ...] = (
        entry.source.url,
        entry.patient,
        entry.study,
        entry.accession,
        entry.series,
        entry.series_number,
        entry.modalities,
        (entry.description.pattern, entry.description.flags) if entry.description else None,
        entry.min_instances,
        entry.max_series,
    )
    if entry.scan_type or entry.qualities:
        asked += (entry.scan_type and entry.scan_type.pattern, entry.qualities)
    if entry.template:
        asked += (entry.template.url, entry.geometry.url if entry.geometry else None)
    return hashlib.sha256(repr(asked).encode()).hexdigest()


def ask(entries: list[tuple[str, Entry]], settings: Settings) -> dict[str, Answer]:
    """What the sources say to entries, by the entries' fingerprints; each source is asked in
    as many threads as it allows associations.
    """
    groups: dict[Address, list[tuple[str, Entry]]] = {}
    for name, entry in entries:
        groups.setdefault(entry.source.root, []).append((name, entry))
    parts: list[tuple[Address, list[tuple[str, Entry]]]] = []
    for root, group in groups.items():
        shares = workers([root], settings, len(group))
        parts += [(root, group[i::shares]) for i in range(shares)]
    found: dict[str, Answer] = {}
    with ThreadPoolExecutor(_MOST_THREADS) as pool:
        answering = [pool.submit(_ask_part, root, part, settings) for root, part in parts]
        for answers in answering:
            found |= answers.result()
    return found


def _ask_part(
    root: Address, part: list[tuple[str, Entry]], settings: Settings
) -> dict[str, Answer]:
    answers: dict[str, Answer] = {}
    try:
        with open_transport(root, settings) as transport:
            for name, entry in part:
                try:
                    answers[name] = _answer(transport, entry, settings)
                except SeriesportError as error:
                    answers[name] = error
                except Exception as error:  # noqa: BLE001 - one entry must not stop the plan
                    answers[name] = SeriesportError("internal", where(error))
    except SeriesportError as error:
        answers |= {name: error for name, _ in part if name not in answers}
    return answers


def _answer(transport: Transport, entry: Entry, settings: Settings) -> list[Found]:
    if entry.template is None:
        return [Found(series) for series in resolve(transport, entry)]
    series = _addressable(transport.find_files(entry.source))
    template = _beside(entry.template, "template", settings)
    if entry.geometry is None:
        return [Found(series, template)]
    return [Found(series, template, _beside(entry.geometry, "geometry", settings))]


def _beside(address: Address, what: str, settings: Settings) -> SeriesReference:
    """The one series of a template's or geometry's address."""
    try:
        with open_transport(address.root, settings) as transport:
            found = [r for r in transport.find(address) if not r.plain]
            if len(found) == 1:
                return _counted(transport, _addressable(found[0]))
    except SeriesportError as error:
        raise SeriesportError(error.code, f"{what}: {error.message}", error.matches) from None
    if found:
        raise _ambiguous(f"{what}: {len(found)} series match", found)
    raise SeriesportError("not-found", f"{what}: no series is there")


def resolve(transport: Transport, entry: Entry) -> list[SeriesReference]:
    """The series that an entry means.

    Raises:
        SeriesportError: not-found, ambiguous with a list of what matches, too-few-instances;
            why something could not be listed that may be a series of the entry.
    """
    source = entry.source
    bounded = entry.max_series is not None
    if source.is_unbounded and not bounded:
        raise SeriesportError(
            "ambiguous", "the entry names a whole archive; add a patient or a study, or max_series"
        )
    every = transport.find(entry.source)
    for one in transport.left_out():
        if one.harm is Harm.ANY and not entry.names_series:
            raise one.error
        _log.warning("passed over %s [%s]", one.error.message, one.error.code)
    found = [_counted(transport, _addressable(r)) for r in every if entry.accepts(r)]
    if not found:
        raise SeriesportError("not-found", _nothing(entry, every or _beside_it(transport, source)))
    one = entry.names_series or _is_single(entry)
    enough = [r for r in found if not entry.too_small(r.instances)]
    if not enough:
        counts = ", ".join(str(r.instances) for r in found[:5])
        few = f"the series {'has' if len(found) == 1 else 'have'} {counts}"
        raise SeriesportError(
            "too-few-instances", f"min_instances is {entry.min_instances}, but {few}"
        )
    studies = {r.study_instance_uid for r in enough}
    if len(studies) > 1 and (entry.accession or one):
        raise _ambiguous(f"{len(studies)} studies match", enough)
    if one and len(enough) > 1:
        raise _ambiguous(f"{len(enough)} series match", enough)
    if entry.max_series is not None and len(enough) > entry.max_series:
        match = "series matches" if len(enough) == 1 else "series match"
        raise _ambiguous(f"{len(enough)} {match} and max_series is {entry.max_series}", enough)
    return enough


def _is_single(entry: Entry) -> bool:
    chosen = (
        entry.patient or entry.study or entry.accession or entry.modalities or entry.description
    )
    return entry.source.is_local and not chosen and entry.max_series is None


def _beside_it(transport: Transport, source: Address) -> list[SeriesReference]:
    """Return the other series of the study that a series' address names."""
    study = source.whole_study
    if study is None:
        return []
    with suppress(SeriesportError):
        return transport.find(study)
    return []


def _nothing(entry: Entry, listed: Sequence[SeriesReference]) -> str:
    there = counted(len(listed), "series is", "series are")
    what = f"{there} there, but the entry accepts none" if listed else "the source has no match"
    known = {
        "patient": (entry.patient, [one.patient_id for one in listed]),
        "accession": (entry.accession, [one.accession_number for one in listed]),
    }
    cut = [key for key, (text, others) in known.items() if _may_lack_zeros(text, others)]
    if not cut:
        return what
    lacks = "lacks" if listed else "may lack"
    return f"{what}; {' or '.join(cut)} {lacks} zeros in front, which spreadsheets take away"


def _may_lack_zeros(text: str, others: Sequence[str]) -> bool:
    """Return True for a number that another one is like but for zeros in front.

    An archive lists none but what it is asked for: any number may then have lost its zeros.
    """
    if not text.isdigit() or text.startswith("0"):
        return False
    return not others or (text not in others and text in {one.lstrip("0") for one in others})


def _addressable(reference: SeriesReference) -> SeriesReference:
    """The series, if its address can be written into the plan and read back."""
    address = reference.address
    if not address.is_local:
        try:
            same = parse(address.url) == address
        except (SeriesportError, UnicodeError):
            same = False
        if not same:
            raise SeriesportError(
                "instance-invalid", "the server gives an identifier with control characters"
            )
    return reference


def _counted(transport: Transport, reference: SeriesReference) -> SeriesReference:
    if reference.instances is not None:
        return reference
    return replace(reference, instances=len(transport.expect(reference)))


def _ambiguous(what: str, found: Sequence[SeriesReference]) -> SeriesportError:
    """Return the error that lists what matches: by study, number, modality and count.

    Several studies are numbered in it; its `matches` say which they are.
    """
    studies = list(dict.fromkeys(r.study_instance_uid for r in found))
    shown = found[:_MOST_LISTED]
    rows = [_shown(r) for r in shown]
    if len(studies) > 1:
        numbers = [studies.index(r.study_instance_uid) + 1 for r in shown]
        rows = [f"study {n}, {row}" for n, row in zip(numbers, rows, strict=True)]
    more = f" and {len(found) - len(shown)} more" if len(found) > len(shown) else ""
    matches = [f"{row.partition(' (')[0]}: {_named(r)}" for row, r in zip(rows, shown, strict=True)]
    return SeriesportError("ambiguous", f"{what}: {'; '.join(rows)}{more}", matches)


def _shown(series: SeriesReference) -> str:
    instances = "" if series.instances is None else f", {counted(series.instances, 'instance')}"
    return f"series {word(series.series_number)} ({kind(series)}{instances})"


def _named(series: SeriesReference) -> str:
    """Name a series as an entry of the cohort can."""
    named = {
        "patient": series.patient_id,
        "study": series.study_instance_uid,
        "accession": series.accession_number,
        "series": series.series_instance_uid,
        "description": series.series_description,
    }
    return printable(", ".join(f'{key} "{text}"' for key, text in named.items() if text))


def kind(series: SeriesReference) -> str:
    """A series' modality as it may be shown; `files` for plain files."""
    return "files" if series.plain else word(series.modality)


def word(text: str) -> str:
    """A modality or series number as it may be shown: `?` where it has another form."""
    return text if re.fullmatch("[A-Z0-9]{1,16}", text) else "?"
