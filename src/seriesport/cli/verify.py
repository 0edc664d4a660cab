"""`seriesport verify`."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from seriesport.cli.ls import NOTHING, left_out
from seriesport.cli.output import print_json, print_table
from seriesport.cohort.resolve import kind, word
from seriesport.counts import part
from seriesport.errors import SeriesportError
from seriesport.store.bundle import manifest_path, read_manifest, verify_bundle
from seriesport.store.scratch import scratch
from seriesport.store.staging import Staging
from seriesport.transports.fetch import numbers
from seriesport.transports.registry import open_transport, parse
from seriesport.workflow.ledger import Status, read_ledger

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from seriesport.config.settings import Settings
    from seriesport.model.address import Address
    from seriesport.model.series import Expected, SeriesReference
    from seriesport.transports.contract import Transport

WHOLE = "whole"
_COLUMNS = ("series_number", "modality", "instances", "result")
_COMPARED = ("series_number", "modality", "instances", "there", "result")


@dataclass(frozen=True, slots=True)
class _Row:
    """A series, on one side or on both."""

    series_number: str
    modality: str
    instances: int
    """How many are here."""
    there: int | None
    """How many are at the other address; None where nobody asked."""
    result: str
    code: str = ""
    """Reason code of what is wrong."""

    @property
    def sentence(self) -> str:
        """What a person is told of it."""
        if not self.modality:
            return self.result
        return f"series {self.series_number} ({self.modality}): {self.result}"


def verify(text: str, against: str | None, settings: Settings, *, as_json: bool) -> None:
    """Check every series below an address: whole, and the same as at another address, if given.

    Bundles are checked against their manifests, and files of results against their ledgers. With
    `against`, series and instances that either side lacks are named. Of a whole archive there,
    the studies that are here are compared.

    Raises:
        SeriesportError: missing-here, missing-there or missing-both where that is all that is
            wrong; else the first failure, after all series were checked.
    """
    with ExitStack() as stack:
        here = _Side(stack, text, settings)
        there = None if against is None else _Side(stack, against, settings, like=here)
        if not here.series and not (there and there.series):
            raise next(iter(here.failures), SeriesportError("not-found", NOTHING))
        rows = list(_check(here, there))
        told = {row.result for row in rows}
        rows += [_lost(error) for error in here.failures if error.message not in told]
        if there is not None:
            rows += [_only_there(there, identity) for identity in there.identities(but=here)]
            rows += [_lost(error, "there: ") for error in there.failures]
    columns = _COLUMNS if against is None else _COMPARED
    if as_json:
        print_json([{name: asdict(row)[name] for name in (*columns, "code")} for row in rows])
    else:
        print_table(columns, [[_cell(asdict(row)[name]) for name in columns] for row in rows])
    _raise_failure(rows)


def _cell(value: object) -> object:
    return "" if value is None else value


def _raise_failure(rows: list[_Row]) -> None:
    failed = [row for row in rows if row.code]
    if not failed:
        return
    absent = {"missing-here", "missing-there", "missing-both"}
    first = next((row for row in failed if row.code not in absent), failed[0])
    codes = {row.code for row in failed}
    code = first.code if first.code not in absent or len(codes) == 1 else "missing-both"
    others = "; the first" if len(failed) > 1 else ""
    what = f"{len(failed)} of {len(rows)} series failed{others}: {first.sentence}"
    raise SeriesportError(code, what)


class _Side:
    """One of the two addresses: its series, and how many instances each has."""

    def __init__(
        self, stack: ExitStack, text: str, settings: Settings, like: _Side | None = None
    ) -> None:
        self.address = parse(text)
        self.failures: list[SeriesportError] = []
        """What could not be listed, or is lost."""
        self._like = like
        self._uids: dict[Hashable, set[str]] = {}
        self.transport = stack.enter_context(open_transport(self.address.root, settings))

    @cached_property
    def series(self) -> list[SeriesReference]:
        """The series below the address."""
        found: dict[SeriesReference, None] = {}
        for address in self._addresses():
            found.update(dict.fromkeys(self.transport.find(address)))
            self.failures += left_out(self.transport)
        if self.address.file is not None:
            self.failures += _lost_files(self.address.file)
        return list(found)

    def _addresses(self) -> list[Address]:
        address = self.address
        if self._like is None or not address.is_unbounded:
            return [address]
        studies = {series.study_instance_uid for series in self._like.series}
        return [address.narrowed(study=study) for study in sorted(studies)]

    @cached_property
    def _by_identity(self) -> dict[Hashable, list[SeriesReference]]:
        found: dict[Hashable, list[SeriesReference]] = {}
        for series in self.series:
            found.setdefault(_identity(series), []).append(series)
        return found

    def identities(self, but: _Side) -> list[Hashable]:
        """The series that this side has and the other has not."""
        return [one for one in self._by_identity if one not in but._by_identity]

    def one(self, identity: Hashable) -> SeriesReference:
        """Return a reference to a series that is here."""
        return self._by_identity[identity][0]

    def uids(self, identity: Hashable) -> set[str]:
        """Return the instances that are listed of a series; none where it is not there.

        The transport is asked once.
        """
        if identity not in self._uids:
            same = self._by_identity.get(identity, [])
            self._uids[identity] = {uid for one in same for uid in self.transport.uids(one)}
        return self._uids[identity]

    def missing(self, identity: Hashable, absent: set[str]) -> str:
        """Name instances that this side has and the other lacks."""
        expected = {
            uid: one
            for series in self._by_identity[identity]
            for uid, one in self.transport.expect(series).items()
        }
        which = numbers(expected[uid] for uid in absent if uid in expected)
        return f" ({which})" if which else ""


def _identity(series: SeriesReference) -> Hashable:
    """What makes a series on one side the same as one on the other."""
    return series.address.counterpart if series.plain else series.series_instance_uid


def _check(here: _Side, there: _Side | None) -> Iterable[_Row]:
    compared: set[Hashable] = set()
    for series in here.series:
        identity = _identity(series)
        number, modality = word(series.series_number), kind(series)
        listed = len(there.uids(identity)) if there is not None else None
        try:
            count = _require_whole(here.transport, series)
        except SeriesportError as error:
            yield _Row(number, modality, series.instances or 0, listed, error.message, error.code)
            continue
        code, result = "", WHOLE
        if there is not None and identity not in compared:
            compared.add(identity)
            code, result = _compare(identity, here, there)
        yield _Row(number, modality, count, listed, result, code)


def _compare(identity: Hashable, here: _Side, there: _Side) -> tuple[str, str]:
    """Return a reason code and a sentence that say which side lacks what."""
    mine, others = here.uids(identity), there.uids(identity)
    absent_there, absent_here = mine - others, others - mine
    parts: list[str] = []
    if absent_there:
        parts.append(_lacks(absent_there, mine, here.missing(identity, absent_there), "there"))
    if absent_here:
        parts.append(_lacks(absent_here, others, there.missing(identity, absent_here), "here"))
    if not parts:
        return "", WHOLE
    side = "both" if len(parts) == 2 else "there" if absent_there else "here"
    return f"missing-{side}", "; ".join(parts)


def _lacks(absent: set[str], present: set[str], which: str, side: str) -> str:
    if absent == present:
        if len(present) == 1:
            return f"its only instance is not {side}"
        return f"none of its {len(present)} instances is {side}"
    return f"{part(len(absent), len(present), 'instance', 'is', 'are')} not {side}{which}"


def _only_there(there: _Side, identity: Hashable) -> _Row:
    series, uids = there.one(identity), there.uids(identity)
    result = _lacks(uids, uids, "", "here")
    number, modality = word(series.series_number), kind(series)
    return _Row(number, modality, 0, len(uids), result, "missing-here")


def _lost(error: SeriesportError, side: str = "") -> _Row:
    return _Row("", "", 0, None, side + error.message, error.code)


def _require_whole(transport: Transport, series: SeriesReference) -> int:
    _check_manifest(series.address)
    expected = transport.expect(series)
    with scratch() as room, Staging(room, series) as stage:
        transport.persist(_receive, transport, series, expected, stage)
        stage.settle()
        have = stage.held(expected)
        missing = [expected[name] for name in expected if name not in have]
        if missing:
            codes = stage.refusals(missing)
            what = part(len(missing), len(expected), "instance", "is", "are")
            problem = f"{what} not whole ({numbers(missing)})"
            raise SeriesportError(codes[0] if codes else "incomplete", problem)
    return len(expected)


def _receive(
    transport: Transport,
    series: SeriesReference,
    expected: Mapping[str, Expected],
    stage: Staging,
) -> None:
    stage.settle()
    for instance in transport.fetch(series, expected, stage.held(expected), stage.spool):
        stage.accept(instance)
        if instance.location is not None:
            stage.settle()


def _check_manifest(address: Address) -> None:
    path = address.local
    if path is None or not address.is_packed or not manifest_path(path).exists():
        return
    try:
        verify_bundle(path, read_manifest(path))
    except SeriesportError as error:
        raise SeriesportError(error.code, f"{path.name}: {error.message}") from error


def _lost_files(folder: Path) -> list[SeriesportError]:
    """Find what ledgers below a folder name and what is not there any more."""
    lost: list[SeriesportError] = []
    for path in sorted(folder.rglob("ledger.tsv")):
        try:
            ledger = read_ledger(path)
        except SeriesportError as error:
            lost.append(error)
            continue
        for line in ledger.values():
            gone = [name for name in line.files.split() if not (path.parent / name).exists()]
            if line.status is Status.COMPLETE and gone:
                what = f"{line.key}: {' and '.join(gone)} is gone; run snakemake to make it again"
                lost.append(SeriesportError("output-lost", what))
    return lost
