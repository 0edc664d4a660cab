"""`seriesport cp`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

from seriesport.access import make_folder
from seriesport.cli.arrived import arrived, forget, note
from seriesport.cli.ls import find
from seriesport.cli.output import print_json, print_table, progress
from seriesport.errors import SeriesportError
from seriesport.model.series import Proof
from seriesport.privacy import reasoned
from seriesport.store.bundle import read_bundle, read_files
from seriesport.store.files import locked
from seriesport.store.keys import load_secret, series_key
from seriesport.transports.fetch import fetch_series
from seriesport.transports.parallel import Transports, in_parallel, workers
from seriesport.transports.registry import parse, server_of
from seriesport.transports.served import REFUSALS
from seriesport.workflow.fetch import existing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seriesport.cli.output import Bar
    from seriesport.config.settings import Settings
    from seriesport.model.address import Address
    from seriesport.model.series import Receipt, SeriesReference
    from seriesport.transports.contract import Transport

_COLUMNS = ("series", "modality", "instances", "sent", "there_already", "proof")
_NAMED = 10
_WITHOUT_SERVER = 2
"""Series at a time: one is read while another is written."""
_Row = dict[str, Any]


def cp(source_text: str, destination_text: str, settings: Settings, *, as_json: bool) -> None:
    """Copy every series below one address to another.

    Several series are copied at a time, as many as the servers' connections allow. What is
    fetched waits in a private cache folder until it is delivered, so that a killed copy goes on
    where it was.

    Raises:
        SeriesportError: the failure of the first series that failed, after all were tried.
        KeyboardInterrupt: says how many series are complete.
    """
    source, destination = parse(source_text), parse(destination_text)
    with Transports(settings) as transports:
        reader = transports.get(source.root)
        transports.get(destination.root).check_destination(destination)
        found, lost = find(reader, source)
        transports.lend()
        with progress(_instances(found)) as bar:
            copy = _Copy(found, source, destination, transports, bar)
            outcomes = copy.run()
    rows = [outcome for outcome in outcomes if not isinstance(outcome, SeriesportError)]
    failures = [outcome for outcome in outcomes if isinstance(outcome, SeriesportError)]
    if not failures:
        copy.forget()
    _report(rows, as_json=as_json)
    told = "\n".join(error.message for error in failures)
    failures += [error for error in lost if error.message not in told]
    if failures:
        raise _summary(failures)


class _Copy:
    """The copy of some series from one address to another. Its threads share it."""

    def __init__(
        self,
        found: Sequence[SeriesReference],
        source: Address,
        destination: Address,
        transports: Transports,
        bar: Bar,
    ) -> None:
        self._found = found
        self._source = source
        self._destination = destination
        self._transports = transports
        self._settings = transports.settings
        transports.seen = self._step
        self._bar = bar
        self._secret = load_secret(_cache() / "secret")
        self._complete: set[int] = set()
        self._failed: set[int] = set()
        self._guard = Lock()
        self._stopping = Event()
        self._tried = [Event() for _ in found]
        """Set for each series once it was copied, or could not be."""

    def run(self) -> list[_Row | SeriesportError]:
        """Copy the series, and return a row of the report or the failure of each, in order."""
        self._bar.tell(self._state, 0)
        ends = (self._source, self._destination)
        served = any(server_of(end, self._settings) for end in ends)
        at_once = workers(ends, self._settings, len(self._found)) if served else _WITHOUT_SERVER
        try:
            return in_parallel(
                range(len(self._found)),
                self._copy,
                at_once,
                refused=lambda one: isinstance(one, SeriesportError) and one.code in REFUSALS,
                let_go=self._transports.close_own,
                stopping=self._stopping,
            )
        except KeyboardInterrupt:
            what = f"stopped at {self._state}; what has come of the others waits in {_cache()}"
            raise KeyboardInterrupt(what) from None

    def forget(self) -> None:
        """Remove the notes of what was delivered, once nothing is left to do."""
        for series in self._found:
            forget(self._bundle(series))

    @property
    def _state(self) -> str:
        text = f"{len(self._complete)} of {len(self._found)} series complete"
        if self._failed:
            numbers = sorted(number + 1 for number in self._failed)
            more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
            text += f", failed: {', '.join(map(str, numbers[:_NAMED]))}{more}"
        return text

    def _step(self, size: int) -> None:
        if self._stopping.is_set():
            raise KeyboardInterrupt  # in this thread too
        self._bar.step(size)

    def _copy(self, number: int) -> _Row | SeriesportError:
        series = self._found[number]
        bundle = self._bundle(series)
        outcome: _Row | SeriesportError
        try:
            with reasoned(), locked(bundle.parent.with_suffix(".lock")):  # of two copies, one waits
                outcome = self._fetch_and_store(number, series, bundle)
        except SeriesportError as error:
            label = f"series {number + 1} of {len(self._found)}"
            outcome = SeriesportError(error.code, f"{label}: {error.message}")
        finally:
            self._tried[number].set()
        self._count(number, failed=isinstance(outcome, SeriesportError))
        return outcome

    def _count(self, number: int, *, failed: bool) -> None:
        with self._guard:
            self._failed.discard(number)
            (self._failed if failed else self._complete).add(number)
            there = sum(self._found[number].instances or 0 for number in self._complete)
            self._bar.tell(self._state, there)

    def _fetch_and_store(self, number: int, series: SeriesReference, bundle: Path) -> _Row:
        make_folder(bundle.parent, private=True)
        receipt = arrived(bundle, series, self._destination, self._reader, self._writer)
        if receipt is None:
            self._fetch(series, bundle)
            if number and server_of(self._destination, self._settings) is None:
                # Folders are numbered, and a ZIP grows, in the order of the listing.
                self._tried[number - 1].wait()
            receipt = self._store(series, bundle)
            shutil.rmtree(bundle.with_name("staging"), ignore_errors=True)  # what was put aside
            note(bundle)
        return {
            "series": series.series_instance_uid,
            "modality": series.modality,
            "instances": len(receipt.entries),
            "sent": sum(entry.sent for entry in receipt.entries),
            "there_already": sum(not entry.sent for entry in receipt.entries),
            "proof": weakest(receipt),
        }

    def _fetch(self, series: SeriesReference, bundle: Path) -> None:
        reader = self._reader()
        if not _is_cached(reader, series, bundle):
            fetch_series(reader, series, bundle, bundle.with_name("staging"))

    def _store(self, series: SeriesReference, bundle: Path) -> Receipt:
        destination = self._destination
        writer = self._writer()

        def attempt() -> Receipt:
            if series.plain:
                receipt = writer.store_files(read_files(bundle), destination, "", series)
            else:
                receipt = writer.store(read_bundle(bundle), destination)
            return receipt.require_complete()

        return writer.persist(attempt)

    def _reader(self) -> Transport:
        return self._open(self._source, self._destination)

    def _writer(self) -> Transport:
        return self._open(self._destination, self._source)

    def _open(self, address: Address, other: Address) -> Transport:
        """Return this thread's transport for one of the two addresses.

        Of two to one server, as under two AE titles, one is open at a time.
        """
        mine, others = address.root, other.root
        server = server_of(address, self._settings)
        if mine != others and server is not None and server == server_of(other, self._settings):
            self._transports.get(others).close()
        return self._transports.get(mine)

    def _bundle(self, series: SeriesReference) -> Path:
        return _cache() / series_key(self._secret, series.address.identity, series) / "bundle.zip"


def _instances(found: Sequence[SeriesReference]) -> int | None:
    """Return how many instances the series have; None where a source does not say."""
    counts = [series.instances for series in found if series.instances is not None]
    return sum(counts) if len(counts) == len(found) else None


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seriesport"


def _is_cached(reader: Transport, series: SeriesReference, bundle: Path) -> bool:
    """Whether an earlier copy left a bundle with just the instances that the source lists now."""
    if existing(bundle, series) is None:
        return False
    items = read_files(bundle) if series.plain else read_bundle(bundle)
    return {item.uid for item in items} == reader.uids(series)


def weakest(receipt: Receipt) -> str:
    """The weakest proof of any instance that arrived."""
    proofs = [entry.proof for entry in receipt.entries if entry.proof is not None]
    return str(min(proofs, key=list(Proof).index, default=""))


def _report(rows: Sequence[_Row], *, as_json: bool) -> None:
    if as_json:
        print_json(rows)
    elif rows:
        print_table(_COLUMNS, [[row[name] for name in _COLUMNS] for row in rows])


def _summary(failures: Sequence[SeriesportError]) -> SeriesportError:
    more = f" (and {len(failures) - 1} more series failed)" if len(failures) > 1 else ""
    return SeriesportError(failures[0].code, failures[0].message + more)
