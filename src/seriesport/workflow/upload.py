"""The step `upload`: what a shard has to deliver to its destinations, with receipts."""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

from seriesport.cohort.plan import DICOM, LOCAL, server_name
from seriesport.counts import part
from seriesport.errors import REASONS, SeriesportError, unreadable
from seriesport.model.instance import FileSlice, Instance, PlainFile
from seriesport.model.series import SeriesReference, Written
from seriesport.store.bundle import check_hash, read_bundle, read_files, read_manifest
from seriesport.store.digest import digest_member
from seriesport.store.keys import is_key, keyed_hash, load_secret
from seriesport.transports.parallel import Transports, workers
from seriesport.transports.registry import parse, server_of
from seriesport.workflow.bundles import Bundles
from seriesport.workflow.converted import made_of
from seriesport.workflow.ledger import Outcome, Status, told
from seriesport.workflow.readback import read_back
from seriesport.workflow.receipts import Delivery, deliveries, delivery, is_since, receipts
from seriesport.workflow.records import Records, read_records
from seriesport.workflow.retries import ordered_at
from seriesport.workflow.sent import Sent, record_sent, sent_of
from seriesport.workflow.shard import Results, run_shard
from seriesport.workflow.shares import check_granted
from seriesport.workflow.steps import CONVERT, UPLOAD

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from seriesport.cohort.plan import PlannedSeries
    from seriesport.config.config_yaml import Config
    from seriesport.config.settings import Settings
    from seriesport.model.address import Address
    from seriesport.model.instance import Item
    from seriesport.model.series import Announce, Receipt
    from seriesport.transports.contract import Transport
    from seriesport.workflow.bundles import Bundle
    from seriesport.workflow.converted import Made, Output
    from seriesport.workflow.records import Record

_RESOURCES = {"preview": "SNAPSHOTS"}
"""What XNAT calls the resources of files that are made; else the format's name in capitals."""
_log = logging.getLogger("seriesport")


@dataclass(frozen=True)
class _Upload:
    """What the uploads of one shard share."""

    results: Results
    shard: str
    bundles: Bundles
    secret: bytes
    transports: Transports
    receipts: Records
    sent: Records
    seen: Records
    since: float
    """In seconds since 1970: what was seen at a destination before is looked for again."""
    compare: bool
    """Whether the bytes that an archive has are compared."""

    @classmethod
    def of(
        cls,
        results: Results,
        shard: str,
        transports: Transports,
        *,
        compare: bool = False,
    ) -> _Upload:
        """What an upload of a shard needs."""
        return cls(
            results,
            shard,
            Bundles(results, UPLOAD, shard),
            load_secret(results.secret),
            transports,
            Records(results.records(UPLOAD, shard)),
            Records(results.sent(shard)),
            Records(results.seen(shard)),
            ordered_at(results, UPLOAD, shard),
            compare,
        )

    @cached_property
    def made(self) -> dict[str, Record]:
        """What the step before made of the series, by their keys."""
        return read_records(self.results.records(CONVERT, self.shard))

    @cached_property
    def keys(self) -> frozenset[str]:
        """The keys of all series that these results ever had."""
        return frozenset(self.results.plan.places())


def run(results: Results, shard: str, config: Config) -> list[Outcome]:
    """Deliver the series of a shard as config.yaml says; see `upload_shard`."""
    compare = config.recheck == "digest"
    return upload_shard(results, shard, config.upload, config.settings, compare=compare)


def upload_shard(
    results: Results,
    shard: str,
    upload: Sequence[str],
    settings: Settings,
    *,
    compare: bool = False,
) -> list[Outcome]:
    """Deliver what is not delivered yet, and write the shard's ledger.

    A receipt is believed if the destination was asked since the upload was last ordered;
    otherwise it is asked again, and what it lacks is sent. `upload` holds for the series whose
    entries do not say. `compare` gets back what an archive has, to compare its bytes.

    Raises:
        SeriesportError: not-granted; shard-busy.
    """
    rows = results.plan.read_shard(shard)
    addresses = [parse(url) for row in rows for url in row.destinations]
    check_granted(settings, addresses)
    at_once = workers(addresses, settings, len(rows))
    with Transports(settings) as transports:
        shared = _Upload.of(results, shard, transports, compare=compare)

        def work(row: PlannedSeries) -> Outcome:
            wanted = upload if row.upload is None else row.upload
            return _deliver(shared, row, wanted)

        records = (shared.receipts, shared.seen, shared.sent)
        folder = results.step(UPLOAD, shard)
        return run_shard(folder, rows, work, at_once, records, transports.close_own)


