"""The step `upload`: every bundle of a shard to its destinations, with receipts."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from seriesport.address import parse, scheme, source_root
from seriesport.bundle import read_bundle
from seriesport.errors import REASONS, SeriesportError
from seriesport.flow import Flows, patience, server_of, workers
from seriesport.keys import keyed_hash, load_secret
from seriesport.ledger import LedgerLine, Status, read_ledger
from seriesport.receipts import Delivery, delivery, read_receipts, write_receipts
from seriesport.steps.shard import (
    FETCHED,
    UPLOADED,
    Results,
    Transports,
    line_of,
    not_attempted,
    run_shard,
    trusted,
)

if TYPE_CHECKING:
    from pathlib import Path

    from seriesport.address import Address
    from seriesport.bundle import Manifest
    from seriesport.plan import PlannedSeries
    from seriesport.settings import Settings

_log = logging.getLogger("seriesport")


@dataclass(frozen=True, slots=True)
class _Upload:
    """What the uploads of one shard share."""

    results: Results
    shard: str
    secret: bytes
    transports: Transports
    flows: Flows


def upload_shard(results: Results, shard: str, settings: Settings) -> list[LedgerLine]:
    """Deliver what is not delivered yet, and write the shard's ledger."""
    rows = results.plan.read_shard(shard)
    ledger = read_ledger(results.ledger(FETCHED, shard))
    addresses = [parse(url) for row in rows for url in row.destinations]
    at_once = workers(addresses, settings, len(rows))
    flows = Flows(settings, workers=at_once)
    with Transports(settings) as transports:
        upload = _Upload(results, shard, load_secret(results.secret), transports, flows)
        return run_shard(
            results.ledger(UPLOADED, shard),
            rows,
            lambda row: _deliver(upload, row, line_of(ledger, row.key)),
            at_once,
        )


def _deliver(upload: _Upload, row: PlannedSeries, source: LedgerLine) -> LedgerLine:
    if not source.ok:
        return not_attempted(source)
    if not row.destinations:
        return LedgerLine(row.key, Status.NOTHING)
    path = upload.results.step(UPLOADED, upload.shard) / f"{row.key}.json"
    done = read_receipts(path, source.sha256)
    wanted = {_name(upload, address): address for address in map(parse, row.destinations)}
    kept = {name: done[name] for name in wanted if name in done}
    failures: list[SeriesportError] = []
    if len(kept) < len(wanted):
        series = _Series(row.key, upload.results.step(FETCHED, upload.shard), source.sha256)
        for number, (name, address) in enumerate(wanted.items(), 1):
            if name in kept:
                continue
            try:
                kept[name] = _store(upload, series, name, address)
            except SeriesportError as error:
                what = f"destination {number}: {error.message}"
                failures.append(SeriesportError(error.code, what))
        write_receipts(path, source.sha256, list(kept.values()))
    return _line(row.key, source, kept, wanted, failures)


def _name(upload: _Upload, address: Address) -> str:
    """What a receipt calls a destination: another one once config.yaml gives it another host."""
    server = server_of(address, upload.transports.settings)
    return keyed_hash(upload.secret, address.url, server.place if server else "")


class _Series:
    """A bundle that is checked once, when it is first needed."""

    def __init__(self, key: str, folder: Path, sha256: str) -> None:
        self.key = key
        self.bundle = folder / f"{key}.zip"
        self._sha256 = sha256

    @cached_property
    def manifest(self) -> Manifest:
        return trusted(self.bundle, self._sha256)


def _store(upload: _Upload, series: _Series, name: str, address: Address) -> Delivery:
    transport = upload.transports.get(source_root(address))
    flow = upload.flows.get(address)

    def attempt() -> Delivery:
        manifest = series.manifest
        receipt = transport.store(flow.send(read_bundle(series.bundle)), address, series.key)
        sent = sum(entry.sent for entry in receipt.entries)
        there = len(receipt.entries) - sent
        _log.info("series %s: sent %d instances, %d not", series.key, sent, there)
        done = delivery(name, scheme(address), receipt, manifest)
        if not done.complete and any(REASONS[c].transient for c in done.codes):
            raise _incomplete(done)
        return done

    return patience(address, upload.transports.settings).retrying()(attempt)


def _line(
    key: str,
    source: LedgerLine,
    deliveries: dict[str, Delivery],
    wanted: dict[str, Address],
    failures: list[SeriesportError],
) -> LedgerLine:
    failures = failures + [_incomplete(d) for d in deliveries.values() if not d.complete]
    whole = not failures
    return LedgerLine(
        key,
        Status.COMPLETE if whole else Status.FAILED,
        "" if whole else failures[0].code,
        "" if whole else "; ".join(f.message for f in failures),
        expected=source.expected * len(wanted),
        done=sum(d.delivered for d in deliveries.values()),
        size=source.size * sum(d.complete for d in deliveries.values()),
        files=f"{key}.json",
    )


def _incomplete(done: Delivery) -> SeriesportError:
    missing = done.expected - done.delivered
    code = done.codes[0] if done.codes else "store-unverified"
    return SeriesportError(code, f"{missing} of {done.expected} instances were not delivered")
