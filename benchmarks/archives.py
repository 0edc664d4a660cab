"""What the archive benchmarks share: filled servers, measured child processes, tables of ratios."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from argparse import ArgumentParser
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

# Between us and the measured process, since a child's peak memory counts from its parent's
_RUNNER = """
import json, os, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
wall = time.perf_counter() - start
use = resource.getrusage(resource.RUSAGE_CHILDREN)
told = {"wall": wall, "cpu": use.ru_utime + use.ru_stime, "memory": use.ru_maxrss / 1024}
told |= {"code": done.returncode, "out": done.stdout.decode(), "err": done.stderr.decode()}
print(json.dumps(told))
"""


@dataclass(frozen=True)
class Run:
    """One measured run. Times in seconds, memory in MiB."""

    wall: float
    """Of the work, without the start-up of Python."""
    process: float
    """From start to end of the process."""
    cpu: float
    memory: float


def run(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Run:
    """Run a command. If it is one of ours, its last line is JSON with `wall` and `memory`."""
    given = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    given |= dict(environment or {})
    outer = subprocess.run(
        [sys.executable, "-S", "-E", "-c", _RUNNER, *command],
        env=given,
        cwd=folder,
        capture_output=True,
        check=True,
    )
    measured = json.loads(outer.stdout)
    if measured["code"]:
        raise RuntimeError(f"{command[:2]} failed: {measured['err'][-2000:]}")
    told: dict[str, float] = {}
    if command[0] == sys.executable:
        told = json.loads(measured["out"].splitlines()[-1])
    return Run(
        told.get("wall", measured["wall"]),
        measured["wall"],
        measured["cpu"],
        told.get("memory", measured["memory"]),
    )


def parser(description: str, series: int, peers: Sequence[str], tool: str) -> ArgumentParser:
    """The options of a benchmark beside one of DCMTK's tools."""
    made = ArgumentParser(description=description)
    made.add_argument("--series", type=int, default=series)
    made.add_argument("--slices", type=int, default=200)
    made.add_argument("--size", type=int, default=512, help="rows and columns")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--parallel", type=int, default=4)
    made.add_argument("--archives", nargs="+", default=list(peers))
    made.add_argument("--nagle", action="store_true", help=f"also {tool} as it is shipped")
    made.add_argument("--folder", type=Path, default=None)
    return made


def peak_memory() -> float:
    """Of this process, in MiB (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmHWM")


def alternate(ways: Mapping[str, Callable[[], Run]], rounds: int) -> dict[str, list[Run]]:
    """Run every way once in each round, so that all meet the same state of the machine."""
    runs: dict[str, list[Run]] = defaultdict(list)
    for number in range(rounds):
        names = list(ways)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            runs[name].append(ways[name]())
    return runs


def table(title: str, runs: Mapping[str, list[Run]], reference: str, megabytes: float) -> None:
    """Print medians, and the ratio of each way's time to the reference's."""
    base = statistics.median(one.wall for one in runs[reference])
    print(f"\n{title}")
    print(f"{'':44}{'ratio':>7}{'wall s':>9}{'MB/s':>8}{'process s':>11}{'CPU s':>8}{'MiB':>7}")
    for name, some in runs.items():
        wall = statistics.median(one.wall for one in some)
        print(
            f"{name:44}{wall / base:>7.2f}{wall:>9.3f}{megabytes / wall:>8.0f}"
            f"{statistics.median(one.process for one in some):>11.3f}"
            f"{statistics.median(one.cpu for one in some):>8.2f}"
            f"{max(one.memory for one in some):>7.0f}"
        )
    sys.stdout.flush()