class Looks:
    """Looks for what was delivered where no server has to be asked: in folders and ZIPs."""

    def __init__(self, results: Results, upload: Sequence[str], settings: Settings) -> None:
        self._results = results
        self._upload = upload
        self._transports = Transports(settings)
        self._shards: dict[str, _Upload] = {}

    def lost(self, row: PlannedSeries) -> str:
        """Say what of a series is not where it was delivered; empty where all is there."""
        addresses = [*enumerate(map(parse, row.destinations), 1)]
        local = [(n, address) for n, address in addresses if server_name(address) == LOCAL]
        if not local:
            return ""
        if row.shard not in self._shards:
            self._shards[row.shard] = _Upload.of(self._results, row.shard, self._transports)
        upload = self._shards[row.shard]
        wanted = self._upload if row.upload is None else row.upload
        bundle = upload.bundles.of(row.key)
        for (number, address), parcel in product(local, _parcels(upload, row, bundle, wanted, [])):
            if not _takes(address, parcel, wanted):
                continue
            try:
                absent = parcel.absent(self._transports.get(address.root), address)
            except SeriesportError as error:
                return f"destination {number}: {error.message}"
            except OSError as error:
                return f"destination {number}: {unreadable(error).message}"
            if absent:
                gone = part(absent, len(parcel.names), "file", "is", "are")
                return f"destination {number}: {gone} not there"
        return ""


class _Images:
    """The DICOM of a series, or plain files as they came, in a ZIP.

    The ZIP is checked once, when it is first needed.
    """

    def __init__(
        self, upload: _Upload, row: PlannedSeries, path: Path, sha256: str, count: int
    ) -> None:
        self.content = f"{DICOM} {sha256}"
        self.count = count
        self._upload = upload
        self._row = row
        self._path = path
        self._sha256 = sha256

    @property
    def size(self) -> int:
        return self._path.stat().st_size

    @property
    def names(self) -> list[str]:
        return [f"{number:06d}" for number in range(1, len(self._members) + 1)]

    @property
    def _plain(self) -> bool:
        return self._row.reference.plain and self._row.template is None

    @cached_property
    def _members(self) -> Sequence[PlainFile]:
        return read_files(self._path)

    @cached_property
    def _items(self) -> Sequence[Item]:
        check_hash(self._path, self._sha256)
        return self._members if self._plain else read_bundle(self._path)

    def absent(self, transport: Transport, address: Address) -> int:
        """How many are not there, by a look at the names that a folder or ZIP has."""
        if self._plain:
            return _absent(transport, address, self._members)
        # They may be there under other names, and with other file meta information.
        name = self._row.key
        if not transport.glance(address, name):
            name = self.folder(transport, address)
        found = sum(size > 0 for size in transport.glance(address, name))
        return max(0, len(self._members) - found)

    def folder(self, transport: Transport, address: Address, first: Instance | None = None) -> str:
        """Name the folder that a folder or ZIP has for the series: its key, unless another one
        holds it already, of other results or of somebody else's. What these results have of one
        series from several sources stays apart.

        Args:
            transport: To the folder or ZIP.
            address: Of the folder or ZIP.
            first: Of the instances, where they have been read.
        """
        key = self._row.key
        try:
            if self._plain or server_name(address) != LOCAL or transport.glance(address, key):
                return key
            header = (first or read_bundle(self._path)[0]).header
            return transport.folder_of(address, header, self._upload.keys) or key
        except (OSError, SeriesportError):
            return key  # the place is not there yet, or `store` tells what is wrong with it

    @cached_property
    def _digests(self) -> Sequence[str]:
        with suppress(SeriesportError):
            manifest = read_manifest(self._path)
            if manifest.sha256 == self._sha256:
                return [member.sha256 for member in manifest.instances]
        return [digest_member(item).sha256 for item in self._items]

    def digests(self, uids: Collection[str]) -> list[str]:
        """SHA-256 of some of them, in hexadecimal."""
        return _of_uids(uids, self._items, self._digests)

    def store(
        self,
        transport: Transport,
        address: Address,
        announce: Announce,
        *,
        compare: bool,
    ) -> Receipt:
        instances = [item for item in self._items if isinstance(item, Instance)]
        if instances:
            name = self.folder(transport, address, instances[0])
            receipt = transport.store(instances, address, name, announce)
            if not compare or not address.lists_only:
                return receipt
            return read_back(transport, instances, address, receipt)
        files = [item for item in self._items if isinstance(item, PlainFile)]
        return transport.store_files(files, address, "", self._row.reference, announce=announce)


