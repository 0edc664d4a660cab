"""What the steps share: where things lie, and a loop that one bad series cannot stop."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seriesport.cohort.plan import PlanFolder
from seriesport.errors import SeriesportError
from seriesport.privacy import where
from seriesport.store.bundle import Manifest, read_manifest, verify_bundle
from seriesport.store.files import make_folder, remove_parts, unwritable
from seriesport.store.lease import lease
from seriesport.transports.registry import open_transport
from seriesport.transports.served import REFUSALS
from seriesport.workflow.ledger import LedgerLine, Status, write_ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from seriesport.cohort.plan import PlannedSeries
    from seriesport.config.settings import Settings
    from seriesport.model.address import Address
    from seriesport.transports.contract import Transport
    from seriesport.workflow.records import Records

_log = logging.getLogger("seriesport")

FETCHED, CONVERTED, UPLOADED = "dicom", "converted", "uploaded"
STEPS = (FETCHED, CONVERTED, UPLOADED)
"""The folders of the steps below results/, in the order in which a series passes them."""


@dataclass(frozen=True, slots=True)
class Results:
    """The folders of a set of results."""

    folder: Path

    @property
    def secret(self) -> Path:
        """The secret that keys are made with."""
        return self.folder / "secret"

    @property
    def plan(self) -> PlanFolder:
        """The plan."""
        return PlanFolder(self.folder / "plan")

    @property
    def table(self) -> Path:
        """The table of all series, with the user's labels."""
        return self.folder / "cohort.tsv"

    @property
    def verdict(self) -> Path:
        """The table as the last run showed it."""
        return self.folder / "verdict.txt"

    @property
    def logs(self) -> Path:
        """The logs of the jobs."""
        return self.folder / "logs"

    def staging(self, key: str) -> Path:
        """Where the instances of a series wait for their bundle."""
        return self.folder / "staging" / key

    def step(self, step: str, shard: str) -> Path:
        """The folder of a shard's files for a step: `dicom`, `converted` or `uploaded`."""
        return self.folder / step / shard

    def ledger(self, step: str, shard: str) -> Path:
        """The ledger of a step over a shard."""
        return self.step(step, shard) / "ledger.tsv"

    def records(self, step: str, shard: str) -> Path:
        """What a step keeps of a shard's series: what it made of them, or their receipts."""
        name = "receipts.jsonl" if step == UPLOADED else "records.jsonl"
        return self.step(step, shard) / name

    def seen(self, shard: str) -> Path:
        """When each destination was last seen to have a series, by its name in the receipts."""
        return self.step(UPLOADED, shard) / "seen.jsonl"

    def sent(self, shard: str) -> Path:
        """What the destinations got of a shard's series and did not have before."""
        return self.step(UPLOADED, shard) / "sent.jsonl"


class Transports:
    """Transports that are open in this process: one per thread and address. A context manager."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._open: dict[tuple[int, Address], Transport] = {}

    def __enter__(self) -> Transports:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        if exc_type is None or issubclass(exc_type, Exception):
            self.close()
        # An interrupted process leaves them to its end: other threads are still at work on them.

    def close(self) -> None:
        """Close what no thread is at work with; it opens again where it is asked for."""
        with self._lock:
            transports = list(self._open.values())
            self._open.clear()
        for transport in transports:
            transport.close()

    def get(self, address: Address) -> Transport:
        """The transport of the calling thread for an address."""
        place = (threading.get_ident(), address)
        if place not in self._open:
            transport = open_transport(address, self.settings)
            with self._lock:
                self._open[place] = transport
        return self._open[place]


def run_shard(
    ledger: Path,
    rows: Sequence[PlannedSeries],
    work: Callable[[PlannedSeries], LedgerLine],
    workers: int = 1,
    records: Sequence[Records] = (),
    make_room: Callable[[], None] = lambda: None,
) -> list[LedgerLine]:
    """Bring every series of a shard to an end, good or bad, and write `records` and the ledger.

    A server may bear fewer connections than it is said to: series that it refused have another
    turn, one at a time, once `make_room` has closed the connections of the others.

    Raises:
        SeriesportError: shard-busy, where another job is at the same step of the same shard.
    """
    folder = ledger.parent
    try:
        make_folder(folder)
        with lease(folder / "lease", wait=0, busy="another job is at work on this shard"):
            remove_parts(folder)  # of a job that was killed, perhaps on another node
            several = workers > 1
            lines = (
                _in_threads(rows, work, workers) if several else [guarded(r, work) for r in rows]
            )
            if several and any(REFUSALS.intersection(line.codes) for line in lines):
                _log.info("once more, one at a time, what the server refused")
                make_room()
                lines = [
                    guarded(row, work) if REFUSALS.intersection(line.codes) else line
                    for row, line in zip(rows, lines, strict=True)
                ]
            for kept in records:
                kept.write(line.key for line in lines)
            write_ledger(ledger, lines)
    except OSError as error:
        raise unwritable(error) from error
    return lines


def _in_threads(
    rows: Sequence[PlannedSeries], work: Callable[[PlannedSeries], LedgerLine], workers: int
) -> list[LedgerLine]:
    pool = ThreadPoolExecutor(workers)
    try:
        ending = [pool.submit(guarded, row, work) for row in rows]
        lines = [line.result() for line in ending]
    except BaseException:
        # Ctrl-C does not wait for the rest of the shard.
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
    return lines


def guarded(row: PlannedSeries, work: Callable[[PlannedSeries], LedgerLine]) -> LedgerLine:
    """The work on one series; whatever it raises becomes a line that says so."""
    started = time.monotonic()
    try:
        line = work(row)
    except SeriesportError as error:
        line = LedgerLine(row.key, Status.FAILED, error.code, error.message)
    except OSError as error:
        line = LedgerLine(row.key, Status.FAILED, "file-unwritable", where(error))
    except Exception as error:  # noqa: BLE001 - one series must not stop its shard
        line = LedgerLine(row.key, Status.FAILED, "internal", where(error))
    seconds = time.monotonic() - started
    _log.log(
        logging.INFO if line.ok else logging.ERROR,
        "series %s: %s, %d of %d, %.1f MB, %.1f s%s",
        line.key, line.status, line.done, line.expected, line.size / 1e6, seconds,
        "" if line.ok else f": {line.detail} [{line.code}]",
    )  # fmt: skip
    return line


def line_of(ledger: Mapping[str, LedgerLine], key: str) -> LedgerLine:
    """The line of a series in the ledger of a step; a failed one where it has none."""
    absent = "the step has not seen this series"
    return ledger.get(key) or LedgerLine(key, Status.FAILED, "not-attempted", absent)


def not_attempted(source: LedgerLine) -> LedgerLine:
    """The line of a series that an earlier step failed for."""
    return LedgerLine(source.key, Status.FAILED, "not-attempted", f"not fetched [{source.code}]")


def trusted(bundle: Path, sha256: str) -> Manifest:
    """The manifest of a bundle, which is checked against its ledger and its manifest.

    Raises:
        SeriesportError: bundle-damaged.
    """
    manifest = read_manifest(bundle)
    if manifest.sha256 != sha256:
        raise SeriesportError("bundle-damaged", "the bundle is not the one that the ledger names")
    verify_bundle(bundle, manifest)
    return manifest
