"""A bundle of a 200-slice CT (512 x 512) to NIfTI, beside dcm2niix on the same files unpacked.

    python benchmarks/convert.py [--slices 200] [--runs 3]

Prints medians, ratios to `dcm2niix -z y`, the size of the image and the peak memory of the
largest process. The ratio of CPU time holds on a busy machine too. Seriesport's time includes
unpacking the bundle, hashing and syncing the outputs, but not Python's start (one process
converts a whole shard).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dcm2niix

TESTS = Path(__file__).parent.parent / "tests"

# In a process of its own: a child's peak memory begins with that of the process it was forked from.
MAKE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import data
from seriesport.store.bundle import write_bundle
from seriesport.dicom.part10 import load_instance
files, bundle, slices = sys.argv[2:]
made = data.ct(Path(files), data.identity("benchmark"), slices=int(slices), size=512)
write_bundle(Path(bundle), map(load_instance, made.paths), source="file")
"""

OURS = """
import os, sys, time
from pathlib import Path
from seriesport.store.bundle import unpack
from seriesport.workflow.conversion import convert
bundle, out, scratch, names = sys.argv[1:]
start, cpu = time.perf_counter(), sum(os.times()[:4])
files = unpack(Path(bundle), Path(scratch, "in"))
convert(files, "key", Path(out), names.split(","), Path(scratch))
print(time.perf_counter() - start, sum(os.times()[:4]) - cpu)
"""


def run(command: list[str]) -> tuple[float, float, float]:
    """Seconds by the clock and of CPU, as the command prints them or else as measured here, and
    peak memory in MB.
    """
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdout is not None
    printed = child.stdout.read().decode()
    _, status, usage = os.wait4(child.pid, 0)
    seconds, cpu = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, command
    if command[0] == sys.executable:
        seconds, cpu = map(float, printed.split())
    return seconds, cpu, usage.ru_maxrss / 1024


NAMES = (
    "dcm2niix -z y",
    "dcm2niix -z y -1",
    "dcm2niix -z n",
    "seriesport nifti",
    "seriesport npz",
    "seriesport preview",
)


def command(name: str, bundle: Path, files: Path, room: Path) -> list[str]:
    """The command of a name, writing into folders that it makes."""
    out, scratch = room / "out", room / "scratch"
    for folder in (out, scratch):
        folder.mkdir()
    program, *options = name.split()
    if program == "seriesport":
        return [sys.executable, "-c", OURS, str(bundle), str(out), str(scratch), *options]
    return [dcm2niix.bin, *options, "-b", "y", "-f", "key", "-o", str(out), str(files)]


def main() -> None:
    """Run everything in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    times: dict[str, list[tuple[float, float]]] = {}
    memory: dict[str, float] = {}
    sizes: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="seriesport-benchmark-") as work:
        files, bundle = Path(work, "files"), Path(work, "bundle.zip")
        make = [sys.executable, "-c", MAKE, str(TESTS), str(files), str(bundle)]
        subprocess.run([*make, str(options.slices)], check=True)
        for _ in range(options.runs):
            for name in NAMES:
                with tempfile.TemporaryDirectory(dir=work) as room:
                    seconds, cpu, peak = run(command(name, bundle, files, Path(room)))
                    images = [p for p in Path(room, "out").iterdir() if p.suffix != ".json"]
                    sizes[name] = sum(p.stat().st_size for p in images)
                times.setdefault(name, []).append((seconds, cpu))
                memory[name] = max(peak, memory.get(name, 0))
    print(
        f"{'':20}{'seconds':>9}{'ratio':>8}{'CPU s':>8}{'ratio':>8}{'output MB':>11}{'peak MB':>9}"
    )
    medians = {n: [statistics.median(v) for v in zip(*t, strict=True)] for n, t in times.items()}
    wall, cpu = medians[NAMES[0]]
    for name, (seconds, used) in medians.items():
        print(
            f"{name:20}{seconds:9.2f}{seconds / wall:8.2f}{used:8.2f}{used / cpu:8.2f}"
            f"{sizes[name] / 1e6:11.1f}{memory[name]:9.0f}"
        )


if __name__ == "__main__":
    main()
