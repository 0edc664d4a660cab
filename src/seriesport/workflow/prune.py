"""Pruning: what belongs to no row of the cohort any more is listed, and removed when asked to.

It may be killed at any moment and run again: what says where things are goes last.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from seriesport.cohort.plan import DICOM, LOCAL, Plan, server_name
from seriesport.counts import counted
from seriesport.errors import SeriesportError, unwritable
from seriesport.model.series import SeriesReference, Written
from seriesport.store.bundle import read_bundle, read_files, read_manifest
from seriesport.store.files import write_bytes
from seriesport.store.keys import check_secret, load_secret
from seriesport.store.lease import lease
from seriesport.transports.parallel import Transports
from seriesport.transports.registry import parse
from seriesport.workflow.bundles import delivered_bundle
from seriesport.workflow.closing import LOCKED
from seriesport.workflow.ledger import LEDGER, read_ledger, write_ledger
from seriesport.workflow.receipts import deliveries, receipts
from seriesport.workflow.records import Records
from seriesport.workflow.remnants import (
    Delivered,
    Remnant,
    find_remnants,
    ledgers,
    standing,
)
from seriesport.workflow.retries import plan_again
from seriesport.workflow.sent import record_sent, sent_of
from seriesport.workflow.startup import ALONE, put_aside
from seriesport.workflow.steps import CONVERT, STEPS, UPLOAD
from seriesport.workflow.upload import resource_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seriesport.cohort import Entry
    from seriesport.cohort.plan import PlannedSeries
    from seriesport.config.settings import Settings
    from seriesport.model.address import Address
    from seriesport.transports.contract import Transport
    from seriesport.workflow.shard import Results

_LOCKS = Path(".snakemake/locks")
_WAIT = 60.0
"""Seconds to wait for a process that changes the plan."""


HERE = ("results", "records", "damaged")
"""What there is to remove in the results; the last are damaged copies that were put aside."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be done with what is found. All False only lists it."""

    remove: bool = False
    """Remove results, staging and records."""
    delivered: bool = False
    """Remove what was delivered as well."""
    forget: bool = False
    """Forget deliveries that stay where they are."""


@dataclass(frozen=True, slots=True)
class Done:
    """One thing that belongs to no row any more, and what became of it."""

    remnant: Remnant
    what: str
    """One of HERE, or what was delivered: `dicom` or a format."""
    where: str
    """The destination, where it was delivered."""
    count: int
    """Files, or instances and files that a destination got from us."""
    size: int
    """In bytes, where it lies in the results."""
    result: str = ""
    error: SeriesportError | None = None


def prune(
    results: Results, entries: Sequence[Entry], settings: Settings, asked: Asked
) -> list[Done]:
    """List what belongs to no row of the cohort any more; remove what is asked for.

    Nothing is asked of any source. What was delivered is compared, byte by byte, before it goes.

    Raises:
        SeriesportError: shard-busy, where a run is under way; file-unreadable, where there is
            no plan or it is damaged.
    """
    with ExitStack() as stack:
        if asked.remove:
            _refuse_beside_a_run()
            if results.plan.folder.is_dir():
                busy = "another process changes the plan"
                stack.enter_context(lease(results.plan.lease, wait=_WAIT, busy=busy))
        plan = results.plan.read()
        if plan is None:
            raise SeriesportError("file-unreadable", "there is no plan; run the workflow first")
        check_secret(results.secret, results.plan.secret_check)
        secret = load_secret(results.secret)
        found = find_remnants(results, entries, plan, secret, settings)
        if not asked.remove:
            listed = [done for remnant in found for done in _listed(remnant)]
            return [*listed, *_damaged(results, asked)]
        now = standing(entries, plan, secret, settings)
        # Also where it has not changed: an earlier pruning may have been killed in the midst of it.
        results.plan.write(now, plan)
        plan_again(results)
        transports = stack.enter_context(Transports(settings))
        pruning = _Pruning(results, now, transports, asked)
        copies = _damaged(results, asked)
        ended = [*(done for remnant in found for done in pruning.prune(remnant)), *copies]
        keys = {remnant.key for remnant in found}
        results.plan.write_former([row for row in results.plan.former() if row.key in keys])
    _remove_empty_folders(results, found)
    return ended


