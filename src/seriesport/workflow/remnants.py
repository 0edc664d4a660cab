"""Remnants: what a cohort's results still hold of series that belong to no row any more."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seriesport.cohort.plan import Plan, left_over, make_plan
from seriesport.cohort.resolve import fingerprint
from seriesport.errors import SeriesportError
from seriesport.store.keys import KEY
from seriesport.transports.registry import parse
from seriesport.workflow.receipts import deliveries
from seriesport.workflow.records import read_records
from seriesport.workflow.sent import Sent, sent_of
from seriesport.workflow.shard import CONVERTED, FETCHED, STEPS, UPLOADED
from seriesport.workflow.upload import destination_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from seriesport.cohort import Entry
    from seriesport.cohort.plan import PlannedSeries
    from seriesport.config.settings import Settings
    from seriesport.workflow.shard import Results

_KEY = re.compile(rf"\.?({KEY.pattern})(?![a-z2-7])")


RECORDS = {
    "records.jsonl": CONVERTED,
    "receipts.jsonl": UPLOADED,
    "seen.jsonl": UPLOADED,
    "sent.jsonl": UPLOADED,
}
"""What is kept of the series of a shard, and the step that keeps it."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a destination has from us."""

    sent: Sent
    url: str
    """Address of the destination; empty where it is not known any more."""


@dataclass(frozen=True, slots=True)
class Remnant:
    """What is left of one series, or of its delivery to places that it does not go to any more."""

    key: str
    labels: tuple[str, ...]
    row: PlannedSeries | None
    """As it was planned; None where a version that did not keep this left it behind."""
    planned: bool
    """True for a series that stays in the cohort and lost destinations."""
    held: bool
    """True where an entry of the cohort that has no answer yet may mean it."""
    files: tuple[Path, ...]
    """Files, and staging folders, with what was fetched and made."""
    shards: tuple[str, ...] = ()
    delivered: tuple[Delivered, ...] = ()


def standing(entries: Sequence[Entry], plan: Plan, secret: bytes, settings: Settings) -> Plan:
    """The plan with what the cohort file asks for now, as far as its sources have answered.

    Nothing is asked.
    """
    known = _answered(plan)
    settled = [entry for entry in entries if fingerprint(entry) in known]
    placed = {row.key: row.shard for row in plan.series}
    made = make_plan(settled, settings, secret, previous=plan, placed=placed)
    return Plan(made.series, plan.problems)


def find_remnants(
    results: Results, entries: Sequence[Entry], plan: Plan, secret: bytes, settings: Settings
) -> list[Remnant]:
    """Find what belongs to no row, in the order of the keys.

    Args:
        results: The folders.
        entries: The cohort file as it is now.
        plan: The plan as it is on disk.
        secret: Of the results.
        settings: Of the servers.
    """
    now = standing(entries, plan, secret, settings)
    planned = {row.key: row for row in now.series}
    former = {row.key: row for row in left_over(results.plan.former(), plan, now)}
    files, shards = _files(results)
    sent = _sent(results, shards)
    labels = _labels(results)
    known = _answered(plan)
    pending = [entry for entry in entries if fingerprint(entry) not in known]
    found: list[Remnant] = []
    for key in sorted({*former, *shards} - (planned.keys() - former.keys())):
        row = former.get(key)
        delivered = list(_delivered(sent[key], row, planned.get(key), secret, settings))
        if key in planned and not delivered:
            continue
        found.append(
            Remnant(
                key,
                row.labels if row else labels.get(key, ()),
                row,
                key in planned,
                any(row is None or _may_mean(entry, row) for entry in pending),
                () if key in planned else tuple(files[key]),
                tuple(sorted({*shards[key], *((row.shard,) if row else ())})),
                tuple(sorted(delivered, key=lambda one: (one.url, one.sent.place))),
            )
        )
    return found


def _answered(plan: Plan) -> set[str]:
    return {name for row in plan.series for name in row.entries}


def _may_mean(entry: Entry, row: PlannedSeries) -> bool:
    reference = row.reference
    if reference.plain:
        return entry.source.url == reference.address.url
    same = entry.source.root.identity == reference.address.root.identity
    return same and entry.accepts(reference)


def _files(results: Results) -> tuple[dict[str, list[Path]], dict[str, set[str]]]:
    """Files and shards by key, of all that was planned once or lies below the steps' folders."""
    files: dict[str, list[Path]] = defaultdict(list)
    shards: dict[str, set[str]] = defaultdict(set)
    for key, shard in results.plan.places().items():
        shards[key].add(shard)
    for step in (FETCHED, CONVERTED):
        for path in sorted(results.folder.glob(f"{step}/*/*")):
            if match := _KEY.match(path.name):
                files[match[1]].append(path)
                shards[match[1]].add(path.parent.name)
    for path in sorted(results.folder.glob("staging/*")):
        if match := _KEY.match(path.name):
            files[match[1]].append(path)
            shards[match[1]].update(())
    for name, step in RECORDS.items():
        for folder in sorted(results.folder.glob(f"{step}/*/")):
            for key in read_records(folder / name):
                shards[key].add(folder.name)
    return files, shards


def _sent(results: Results, shards: dict[str, set[str]]) -> dict[str, list[Sent]]:
    """What was sent of each series, also where only a receipt tells, so that nothing is ours."""
    found: dict[str, list[Sent]] = defaultdict(list)
    for shard in sorted({name for names in shards.values() for name in names}):
        for key, record in read_records(results.sent(shard)).items():
            found[key] += sent_of(record)
        for key, record in read_records(results.records(UPLOADED, shard)).items():
            known = {one.place for one in found[key]}
            for one in deliveries(record).values():
                form = one.content.partition(" ")[0]
                if (one.destination, form) not in known:
                    found[key].append(Sent(one.destination, one.kind, form, (), ()))
    return found


def _delivered(
    sent: Sequence[Sent],
    row: PlannedSeries | None,
    planned: PlannedSeries | None,
    secret: bytes,
    settings: Settings,
) -> Iterator[Delivered]:
    def names(one: PlannedSeries | None) -> dict[str, str]:
        urls = one.destinations if one else ()
        found: dict[str, str] = {}
        for url in urls:
            with suppress(SeriesportError):  # its server is not in the config any more
                found[destination_name(secret, parse(url), settings)] = url
        return found

    current, gone = names(planned), names(row)
    for one in sent:
        if one.destination not in current and (planned is None or one.destination in gone):
            yield Delivered(one, gone.get(one.destination, ""))


def _labels(results: Results) -> dict[str, tuple[str, ...]]:
    """Labels by key as the table of the last run has them."""
    with suppress(OSError, csv.Error, UnicodeError, KeyError):
        with results.table.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream, dialect="excel-tab"))
        return {row["key"]: (row["label"],) for row in rows if row["key"] and row["label"]}
    return {}


def ledgers(results: Results, shard: str) -> list[tuple[str, Path]]:
    """The ledgers of a shard that are there, by their steps."""
    every = [(step, results.ledger(step, shard)) for step in STEPS]
    return [(step, path) for step, path in every if path.exists()]
