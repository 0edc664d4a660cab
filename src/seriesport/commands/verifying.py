"""`seriesport verify`."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Any

from seriesport.address import ZipAddress, parse, source_root
from seriesport.bundle import manifest_path, read_manifest, verify_bundle
from seriesport.commands.listing import find
from seriesport.commands.output import print_json, print_table
from seriesport.errors import SeriesportError
from seriesport.fetch import numbers
from seriesport.resolve import kind, word
from seriesport.scratch import scratch
from seriesport.staging import Staging
from seriesport.transports.registry import open_transport

if TYPE_CHECKING:
    from seriesport.address import Address
    from seriesport.settings import Settings
    from seriesport.transports.protocol import SeriesReference, Transport

_COLUMNS = ("series_number", "modality", "instances", "result")


def verify(text: str, against: str | None, settings: Settings, *, as_json: bool) -> None:
    """Check every series below an address: whole, and listed at another address if one is given.

    Raises:
        SeriesportError: the first failure, after all series were checked.
    """
    address = parse(text)
    other = None if against is None else parse(against)
    rows: list[dict[str, Any]] = []
    failures: list[SeriesportError] = []
    with ExitStack() as stack:
        transport = stack.enter_context(open_transport(source_root(address), settings))
        found = find(transport, address)
        there = None
        if other is not None:
            elsewhere = stack.enter_context(open_transport(source_root(other), settings))
            there = _Place(elsewhere, other)
        for series in found:
            try:
                count = _check(transport, series)
                if there is not None:
                    _compare(transport, series, there.uids(series))
                result = "whole"
            except SeriesportError as error:
                failures.append(error)
                count, result = series.instances or 0, str(error)
            rows.append(
                {
                    "series_number": word(series.series_number),
                    "modality": kind(series),
                    "instances": count,
                    "result": result,
                }
            )
    if as_json:
        print_json(rows)
    else:
        print_table(_COLUMNS, [[row[name] for name in _COLUMNS] for row in rows])
    if failures:
        what = f"{len(failures)} of {len(rows)} series failed; the first: {failures[0].message}"
        raise SeriesportError(failures[0].code, what)


def _check(transport: Transport, series: SeriesReference) -> int:
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
            what = f"{len(missing)} of {len(expected)} instances are not whole ({numbers(missing)})"
            raise SeriesportError(codes[0] if codes else "incomplete", what)
    return len(expected)


def _check_manifest(address: Address) -> None:
    if isinstance(address, ZipAddress) and manifest_path(address.path).exists():
        verify_bundle(address.path, read_manifest(address.path))


class _Place:
    """What is listed below an address."""

    def __init__(self, transport: Transport, address: Address) -> None:
        self._transport = transport
        self._address = address

    @cached_property
    def _series(self) -> list[SeriesReference]:
        return self._transport.find(self._address)

    def uids(self, series: SeriesReference) -> set[str]:
        """The instances of a series that are there."""
        same = [s for s in self._series if s.series_instance_uid == series.series_instance_uid]
        return {uid for candidate in same for uid in self._transport.uids(candidate)}


def _compare(transport: Transport, series: SeriesReference, there: set[str]) -> None:
    here = transport.uids(series)
    if absent := here - there:
        listed = transport.expect(series)
        which = numbers(listed[uid] for uid in absent if uid in listed)
        what = f"{len(absent)} of {len(here)} instances are not there"
        raise SeriesportError("incomplete", f"{what} ({which})" if which else what)