def _damaged(results: Results, asked: Asked) -> list[Done]:
    """Remove the damaged copies that were put aside, whomever they may name."""
    alone, anew = _copies(results)
    found = [_put_aside(anew, "removed" if asked.remove else "")] if anew else []
    if alone:
        stays = "" if asked.forget else "stays without --forget: nothing else has what it had"
        found.append(_put_aside(alone, (stays or "removed") if asked.remove else ""))
    if asked.remove:
        for path in (*anew, *(alone if asked.forget else ())):
            path.unlink(missing_ok=True)
    return found


def _copies(results: Results) -> tuple[list[Path], list[Path]]:
    """The damaged copies: of files that cannot be made again, and of the others."""
    every = put_aside(results)
    alone = [path for path in every if path.name.partition(".damaged")[0] in ALONE]
    return alone, [path for path in every if path not in alone]


def _put_aside(paths: Sequence[Path], result: str) -> Done:
    copies = Remnant("-", (), None, planned=False, held=False, files=tuple(paths))
    return Done(copies, "damaged", "", len(paths), sum(map(_size, paths)), result)


def _remove_empty_folders(results: Results, found: Sequence[Remnant]) -> None:
    for shard in {shard for remnant in found for shard in remnant.shards}:
        for step in STEPS:
            with suppress(OSError):
                results.step(step, shard).rmdir()
    with suppress(OSError):
        (results.folder / "staging").rmdir()


def _refuse_beside_a_run() -> None:
    if _LOCKS.is_dir() and any(_LOCKS.iterdir()):
        raise SeriesportError("shard-busy", LOCKED)


def _listed(remnant: Remnant) -> list[Done]:
    delivered = [_delivered(remnant, one) for one in remnant.delivered]
    return [_here(remnant), *delivered] if remnant.files or not delivered else delivered


def _here(remnant: Remnant) -> Done:
    size = sum(_size(path) for path in remnant.files)
    what = "results" if remnant.files else "records"
    return Done(remnant, what, "", len(remnant.files), size)


def _delivered(remnant: Remnant, one: Delivered) -> Done:
    return Done(remnant, one.sent.form, one.url, len(one.sent.sha256), 0)


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(_size(below) for below in path.iterdir())
    with suppress(FileNotFoundError):
        return path.lstat().st_size
    return 0


