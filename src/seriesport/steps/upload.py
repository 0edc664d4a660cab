"""The step `upload`: what a shard has to deliver to its destinations, with receipts."""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

from seriesport.address import parse, scheme, source_root
from seriesport.bundle import check_hash, read_bundle, read_files, read_manifest
from seriesport.digest import digest_member
from seriesport.errors import REASONS, SeriesportError
from seriesport.flow import Flow, Flows, patience, server_of, workers
from seriesport.instance import FileSlice, Instance, PlainFile
from seriesport.keys import keyed_hash, load_secret
from seriesport.ledger import LedgerLine, Status, read_ledger
from seriesport.outputs import made_of
from seriesport.plan import DICOM
from seriesport.receipts import Delivery, deliveries, delivery, receipts
from seriesport.records import Records, read_records
from seriesport.sent import Sent, record_sent, sent_of
from seriesport.steps.fetch import content_of
from seriesport.steps.shard import (
    CONVERTED,
    FETCHED,
    UPLOADED,
    Results,
    Transports,
    line_of,
    not_attempted,
    run_shard,
)
from seriesport.transports.protocol import SeriesReference

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from seriesport.address import Address
    from seriesport.instance import Item
    from seriesport.outputs import Made, Output
    from seriesport.plan import PlannedSeries
    from seriesport.records import Record
    from seriesport.settings import Settings
    from seriesport.transports.protocol import Announce, Receipt, Transport

_RESOURCES = {"preview": "SNAPSHOTS"}
"""What XNAT calls the resources of files that are made; else the format's name in capitals."""
_log = logging.getLogger("seriesport")


@dataclass(frozen=True)
class _Upload:
    """What the uploads of one shard share."""

    results: Results
    shard: str
    secret: bytes
    transports: Transports
    flows: Flows
    receipts: Records
    sent: Records

    @cached_property
    def made(self) -> dict[str, Record]:
        """What the step before made of the series, by their keys."""
        return read_records(self.results.records(CONVERTED, self.shard))


def upload_shard(
    results: Results, shard: str, upload: Sequence[str], settings: Settings
) -> list[LedgerLine]:
    """Deliver what is not delivered yet, and write the shard's ledger.

    `upload` holds for the series whose entries do not say.
    """
    rows = results.plan.read_shard(shard)
    ledger = read_ledger(results.ledger(FETCHED, shard))
    addresses = [parse(url) for row in rows for url in row.destinations]
    at_once = workers(addresses, settings, len(rows))
    flows = Flows(settings, workers=at_once)
    secret, records = load_secret(results.secret), Records(results.records(UPLOADED, shard))
    with Transports(settings) as transports:
        sent = Records(results.sent(shard))
        shared = _Upload(results, shard, secret, transports, flows, records, sent)

        def work(row: PlannedSeries) -> LedgerLine:
            wanted = upload if row.upload is None else row.upload
            return _deliver(shared, row, line_of(ledger, row.key), wanted)

        return run_shard(
            results.ledger(UPLOADED, shard), rows, work, at_once, (records, sent), transports.close
        )


class _Images:
    """The DICOM of a series, or plain files as they came, in a ZIP.

    The ZIP is checked once, when it is first needed.
    """

    def __init__(self, row: PlannedSeries, path: Path, sha256: str, count: int) -> None:
        self.content = f"{DICOM} {sha256}"
        self.count = count
        self._row = row
        self._path = path
        self._sha256 = sha256

    @property
    def size(self) -> int:
        return self._path.stat().st_size

    @property
    def names(self) -> list[str]:
        return [f"{number:06d}" for number in range(1, len(self._items) + 1)]

    @cached_property
    def _items(self) -> Sequence[Item]:
        check_hash(self._path, self._sha256)
        plain = self._row.reference.plain and self._row.template is None
        return read_files(self._path) if plain else read_bundle(self._path)

    @cached_property
    def _digests(self) -> Sequence[str]:
        with suppress(SeriesportError):
            manifest = read_manifest(self._path)
            if manifest.sha256 == self._sha256:
                return [member.sha256 for member in manifest.instances]
        return [digest_member(item).sha256 for item in self._items]

    def digests(self, uids: Collection[str]) -> list[str]:
        wanted = set(uids)
        pairs = zip(self._items, self._digests, strict=True)
        return [sha256 for item, sha256 in pairs if item.uid in wanted]

    def store(
        self, transport: Transport, flow: Flow, address: Address, announce: Announce
    ) -> Receipt:
        items = flow.send(self._items)
        instances = [item for item in items if isinstance(item, Instance)]
        if instances:
            return transport.store(instances, address, self._row.key, announce)
        files = [item for item in items if isinstance(item, PlainFile)]
        return transport.store_files(files, address, "", self._row.reference, announce)


class _Files:
    """What one format made of a series."""

    def __init__(
        self, series: SeriesReference, form: str, folder: Path, made: Sequence[Output]
    ) -> None:
        self.content = f"{form} {_digest(made)}"
        self.count = len(made)
        self.size = sum(output.size for output in made)
        self.names = [output.name for output in made]
        self._series = series
        self._resource = resource_of(form)
        self._files = [_file(folder / o.name, o) for o in made]
        self._digests = [output.sha256 for output in made]

    def digests(self, uids: Collection[str]) -> list[str]:
        wanted = set(uids)
        pairs = zip(self._files, self._digests, strict=True)
        return [sha256 for file, sha256 in pairs if file.uid in wanted]

    def store(
        self, transport: Transport, flow: Flow, address: Address, announce: Announce
    ) -> Receipt:
        files = flow.send(self._files)
        return transport.store_files(files, address, self._resource, self._series, announce)


