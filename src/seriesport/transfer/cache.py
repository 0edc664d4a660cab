"""The private folder in which fetched series wait until they are delivered."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from seriesport.store.bundle import read_bundle, read_files
from seriesport.store.keys import series_key
from seriesport.transports.fetch import fetch_series
from seriesport.workflow.fetch import existing

if TYPE_CHECKING:
    from seriesport.model.series import SeriesReference
    from seriesport.transports.contract import Transport


def cache() -> Path:
    """Return the folder that all transfers of the user share."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seriesport"


def cached(secret: bytes, series: SeriesReference) -> Path:
    """Return where the bundle of a series waits; its path tells nothing of the patient."""
    return cache() / series_key(secret, series.address.identity, series) / "bundle.zip"


def fetch_bundle(
    reader: Transport,
    series: SeriesReference,
    bundle: Path,
    staging: Path,
) -> None:
    """Fetch a series into a bundle, unless an earlier call left all that the source lists now.

    Raises:
        SeriesportError: see `fetch_series`.
    """
    if not _is_current(reader, series, bundle):
        fetch_series(reader, series, bundle, staging)


def _is_current(reader: Transport, series: SeriesReference, bundle: Path) -> bool:
    """Return True for a whole bundle with just the instances that the source lists now."""
    if existing(bundle, series) is None:
        return False
    items = read_files(bundle) if series.plain else read_bundle(bundle)
    return {item.uid for item in items} == reader.uids(series)