class _Pruning:
    """One pruning of a set of results, whose plan is held."""

    def __init__(self, results: Results, plan: Plan, transports: Transports, asked: Asked) -> None:
        self._results = results
        self._plan = plan
        self._transports = transports
        self._asked = asked
        self._shards = plan.shards()

    def prune(self, remnant: Remnant) -> list[Done]:
        listed = _listed(remnant)
        if remnant.held:
            return [_kept(done, SeriesportError("still-wanted", _STILL)) for done in listed]
        try:
            with ExitStack() as stack:
                for shard in remnant.shards:
                    for step in STEPS:
                        folder = self._results.step(step, shard)
                        if folder.is_dir():
                            busy = "a job is at work on its shard"
                            stack.enter_context(lease(folder / "lease", wait=0, busy=busy))
                return self._remove(remnant)
        except SeriesportError as error:
            return [_kept(done, error) for done in listed]
        except OSError as error:
            return [_kept(done, unwritable(error)) for done in listed]

    def _remove(self, remnant: Remnant) -> list[Done]:
        ended = [self._take_back(remnant, one) for one in remnant.delivered]
        left = [
            one
            for one, done in zip(remnant.delivered, ended, strict=True)
            if done.error is not None and not self._asked.forget
        ]
        here = [_ended(_here(remnant), "removed")] if remnant.files or not ended else []
        for path in remnant.files:
            _delete(path)
        self._forget(remnant, left)
        return [*here, *ended]

    def _take_back(self, remnant: Remnant, one: Delivered) -> Done:
        """Remove what a destination has from us, if that is asked for."""
        row = _delivered(remnant, one)
        reason = self._why_not(remnant, one)
        if reason or remnant.row is None:
            return _kept(row, _left(reason))
        try:
            address = parse(one.url)
            transport = self._transports.get(address.root)
            if self._is_shared(remnant.row, one, apart=transport.keeps_apart):
                return _ended(row, "stays: another row delivers the same there")
            written = self._written(remnant.row, one)
            if written.resource is None:
                written = replace(written, name=self._folder(transport, address, written))
            removal = transport.remove(address, written)
        except SeriesportError as error:
            return _kept(row, error)
        gone = len(one.sent.sha256) - removal.removed
        told = f"removed {removal.removed}"
        if removal.left:
            others = counted(removal.left, "other file stays", "other files stay")
            what = f"{told}; {others}: not what was delivered"
            return _kept(row, _left(what)) if gone > 0 else _ended(row, what)
        return _ended(row, f"{told}, gone before: {gone}" if gone > 0 else told)

    def _why_not(self, remnant: Remnant, one: Delivered) -> str:
        """Say why a delivery is not even looked for; empty where it is."""
        if remnant.row is None or not one.url:
            return "its destination is not known any more"
        if not one.sent.sha256:
            return "no receipt says that it was not there before"
        return "" if self._asked.delivered else "it stays where it is without --delivered"

    def _is_shared(self, row: PlannedSeries, one: Delivered, *, apart: bool) -> bool:
        """Whether a row of the cohort relies on what was delivered for this one."""
        mine = row.reference
        others = [o for o in self._plan.series if one.url in o.destinations and o.key != row.key]
        if _as_it_came(row) and one.sent.form == DICOM:
            ours = set(one.sent.sha256)
            return any(not ours.isdisjoint(self._bytes(o)) for o in others if _as_it_came(o))
        uid = mine.series_instance_uid
        return not apart and any(uid and o.reference.series_instance_uid == uid for o in others)

    def _bytes(self, row: PlannedSeries) -> set[str]:
        with suppress(SeriesportError):
            manifest = read_manifest(delivered_bundle(self._results, row))
            return {member.sha256 for member in manifest.instances}
        return set()

    def _folder(self, transport: Transport, address: Address, written: Written) -> str:
        """The folder that a folder or ZIP has for a series: as an upload chooses it."""
        if server_name(address) != LOCAL or transport.glance(address, written.name):
            return written.name
        ours = self._results.plan.places()
        with suppress(OSError):  # `remove` says what is wrong with it
            return transport.folder_of(address, written.series, ours) or written.name
        return written.name

    def _written(self, row: PlannedSeries, one: Delivered) -> Written:
        form, ours, series = one.sent.form, set(one.sent.sha256), row.reference
        if row.template is not None:  # its own series is the one that was made
            made = self._results.step(CONVERT, row.shard) / f"{row.key}.zip"
            series = SeriesReference.of(read_bundle(made)[0].header, series.address)
        if form != DICOM:
            names = one.sent.names
            return Written(ours, series, row.key, resource_of(form), names)
        if not _as_it_came(row):
            return Written(ours, series, row.key)
        # Their names may identify, so that the bundle alone has them.
        names = [file.name for file in read_files(delivered_bundle(self._results, row))]
        return Written(ours, series, row.key, "", names)

    def _forget(self, remnant: Remnant, left: Sequence[Delivered]) -> None:
        """Remove what is on record of a series, but for deliveries that are left."""
        key = remnant.key
        gone = {one.sent.place for one in remnant.delivered} - {one.sent.place for one in left}
        for shard in remnant.shards:
            rows = [row.key for row in self._shards.get(shard, ())]
            receipts, sent = self._results.records(UPLOAD, shard), self._results.sent(shard)
            if not remnant.planned:
                _drop_lines(self._results, shard, key)
                every = {self._results.step(s, shard) / name for s in STEPS for name in s.records}
                for path in sorted(every - {receipts, sent}):
                    _edit(path, rows, lambda r: r.drop(key))
            _edit(receipts, rows, lambda r: _settle_receipts(r, key, gone))
            # After the receipts, without which nobody misses it.
            _edit(sent, rows, lambda r: _settle(r, key, gone))
            if not rows and not left:
                _remove_shard(self._results, shard)
        if not left and not remnant.planned:
            _drop_rows(self._results.table, key)
            _drop_rows(self._results.folder / "summary.tsv", key)
            self._results.plan.forget({key})
        # Last, since it says that there is something to remove.
        former = [row for row in self._results.plan.former() if row.key != key or left]
        self._results.plan.write_former(former)


