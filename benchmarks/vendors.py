"""Vendors' files and compressed pixels: `python benchmarks/vendors.py [--files 200]`.

For each layout of `tests/test_vendors.py` and each encoding, `Series` reads a series of small
images; a fallback is a header that pydicom had to read as a whole. There should be none, and the
exit code says so. Then compressed series, decoded in this process and by the worker that keeps
decoders of others away from it: what the worker costs. CPU is that of both processes.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import pydicom

import data
import test_vendors
from seriesport import Series
from seriesport.images import decoders, pixels

if TYPE_CHECKING:
    from collections.abc import Callable

COMPRESSED = (("rle", 64), ("jpeg2000", 64), ("rle", 512), ("jpeg2000", 512))


def main() -> None:
    """Build the series, read them, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="seriesport-bench-") as room:
        fallbacks = _vendors(Path(room), options.files, options.rounds)
        _decoders(Path(room), options.files, options.rounds)
    sys.exit(1 if fallbacks else 0)


def _vendors(room: Path, files: int, rounds: int) -> int:
    counted = 0
    real = pydicom.dcmread

    def count(*arguments: Any, **more: Any) -> Any:
        nonlocal counted
        counted += 1
        return real(*arguments, **more)

    all_fallbacks = 0
    print(f"{'layout':16}{'encoding':12}{'ms a file':>10}{'fallbacks':>12}")
    for layout in test_vendors.LAYOUTS:
        for syntax in ("explicit", "implicit"):
            folder = room / f"{layout.__name__}-{syntax}"
            test_vendors.made(folder, layout, syntax, slices=files)
            pydicom.dcmread, counted = count, 0
            best = min(_cpu(lambda folder=folder: Series(folder)) for _ in range(rounds))
            pydicom.dcmread = real
            all_fallbacks += counted
            print(f"{layout.__name__:16}{syntax:12}{1e3 * best / files:>10.2f}{counted:>12}")
    return all_fallbacks


def _decoders(room: Path, files: int, rounds: int) -> None:
    worker: Any = pixels.decode
    limit: Any = pixels.limit_memory

    def here(_: str, path: str, indices: list[int]) -> Any:
        return pixels.decompressed(path, indices)

    def unlimited(_: int = 0) -> None:
        pass

    list(decoders.decode("builtins:list"))
    print(f"\nthe worker starts in {_workers():.2f} CPU s, once in a process; CPU ms a file:")
    print(f"{'syntax':12}{'size':>6}{'in process':>14}{'by the worker':>16}")
    for syntax, size in COMPRESSED:
        folder = room / f"{syntax}-{size}"
        count = files if size < 512 else max(1, files // 10)
        data.ct(folder, data.identity(syntax), slices=count, size=size, syntax=syntax)
        best: dict[Any, float] = {}
        for decode in [here, worker] * rounds:
            pixels.decode, pixels.limit_memory = decode, unlimited if decode is here else limit
            start = _workers()
            spent = _cpu(lambda folder=folder: Series(folder)) + _workers() - start
            best[decode] = min(best.get(decode, spent), spent)
        ours, theirs = (1e3 * best[decode] / count for decode in (here, worker))
        print(f"{syntax:12}{size:>6}{ours:>14.2f}{theirs:>16.2f}")


def _cpu(act: Callable[[], Any]) -> float:
    start = time.process_time()
    act()
    return time.process_time() - start


def _workers() -> float:
    """CPU seconds of this process's idle workers."""
    ticks = 0
    for worker in decoders._idle:  # noqa: SLF001 - measured from outside
        stat = Path(f"/proc/{worker._process.pid}/stat").read_text()  # noqa: SLF001
        ticks += sum(map(int, stat.rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
