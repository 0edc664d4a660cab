"""The measured process of archive_store.py: stores folders, each a series, at an archive.

python benchmarks/sending.py one|threads WORKERS ADDRESS FOLDER...
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pynetdicom  # noqa: F401 - the engine imports it late, and start-up is not measured

import archives
from seriesport.config.settings import Settings
from seriesport.dicom.part10 import load_instance
from seriesport.model.series import Receipt
from seriesport.transports.archive.address import DicomAddress
from seriesport.transports.archive.transport import DicomTransport
from seriesport.transports.registry import parse


def main(pool: str, workers: int, url: str, folders: list[str]) -> None:
    """Store everything, and print the time, the peak memory and whether all arrived."""
    start = time.perf_counter()
    shares = [(url, folders[k::workers]) for k in range(workers)]
    if pool == "one":
        receipts = _share((url, folders))
    else:
        with ThreadPoolExecutor(workers) as threads:
            receipts = [receipt for some in threads.map(_share, shares) for receipt in some]
    wall = time.perf_counter() - start
    if not all(entry.sent for receipt in receipts for entry in receipt.entries):
        raise RuntimeError("not everything was sent")
    print(json.dumps({"wall": wall, "memory": archives.peak_memory()}))


def _share(share: tuple[str, list[str]]) -> list[Receipt]:
    url, folders = share
    address = parse(url)
    assert isinstance(address, DicomAddress)
    with DicomTransport(address, Settings()) as transport:
        return [
            transport.store([load_instance(path) for path in sorted(Path(one).iterdir())], address)
            for one in folders
        ]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:])