class _Files:
    """What one format made of a series."""

    def __init__(
        self,
        upload: _Upload,
        images: _Images | None,
        key: str,
        series: SeriesReference,
        form: str,
        folder: Path,
        made: Sequence[Output],
    ) -> None:
        self.content = f"{form} {_digest(made)}"
        self.count = len(made)
        self.size = sum(output.size for output in made)
        self.names = [output.name for output in made]
        self._upload = upload
        self._images = images
        self._key = key
        self._series = series
        self._resource = resource_of(form)
        self._files = [_file(folder / o.name, o) for o in made]
        self._digests = [output.sha256 for output in made]

    def digests(self, uids: Collection[str]) -> list[str]:
        """See _Images."""
        return _of_uids(uids, self._files, self._digests)

    def store(
        self,
        transport: Transport,
        address: Address,
        announce: Announce,
        *,
        compare: bool,
    ) -> Receipt:
        del compare  # whoever takes files has their digests compared
        files = self._named(transport, address)
        return transport.store_files(
            files, address, self._resource, self._series, self._key, announce
        )

    def older(self, sent: Sent) -> Written | None:
        """What was sent earlier and is not what is to be delivered now."""
        stale = set(sent.sha256).difference(self._digests)
        written = Written(stale, self._series, self._key, self._resource, sent.names)
        return written if stale else None

    def absent(self, transport: Transport, address: Address) -> int:
        """See _Images."""
        return _absent(transport, address, self._named(transport, address), f"{self._resource}/")

    def _named(self, transport: Transport, address: Address) -> Sequence[PlainFile]:
        """Name the files as a folder has them already: by our key, or by that of other results.

        Series of these results may have equal files, and each has its own. Where the folder has
        the images under a key, the files are those of that key.
        """
        below = f"{self._resource}/"
        if address.file is None or any(
            transport.glance(address, below + file.name) for file in self._files
        ):
            return self._files
        ours = self._upload.keys
        twins = transport.twin_of(self._files, address, self._resource, self._key, ours)
        if twins and self._images:
            folder = self._images.folder(transport, address)
            twins = [key for key in twins if key == folder or not is_key(folder)]
        key = twins[0] if twins else self._key
        return [replace(f, name=key + f.name.removeprefix(self._key)) for f in self._files]


def _of_uids(uids: Collection[str], items: Sequence[Item], digests: Sequence[str]) -> list[str]:
    """Return the digests of those of the items that are named."""
    wanted = set(uids)
    return [sha256 for item, sha256 in zip(items, digests, strict=True) if item.uid in wanted]


def resource_of(form: str) -> str:
    """Return what XNAT calls the resource of a format's files, and a folder their folder."""
    return _RESOURCES.get(form, form.upper())


def _absent(
    transport: Transport, address: Address, files: Sequence[PlainFile], below: str = ""
) -> int:
    return sum(transport.glance(address, below + f.name) != [f.payload.size] for f in files)


def _digest(made: Sequence[Output]) -> str:
    lines = "".join(f"{o.name} {o.sha256}\n" for o in made)
    return hashlib.sha256(lines.encode()).hexdigest()


def _file(path: Path, output: Output) -> PlainFile:
    return PlainFile(output.name, FileSlice(path, 0, output.size))


def _deliver(upload: _Upload, row: PlannedSeries, wanted: Sequence[str]) -> Outcome:
    bundle = upload.bundles.of(row.key)
    if not row.destinations:
        return Outcome(row.key, Status.NOTHING)
    done = deliveries(upload.receipts.get(row.key))
    earlier = upload.seen.get(row.key)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    seen: dict[str, str] = {}
    ended: list[Delivery] = []
    unsure: list[Delivery] = []
    failures: list[SeriesportError] = []
    parcels = _parcels(upload, row, bundle, wanted, failures)
    expected = size = 0
    for (number, address), parcel in product(enumerate(map(parse, row.destinations), 1), parcels):
        name = _name(upload, address)
        old = done.get((name, parcel.content))
        try:
            if not _takes(address, parcel, wanted):
                continue
            believed = old if is_since(earlier.get(name), upload.since) else None
            delivered = believed or _store(upload, row, address, parcel)
        except SeriesportError as error:
            expected += parcel.count
            failures.append(_at(number, error))
            unsure += [old] if old else []
            seen[name] = ""
            continue
        ended.append(delivered)
        moment = earlier[name] if believed else now
        seen[name] = min(moment, seen.get(name, moment))
        expected += delivered.expected
        size += parcel.size if delivered.complete else 0
        if not delivered.complete:
            failures.append(_at(number, _incomplete(delivered)))
    if not parcels and not failures:
        return Outcome(row.key, Status.NOTHING)
    upload.receipts.put(row.key, receipts([*ended, *unsure]))
    upload.seen.put(row.key, seen)
    return Outcome(
        row.key,
        Status.FAILED if failures else Status.COMPLETE,
        *told(failures),
        expected=expected,
        done=sum(delivered.delivered for delivered in ended),
        size=size,
        files=upload.results.records(UPLOAD, upload.shard).name,
    )


