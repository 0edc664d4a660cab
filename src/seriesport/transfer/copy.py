"""Copy every series below one address to another."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from threading import Event, Lock
from typing import TYPE_CHECKING

from seriesport.access import make_folder
from seriesport.errors import SeriesportError
from seriesport.model.series import Proof, Receipt, SeriesReference
from seriesport.privacy import reasoned
from seriesport.store.bundle import read_bundle, read_files
from seriesport.store.files import locked
from seriesport.store.keys import load_secret
from seriesport.transfer.arrived import arrived, forget, note
from seriesport.transfer.cache import cache, cached, fetch_bundle
from seriesport.transfer.find import look
from seriesport.transfer.watch import Watch
from seriesport.transports.given import address_of, settings_for
from seriesport.transports.parallel import Transports, in_parallel, workers
from seriesport.transports.registry import server_of
from seriesport.transports.served import REFUSALS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from seriesport.config.settings import Settings
    from seriesport.model.address import Address
    from seriesport.transports.contract import Transport

_NAMED = 10
_WITHOUT_SERVER = 2
"""Series at a time: one is read while another is written."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A series that arrived at its destination, whole and proven."""

    number: int
    """Place among the series that were found, from 1."""
    series: SeriesReference
    """The series at its source."""
    receipt: Receipt
    """Per instance, whether it was sent, and how far its arrival is proven."""

    @property
    def sent(self) -> int:
        """Number of instances that were sent; the destination had the others already."""
        return sum(entry.sent for entry in self.receipt.entries)

    @property
    def proof(self) -> Proof | None:
        """Weakest proof of any instance; None for a series without instances."""
        proofs = [entry.proof for entry in self.receipt.entries if entry.proof is not None]
        return min(proofs, key=list(Proof).index, default=None)


@reasoned()
def copy(
    source: str | Path | Address | SeriesReference,
    destination: str | Path | Address,
    settings: Settings | None = None,
    *,
    watch: Watch | None = None,
) -> list[Copied]:
    """Copy every series below one address to another, each proven complete at both ends.

    Several series are copied at a time, as many as the servers' connections allow. What is
    fetched waits in a private cache folder until it is delivered, so that a killed copy goes on
    where it was. A second copy sends nothing.

        >>> from seriesport import copy
        >>> for one in copy("images", "all.zip"):
        ...     print(one.series.modality, len(one.receipt.entries), one.sent, one.proof)
        CT 5 5 digest
        MR 6 6 digest
        >>> sum(one.sent for one in copy("images", "all.zip"))
        0

    Args:
        source: A path, an address, or a series that `find` returned.
        destination: A folder, a ZIP, an archive or an XNAT.
        settings: Servers and limits; by default those of `config/config.yaml` in the working
            directory.
        watch: Told how it goes.

    Returns:
        The series that were copied, in the order of `find`: all of them.

    Raises:
        SeriesportError: the failure of the first series that failed, after all were tried;
            not-found, address-invalid, server-unknown; what the destination refuses.
        KeyboardInterrupt: with a text that says how many series are complete.
    """
    watch = watch or Watch()
    start = source.address if isinstance(source, SeriesReference) else address_of(source)
    end = address_of(destination)
    lost: list[SeriesportError] = []
    with Transports(settings_for([start, end], settings)) as transports:
        reader = transports.get(start.root)
        transports.get(end.root).check_destination(end)
        if isinstance(source, SeriesReference):
            found = [source]
        else:
            found, lost = look(reader, start, watch)
        transports.lend()
        watch.found(found)
        work = _Copy(found, start, end, transports, watch)
        outcomes = work.run()
    failures = [outcome for outcome in outcomes if isinstance(outcome, SeriesportError)]
    if not failures:
        work.forget()
    told = "\n".join(error.message for error in failures)
    failures += [error for error in lost if error.message not in told]
    if failures:
        raise _summary(failures)
    return [outcome for outcome in outcomes if isinstance(outcome, Copied)]


def _summary(failures: Sequence[SeriesportError]) -> SeriesportError:
    more = f" (and {len(failures) - 1} more series failed)" if len(failures) > 1 else ""
    return SeriesportError(failures[0].code, failures[0].message + more)


class _Copy:
    """The copy of some series from one address to another. Its threads share it."""

    def __init__(
        self,
        found: Sequence[SeriesReference],
        source: Address,
        destination: Address,
        transports: Transports,
        watch: Watch,
    ) -> None:
        self._found = found
        self._source = source
        self._destination = destination
        self._transports = transports
        self._settings = transports.settings
        transports.seen = self._step
        self._watch = watch
        self._secret = load_secret(cache() / "secret")
        self._complete: set[int] = set()
        self._failed: set[int] = set()
        self._guard = Lock()
        self._stopping = Event()
        self._tried = [Event() for _ in found]
        """Set for each series once it was copied, or could not be."""

    def run(self) -> list[Copied | SeriesportError]:
        """Copy the series; return the outcome or the failure of each, in their order."""
        self._watch.told(self._state, 0)
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
            what = f"stopped at {self._state}; what has come of the others waits in {cache()}"
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
        self._watch.moved(size)

    def _copy(self, number: int) -> Copied | SeriesportError:
        series = self._found[number]
        bundle = self._bundle(series)
        outcome: Copied | SeriesportError
        try:
            with reasoned(), locked(bundle.parent.with_suffix(".lock")):  # of two copies, one waits
                outcome = self._fetch_and_store(number, series, bundle)
        except SeriesportError as error:
            label = f"series {number + 1} of {len(self._found)}"
            outcome = SeriesportError(error.code, f"{label}: {error.message}")
        finally:
            self._tried[number].set()
        self._count(number, failed=isinstance(outcome, SeriesportError))
        if isinstance(outcome, Copied):
            self._watch.copied(outcome)
        return outcome

    def _count(self, number: int, *, failed: bool) -> None:
        with self._guard:
            self._failed.discard(number)
            (self._failed if failed else self._complete).add(number)
            there = sum(self._found[number].instances or 0 for number in self._complete)
            self._watch.told(self._state, there)

    def _fetch_and_store(self, number: int, series: SeriesReference, bundle: Path) -> Copied:
        make_folder(bundle.parent, private=True)
        receipt = arrived(bundle, series, self._destination, self._reader, self._writer)
        if receipt is None:
            staging = bundle.with_name("staging")
            fetch_bundle(self._reader(), series, bundle, staging)
            if number and server_of(self._destination, self._settings) is None:
                # Folders are numbered, and a ZIP grows, in the order of the listing.
                self._tried[number - 1].wait()
            receipt = self._store(series, bundle)
            shutil.rmtree(staging, ignore_errors=True)  # what was put aside
            note(bundle)
        return Copied(number + 1, series, receipt)

    def _store(self, series: SeriesReference, bundle: Path) -> Receipt:
        destination = self._destination
        writer = self._writer()

        def attempt() -> Receipt:
            if series.plain:
                files = read_files(bundle)
                receipt = writer.store_files(files, destination, "", series)
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
        return cached(self._secret, series)
