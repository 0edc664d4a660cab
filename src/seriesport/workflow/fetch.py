"""The step `fetch`: every series of a shard into its bundle."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from seriesport.cohort.plan import safe_name, server_name
from seriesport.config.hours import is_closed, wait_until_open
from seriesport.errors import SeriesportError
from seriesport.store.bundle import read_bundle, read_files, read_manifest, verify_bundle
from seriesport.store.staging import belongs, discard_staging
from seriesport.transports.fetch import fetch_series
from seriesport.transports.parallel import Transports, workers
from seriesport.workflow.ledger import Outcome, Status
from seriesport.workflow.shard import Results, run_shard
from seriesport.workflow.shares import check_granted
from seriesport.workflow.steps import FETCH

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from seriesport.cohort.plan import PlannedSeries
    from seriesport.config.config_yaml import Config
    from seriesport.config.settings import Settings
    from seriesport.model.series import SeriesReference
    from seriesport.store.bundle import Manifest

_log = logging.getLogger("seriesport")


def run(results: Results, shard: str, config: Config) -> list[Outcome]:
    """Fetch the series of a shard as config.yaml says; see `fetch_shard`."""
    return fetch_shard(results, shard, config.settings)


def fetch_shard(results: Results, shard: str, settings: Settings) -> list[Outcome]:
    """Fetch what is not there yet, and write the shard's ledger.

    Raises:
        SeriesportError: window-closed, where the job came by day and would end before the window
            opens; the cluster's queue holds it back when it is sent again. not-granted; shard-busy.
    """
    rows = results.plan.read_shard(shard)
    folder = results.step(FETCH, shard)
    addresses = [series.address for row in rows for series in bundles(row).values()]
    check_granted(settings, addresses)
    _wait_for_windows(rows, folder, settings)

    at_once = workers(addresses, settings, len(rows))

    with Transports(settings) as transports:

        def work(row: PlannedSeries) -> Outcome:
            made = {name: bundle(name, series) for name, series in bundles(row).items()}
            return _line(row, made.pop(row.key), list(made))

        def bundle(name: str, series: SeriesReference) -> Manifest:
            path = folder / f"{name}.zip"
            manifest = existing(path, series)
            if manifest is not None:
                discard_staging(results.staging(name))  # a kill may have come before that
                return manifest
            transport = transports.get(series.address.root)
            return fetch_series(transport, series, path, results.staging(name))

        return run_shard(folder, rows, work, at_once, let_go=transports.close_own)


def _wait_for_windows(rows: Sequence[PlannedSeries], folder: Path, settings: Settings) -> None:
    """Begin nothing while a server is closed that something is to come from."""
    for server in settings.servers.values():
        if not is_closed(server.window):
            continue
        here = safe_name(server.name)
        wanted = (item for row in rows for item in bundles(row).items())
        if any(
            server_name(series.address) == here and existing(folder / f"{name}.zip", series) is None
            for name, series in wanted
        ):
            wait_until_open(server.window, say=_log.info)


def bundles(row: PlannedSeries) -> dict[str, SeriesReference]:
    """What is fetched for a series, by the bundle's name: itself, its template, its geometry."""
    wanted = {row.key: row.reference}
    if row.template is not None:
        wanted[f"{row.key}.template"] = row.template
    if row.geometry is not None:
        wanted[f"{row.key}.geometry"] = row.geometry
    return wanted


def existing(bundle: Path, series: SeriesReference) -> Manifest | None:
    """The manifest of a bundle that is there and whole, else None.

    Whole is one that matches its manifest, holds nothing but instances of this series, and as
    many of them as the source has counted since.
    """
    try:
        manifest = read_manifest(bundle)
        verify_bundle(bundle, manifest)
        items = read_files(bundle) if manifest.plain else read_bundle(bundle)
    except SeriesportError:
        return None
    listed = manifest.received == manifest.expected >= (series.instances or 1)
    whole = listed and len(items) == len(manifest.instances) and manifest.plain == series.plain
    return manifest if whole and all(belongs(item, series) for item in items) else None


def _line(row: PlannedSeries, manifest: Manifest, beside: Sequence[str]) -> Outcome:
    compared = ("only sizes were compared",) if manifest.compared == "sizes" else ()
    return Outcome(
        row.key,
        Status.COMPLETE,
        detail="; ".join(compared + manifest.remarks),
        expected=manifest.expected,
        done=manifest.received,
        size=manifest.size,
        files=" ".join(f"{name}.zip {name}.json" for name in (row.key, *beside)),
        sha256=manifest.sha256,
    )
