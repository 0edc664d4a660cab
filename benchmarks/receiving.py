"""The measured process of archive_get.py: receives the series of a study in one of several ways.

python benchmarks/receiving.py engine|proven|bundle one|threads|processes WORKERS ADDRESS FOLDER
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pynetdicom  # noqa: F401 - the engine imports it late, and start-up is not measured

import archives
from seriesport.config.settings import Settings
from seriesport.model.series import SeriesReference
from seriesport.store.staging import Staging
from seriesport.transports.archive.address import DicomAddress
from seriesport.transports.archive.transport import DicomTransport
from seriesport.transports.fetch import fetch_series
from seriesport.transports.registry import parse


def main(mode: str, pool: str, workers: int, url: str, out: str) -> None:
    """Receive everything below an address, and print the time and the peak memory."""
    start = time.perf_counter()
    shares = [(mode, url, out, workers, k) for k in range(workers)]
    if pool == "one":
        _share(shares[0])
        others = 0.0
    elif pool == "threads":
        with ThreadPoolExecutor(workers) as threads:
            list(threads.map(_share, shares))
        others = 0.0
    else:
        with ProcessPoolExecutor(workers) as processes:
            others = sum(processes.map(_share, shares))
    wall = time.perf_counter() - start
    print(json.dumps({"wall": wall, "memory": others + archives.peak_memory()}))


def _share(share: tuple[str, str, str, int, int]) -> float:
    mode, url, out, workers, k = share
    address = parse(url)
    assert isinstance(address, DicomAddress)
    with DicomTransport(address, Settings()) as transport:
        series = transport.find(address)
        for i in range(k, len(series), workers):
            _get(transport, series[i], mode, Path(out), i)
    return archives.peak_memory()


def _get(transport: DicomTransport, series: SeriesReference, mode: str, out: Path, i: int) -> None:
    if mode == "bundle":
        fetch_series(transport, series, out / f"{i}.zip", out / f"staging{i}")
    elif mode == "engine":
        spool = out / f"{i}"
        spool.mkdir()
        for _ in transport.fetch(series, {}, (), spool):
            pass
    else:
        with Staging(out / f"{i}", series) as stage:
            expected = transport.expect(series)
            for instance in transport.fetch(series, expected, (), stage.spool):
                stage.accept(instance)
            stage.settle()
            after = transport.expect(series)
            if not expected.keys() == after.keys() == stage.held(after):
                raise RuntimeError("incomplete")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5])