def resource_of(form: str) -> str:
    """Return what XNAT calls the resource of a format's files, and a folder their folder."""
    return _RESOURCES.get(form, form.upper())


def _digest(made: Sequence[Output]) -> str:
    lines = "".join(f"{o.name} {o.sha256}\n" for o in made)
    return hashlib.sha256(lines.encode()).hexdigest()


def _file(path: Path, output: Output) -> PlainFile:
    return PlainFile(output.name, FileSlice(path, 0, output.size))


def _deliver(
    upload: _Upload, row: PlannedSeries, source: LedgerLine, wanted: Sequence[str]
) -> LedgerLine:
    if not source.ok:
        return not_attempted(source)
    if not row.destinations:
        return LedgerLine(row.key, Status.NOTHING)
    done = deliveries(upload.receipts.get(row.key))
    ended: list[Delivery] = []
    failures: list[SeriesportError] = []
    parcels = _parcels(upload, row, source, wanted, failures)
    expected = size = 0
    for (number, address), parcel in product(enumerate(map(parse, row.destinations), 1), parcels):
        try:
            if not _takes(upload, address, parcel, wanted):
                continue
            delivered = done.get((_name(upload, address), parcel.content))
            delivered = delivered or _store(upload, row, address, parcel)
        except SeriesportError as error:
            expected += parcel.count
            failures.append(SeriesportError(error.code, f"destination {number}: {error.message}"))
            continue
        ended.append(delivered)
        expected += delivered.expected
        size += parcel.size if delivered.complete else 0
        if not delivered.complete:
            failures.append(_incomplete(delivered))
    if not parcels and not failures:
        return LedgerLine(row.key, Status.NOTHING)
    upload.receipts.put(row.key, receipts(ended))
    return LedgerLine(
        row.key,
        Status.FAILED if failures else Status.COMPLETE,
        failures[0].code if failures else "",
        "; ".join(failure.message for failure in failures),
        expected=expected,
        done=sum(delivered.delivered for delivered in ended),
        size=size,
        files=upload.results.records(UPLOADED, upload.shard).name,
    )


def _takes(
    upload: _Upload, address: Address, parcel: _Images | _Files, wanted: Sequence[str]
) -> bool:
    """Whether a destination gets a parcel: archives and ZIPs get the images alone, if there are."""
    transport = upload.transports.get(source_root(address))
    return transport.takes_files or not (isinstance(parcel, _Files) and DICOM in wanted)


def _parcels(
    upload: _Upload,
    row: PlannedSeries,
    source: LedgerLine,
    wanted: Sequence[str],
    failures: list[SeriesportError],
) -> list[_Images | _Files]:
    """What is to be delivered; a format that could not be made is a failure."""
    parcels: list[_Images | _Files] = []
    folder = upload.results.step(CONVERTED, upload.shard)
    fetched = upload.results.step(FETCHED, upload.shard)
    formats = [form for form in wanted if form != DICOM]
    made: Made = {}
    if formats or row.template:
        made = made_of(upload.made.get(row.key, {}), content_of(row, source, fetched))
    if DICOM in wanted and row.template is None:
        parcels.append(_Images(row, fetched / f"{row.key}.zip", source.sha256, source.expected))
    elif DICOM in wanted:
        formats.insert(0, DICOM)
    for form in formats:
        if form not in made:
            failures.append(SeriesportError("not-attempted", f"{form}: not converted"))
        elif form == DICOM:
            (output,) = made[form]
            parcels.append(_Images(row, folder / output.name, output.sha256, 1))
        elif made[form]:
            parcels.append(_Files(_series(row, folder, made), form, folder, made[form]))
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
    return keyed_hash(secret, address.url, server.place if server else "")


def _store(
    upload: _Upload, row: PlannedSeries, address: Address, parcel: _Images | _Files
) -> Delivery:
    transport = upload.transports.get(source_root(address))
    flow = upload.flows.get(address)

    def announce(uids: Collection[str]) -> None:
        files = parcel.names if isinstance(parcel, _Files) else ()
        form, digests = parcel.content.partition(" ")[0], parcel.digests(uids)
        one = Sent(_name(upload, address), scheme(address), form, files, digests)
        if digests:
            known = sent_of(upload.sent.get(row.key))
            upload.sent.put(row.key, record_sent([*known, one]))

    def attempt() -> Delivery:
        receipt = parcel.store(transport, flow, address, announce)
        sent = sum(entry.sent for entry in receipt.entries)
        there = len(receipt.entries) - sent
        _log.info("series %s: sent %d, %d not", row.key, sent, there)
        name = _name(upload, address)
        done = delivery(name, scheme(address), parcel.content, receipt, parcel.names)
        if not done.complete and any(REASONS[c].transient for c in done.codes):
            raise _incomplete(done)
        return done

    return patience(address, upload.transports.settings).retrying(flow)(attempt)


def _incomplete(done: Delivery) -> SeriesportError:
    missing = done.expected - done.delivered
    code = done.codes[0] if done.codes else "store-unverified"
    return SeriesportError(code, f"{missing} of {done.expected} instances were not delivered")
