"""Reading a folder into an array: a CT of 200 slices and an MR of 40 x 30, beside imagedata.

    python benchmarks/reading.py [--rounds 3] [--slices 200] [--times 40]

Each reading is a process of its own, rounds alternate, files are in the page cache. Seconds are of
the reading alone, without Python's start and imports; memory is the process's peak. The first run
installs imagedata below ~/.cache/seriesport. Before times are compared, so are the values.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from whole_job import IMAGEDATA, environment

TESTS = str(Path(__file__).parent.parent / "tests")
# In a process of its own: a child's peak memory begins with that of the process it was forked from.
MAKE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import data
slices, times = map(int, sys.argv[4:])
data.ct(Path(sys.argv[2]), data.identity("ct"), slices=slices, size=512)
data.mr(Path(sys.argv[3]), data.identity("mr"), times=times, slices=30, size=128)
"""
OURS = """
import hashlib, sys, time
import numpy as np
from pathlib import Path
from seriesport.images.image import Image
files = sorted(Path(sys.argv[1]).iterdir())
start = time.perf_counter()
array = Image.read(files, sys.argv[2]).array
"""
THEIRS = """
import hashlib, sys, time
import numpy as np
from imagedata import Series
start = time.perf_counter()
array = np.asarray(Series(sys.argv[1], sys.argv[2]))
"""
END = """
seconds = time.perf_counter() - start
print(seconds, array.nbytes, hashlib.sha256(np.ascontiguousarray(array)).hexdigest())
"""


def measured(python: Path | str, script: str, folder: Path, order: str) -> tuple[float, int, str]:
    """Seconds, peak memory in MiB, and the digest of the values."""
    command = [str(python), "-c", script + END, str(folder), order]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdout is not None
    printed = child.stdout.read().decode().split()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"failed: {command[0]}")
    return float(printed[0]), usage.ru_maxrss // 1024, printed[2]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slices", type=int, default=200, help="of the CT")
    parser.add_argument("--times", type=int, default=40, help="of the MR, of 30 slices each")
    options = parser.parse_args()
    tools = {IMAGEDATA: (environment(), THEIRS), "seriesport": (sys.executable, OURS)}
    print(f"{'':<28}{'seconds':>9}{'ratio':>8}{'MiB':>8}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as room:
        ct, mr = Path(room, "ct"), Path(room, "mr")
        sizes = [str(options.slices), str(options.times)]
        subprocess.run([sys.executable, "-c", MAKE, TESTS, str(ct), str(mr), *sizes], check=True)
        kinds = (f"CT {options.slices}", ct, "none"), (f"MR {options.times} x 30", mr, "time")
        for name, folder, order in kinds:
            runs: dict[str, list[tuple[float, int, str]]] = {tool: [] for tool in tools}
            for _ in range(options.rounds):
                for tool, (python, script) in tools.items():
                    runs[tool].append(measured(python, script, folder, order))
            if len({digest for done in runs.values() for *_, digest in done}) > 1:
                print(f"{name}: the values differ")
            base = [statistics.median(r[i] for r in runs[IMAGEDATA]) for i in (0, 1)]
            for tool, done in runs.items():
                seconds, memory = (statistics.median(r[i] for r in done) for i in (0, 1))
                print(
                    f"{name + ', ' + tool:<28}{seconds:>9.3f}{seconds / base[0]:>8.3f}"
                    f"{memory:>8.0f}{memory / base[1]:>8.2f}"
                )


if __name__ == "__main__":
    main()
