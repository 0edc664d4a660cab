"""Check that every series below an address is whole, and the same as at another address."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from seriesport.cohort.resolve import kind, word
from seriesport.counts import part
from seriesport.errors import SeriesportError
from seriesport.privacy import reasoned
from seriesport.store.bundle import manifest_path, read_manifest, verify_bundle
from seriesport.store.scratch import scratch
from seriesport.store.staging import Staging
from seriesport.transfer.find import NOTHING, left_out
from seriesport.transfer.watch import Watch
from seriesport.transports.fetch import numbers
from seriesport.transports.given import address_of, settings_for
from seriesport.transports.registry import open_transport
from seriesport.workflow.ledger import Status, read_ledger

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from seriesport.config.settings import Settings
    from seriesport.model.address import Address
    from seriesport.model.series import SeriesReference
    from seriesport.transports.contract import Transport

WHOLE = "whole"


@dataclass(frozen=True, slots=True)
class Verified:
    """What became of the check of one series. It prints without identifiers."""

    series_number: str
    modality: str
    """Empty for something that no series is known of, such as a lost file."""
    instances: int
    """Number of instances here."""
    there: int | None
    """Number of instances at the other address; None where none was given."""
    result: str
    """`whole`, or a sentence that says what is wrong."""
    code: str = ""
    """Reason code of what is wrong; empty for a series that is whole."""
    series: SeriesReference | None = field(default=None, repr=False)
    """The series, where it was found."""

    @property
    def whole(self) -> bool:
        """True for a series of which nothing is missing or damaged."""
        return not self.code


@reasoned()
def verify(
    address: str | Path | Address,
    against: str | Path | Address | None = None,
    settings: Settings | None = None,
    *,
    watch: Watch | None = None,
) -> list[Verified]:
    """Check that every series below an address is whole, and the same as at another address.

    Bundles are checked against their manifests, and files of results against their ledgers. With
    `against`, series and instances that either side lacks are named. Of a whole archive there,
    the studies that are here are compared.

        >>> from seriesport import verify
        >>> for one in verify("images"):
        ...     print(one.series_number, one.modality, one.instances, one.result)
        1 CT 5 whole
        2 MR 6 whole
        >>> [(one.code, one.result) for one in verify("images/2", against="part.zip")]
        [('missing-there', '1 of 6 instances is not there (number 6)')]

    Args:
        address: A path or an address.
        against: An address that must have the same series and instances.
        settings: Servers and limits; by default those of `config/config.yaml` in the working
            directory.
        watch: Told of files that belong to no series.

    Returns:
        An outcome for each series on either side, whole or not, and for each file that is lost.

    Raises:
        SeriesportError: not-found, where neither side has a series; address-invalid;
            server-unknown; what keeps a side from being listed. A series that is not whole
            raises nothing: its outcome has the code.
    """
    watch = watch or Watch()
    mine = address_of(address)
    other = None if against is None else address_of(against)
    known = settings_for([mine, *([] if other is None else [other])], settings)
    with ExitStack() as stack:
        here = _Side(stack, mine, known, watch)
        there = None if other is None else _Side(stack, other, known, watch, like=here)
        if not here.series and not (there and there.series):
            raise next(iter(here.failures), SeriesportError("not-found", NOTHING))
        rows = list(_check(here, there))
        told = {row.result for row in rows}
        rows += [_lost(error) for error in here.failures if error.message not in told]
        if there is not None:
            rows += [_only_there(there, identity) for identity in there.identities(but=here)]
            rows += [_lost(error, "there: ") for error in there.failures]
    return rows


class _Side:
    """One of the two addresses: its series, and how many instances each has."""

    def __init__(
        self,
        stack: ExitStack,
        address: Address,
        settings: Settings,
        watch: Watch,
        like: _Side | None = None,
    ) -> None:
        self.address = address
        self.failures: list[SeriesportError] = []
        """What could not be listed, or is lost."""
        self._watch = watch
        self._like = like
        self._uids: dict[Hashable, set[str]] = {}
        self.transport = stack.enter_context(open_transport(self.address.root, settings))

    @cached_property
    def series(self) -> list[SeriesReference]:
        """The series below the address."""
        found: dict[SeriesReference, None] = {}
        for address in self._addresses():
            found.update(dict.fromkeys(self.transport.find(address)))
            self.failures += left_out(self.transport, self._watch)
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


def _check(here: _Side, there: _Side | None) -> Iterable[Verified]:
    compared: set[Hashable] = set()
    for series in here.series:
        identity = _identity(series)
        number, modality = word(series.series_number), kind(series)
        listed = len(there.uids(identity)) if there is not None else None
        try:
            count = _require_whole(here.transport, series)
        except SeriesportError as error:
            known = series.instances or 0
            yield Verified(number, modality, known, listed, error.message, error.code, series)
            continue
        code, result = "", WHOLE
        if there is not None and identity not in compared:
            compared.add(identity)
            code, result = _compare(identity, here, there)
        yield Verified(number, modality, count, listed, result, code, series)


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


def _only_there(there: _Side, identity: Hashable) -> Verified:
    series, uids = there.one(identity), there.uids(identity)
    result = _lacks(uids, uids, "", "here")
    number, modality = word(series.series_number), kind(series)
    return Verified(number, modality, 0, len(uids), result, "missing-here", series)


def _lost(error: SeriesportError, side: str = "") -> Verified:
    return Verified("", "", 0, None, side + error.message, error.code)


def _require_whole(transport: Transport, series: SeriesReference) -> int:
    _check_manifest(series.address)
    expected = transport.expect(series)
    with scratch() as room, Staging(room, series) as stage:
        for instance in transport.fetch(series, expected, (), stage.spool):
            stage.accept(instance)
            if instance.location is not None:
                stage.settle()
        stage.settle()
        have = stage.held(expected)
        missing = [expected[name] for name in expected if name not in have]
        if missing:
            codes = stage.refusals(missing)
            what = part(len(missing), len(expected), "instance", "is", "are")
            problem = f"{what} not whole ({numbers(missing)})"
            raise SeriesportError(codes[0] if codes else "incomplete", problem)
    return len(expected)


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