_STILL = "an entry of the cohort that has no answer yet may mean it"


def _as_it_came(row: PlannedSeries) -> bool:
    """Whether plain files are delivered as they are."""
    return row.reference.plain and row.template is None


def _left(what: str) -> SeriesportError:
    return SeriesportError("delivery-left", what)


def _kept(done: Done, error: SeriesportError) -> Done:
    return replace(done, result=f"stays: {error}", error=error)


def _ended(done: Done, result: str) -> Done:
    return replace(done, result=result)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _edit(path: Path, keys: Sequence[str], change: Callable[[Records], None]) -> None:
    kept = Records(path)
    change(kept)
    kept.write(keys)


def _settle(kept: Records, key: str, gone: set[tuple[str, str]]) -> None:
    """Forget what was sent of a series to some places."""
    stay = [one for one in sent_of(kept.get(key)) if one.place not in gone]
    if stay:
        kept.put(key, record_sent(stay))
    else:
        kept.drop(key)


def _settle_receipts(kept: Records, key: str, gone: set[tuple[str, str]]) -> None:
    every = deliveries(kept.get(key)).items()
    stay = [d for (place, content), d in every if (place, content.partition(" ")[0]) not in gone]
    if stay:
        kept.put(key, receipts(stay))
    else:
        kept.drop(key)


def _drop_lines(results: Results, shard: str, key: str) -> None:
    """Take a series out of the ledgers of a shard, whose times stay, so that nothing runs again."""
    for path in ledgers(results, shard):
        with suppress(SeriesportError):  # a damaged one is made anew by the next run
            lines = read_ledger(path)
            if lines.pop(key, None) is not None:
                status = path.stat()
                write_ledger(path, lines.values())
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _remove_shard(results: Results, shard: str) -> None:
    """Remove the folders of a shard without series, and its logs, where nothing is left there."""
    folders = [results.step(step, shard) for step in STEPS]
    names = (LEDGER, *(name for step in STEPS for name in step.records))
    found = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    ours = [path for path in found if path.name in names]
    if any(p not in ours and p.name != "lease" and ".damaged" not in p.name for p in found):
        return
    for path in (*ours, *(results.retry(step, shard) for step in STEPS)):
        path.unlink(missing_ok=True)
    for log in results.folder.glob(f"logs/*/{shard}.log"):
        log.unlink(missing_ok=True)


def _drop_rows(path: Path, key: str) -> None:
    """Take a series out of a table of all series."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        rows = list(csv.reader(stream, dialect="excel-tab"))
    kept = [row for row in rows if key not in row]
    if len(kept) < len(rows):
        text = io.StringIO()
        csv.writer(text, dialect="excel-tab", lineterminator="\n").writerows(kept)
        private = path.stat().st_mode & 0o077 == 0
        write_bytes(path, text.getvalue().encode("utf-8", "surrogateescape"), private=private)