def _takes(address: Address, parcel: _Images | _Files, wanted: Sequence[str]) -> bool:
    """Whether a destination gets a parcel: archives and ZIPs get the images alone, if there are."""
    return address.takes_files or not (isinstance(parcel, _Files) and DICOM in wanted)


def _parcels(
    upload: _Upload,
    row: PlannedSeries,
    bundle: Bundle,
    wanted: Sequence[str],
    failures: list[SeriesportError],
) -> list[_Images | _Files]:
    """What is to be delivered; a format that could not be made is a failure."""
    parcels: list[_Images | _Files] = []
    images: _Images | None = None
    folder = upload.results.step(CONVERT, upload.shard)
    formats = [form for form in wanted if form != DICOM]
    made: Made = {}
    if formats or row.template:
        made = made_of(upload.made.get(row.key, {}), bundle.content)
    if DICOM in wanted and row.template is None:
        images = _Images(upload, row, bundle.path, bundle.outcome.sha256, bundle.outcome.expected)
        parcels.append(images)
    elif DICOM in wanted:
        formats.insert(0, DICOM)
    for form in formats:
        if form not in made:
            failures.append(SeriesportError("not-attempted", f"{form}: not converted"))
        elif form == DICOM:
            (output,) = made[form]
            images = _Images(upload, row, folder / output.name, output.sha256, 1)
            parcels.append(images)
        elif made[form]:
            series = _series(row, folder, made)
            parcels.append(_Files(upload, images, row.key, series, form, folder, made[form]))
    return parcels


def _series(row: PlannedSeries, folder: Path, made: Made) -> SeriesReference:
    """The series that derived files belong to: of a template's, the DICOM that was made."""
    if row.template is None:
        return row.reference
    header = read_bundle(folder / made[DICOM][0].name)[0].header
    return SeriesReference.of(header, row.reference.address)


def _name(upload: _Upload, address: Address) -> str:
    return destination_name(upload.secret, address, upload.transports.settings)


def destination_name(secret: bytes, address: Address, settings: Settings) -> str:
    """What a receipt calls a destination: another one once config.yaml gives it another host."""
    server = server_of(address, settings)
    return keyed_hash(secret, address.identity, server.place if server else "")


def _store(
    upload: _Upload, row: PlannedSeries, address: Address, parcel: _Images | _Files
) -> Delivery:
    transport = upload.transports.get(address.root)

    name, form = _name(upload, address), parcel.content.partition(" ")[0]

    def announce(uids: Collection[str]) -> None:
        files = parcel.names if isinstance(parcel, _Files) else ()
        if digests := parcel.digests(uids):
            known = sent_of(upload.sent.get(row.key))
            one = Sent(name, address.scheme, form, files, digests)
            upload.sent.put(row.key, record_sent([*known, one]))

    def attempt() -> Delivery:
        if isinstance(parcel, _Files):
            _make_way(upload, row, address, parcel, (name, form))
        receipt = parcel.store(transport, address, announce, compare=upload.compare)
        sent = sum(entry.sent for entry in receipt.entries)
        there = len(receipt.entries) - sent
        _log.info("series %s: sent %d, %d not", row.key, sent, there)
        done = delivery(name, address.scheme, parcel.content, receipt, parcel.names)
        if not done.complete and any(REASONS[c].transient for c in done.codes):
            raise _incomplete(done)
        return done

    return transport.persist(attempt)


def _make_way(
    upload: _Upload, row: PlannedSeries, address: Address, parcel: _Files, place: tuple[str, str]
) -> None:
    """Remove what was made of a series earlier, as of one that has grown since, and sent there.

    That is only what we wrote and nobody changed; the rest stays, and is a conflict.
    """
    every = {one.place: one for one in sent_of(upload.sent.get(row.key))}
    written = parcel.older(every[place]) if place in every else None
    if written is None:
        return
    try:
        upload.transports.get(address.root).remove(address, written)
    except SeriesportError as error:
        if error.code not in ("not-found", "access-denied"):
            raise
        return
    kept = [sha256 for sha256 in every[place].sha256 if sha256 not in written.sha256]
    every[place] = replace(every[place], names=parcel.names, sha256=kept)
    upload.sent.put(row.key, record_sent(every.values()))


def _at(number: int, error: SeriesportError) -> SeriesportError:
    return SeriesportError(error.code, f"destination {number}: {error.message}")


def _incomplete(done: Delivery) -> SeriesportError:
    missing = done.expected - done.delivered
    code = done.codes[0] if done.codes else "store-unverified"
    return SeriesportError(
        code, f"{part(missing, done.expected, 'instance', 'was', 'were')} not delivered"
    )
