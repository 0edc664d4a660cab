"""Processes that stop themselves (SIGSTOP) at a line of the lease's code, and who wakes them."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seriesport.errors import SeriesportError
from seriesport.store import lease as leases

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

PACE = leases.Pace(beat=0.05, silence=0.4)
LONGEST = 1.0
"""Seconds for which a process is stopped at most: longer than a holder may be silent."""


def at_lines(act: Callable[[FrameType], None], *functions: str) -> None:
    """Call `act` before each line of the lease's code that this thread runs, or of some of it."""

    def local(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            act(frame)
        return local

    def begin(frame: FrameType, _: str, __: Any) -> Any:
        code = frame.f_code
        wanted = not functions or code.co_name in functions
        return local if code.co_filename == leases.__file__ and wanted else None

    sys.settrace(begin)


def stop(_: FrameType | None = None) -> None:
    """Stop this process until another wakes it."""
    os.kill(os.getpid(), signal.SIGSTOP)


def is_stopped(process: subprocess.Popen[str]) -> bool:
    """Whether a process is stopped."""
    stat = Path(f"/proc/{process.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"


def wake(processes: Sequence[subprocess.Popen[str]]) -> None:
    """Wake each of the processes some time after it stopped, until all have ended."""
    due: dict[int, float] = {}
    while running := [one for one in processes if one.poll() is None]:
        for one in running:
            if not is_stopped(one):
                continue
            now = time.monotonic()
            at = due.setdefault(one.pid, now + random.choice((0, 0.1, LONGEST)) * random.random())
            if now >= at:
                del due[one.pid]
                one.send_signal(signal.SIGCONT)
        time.sleep(0.02)


def take_turns(folder: Path, number: int, of: int, rounds: int, *, elsewhere: bool) -> None:
    """Take the lease of each round once, together with others, and stop at some line of that.

    Each writes into a log when it is inside, and whether it held the lease from before to after.
    """
    seed = random.Random(number * 1000 + rounds)
    if elsewhere:
        leases._here = lambda: f"{number:016x}"
    log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def tell(*words: object) -> None:
        os.write(log, (" ".join(map(str, words)) + "\n").encode())

    left = 0

    def act(frame: FrameType) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            tell("stop", frame.f_code.co_name, frame.f_lineno)
            stop()

    for one in range(rounds):
        ready = folder / "ready" / str(one)
        ready.mkdir(parents=True, exist_ok=True)
        (ready / str(number)).touch()
        while len([*ready.iterdir()]) < of:
            time.sleep(0.02)
        left = seed.randint(1, seed.choice((30, 100, 300)))
        at_lines(act)
        lost = False
        with (
            leases.lease(folder / f"lease{one}", wait=120, pace=PACE, on_lost=lambda: None),
            suppress(SeriesportError),
        ):
            lost = True
            leases.confirm()
            sys.settrace(None)
            tell("in", one, number)
            time.sleep(0.01)
            tell("out", one, number)
            at_lines(act)
            leases.confirm()
            lost = False
        sys.settrace(None)
        tell("lost" if lost else "kept", one, number)


def intruders(lines: Sequence[str]) -> Iterator[str]:
    """Who was inside while another was, of those that held the lease from before to after."""
    kept = {tuple(line.split()[1:]) for line in lines if line.startswith("kept ")}
    inside: dict[str, set[str]] = {}
    for line in lines:
        word, *at = line.split()
        if word not in ("in", "out") or tuple(at) not in kept:
            continue
        one, number = at
        if word == "out":
            inside[one].discard(number)
        elif inside.setdefault(one, set()):
            yield line
            inside[one].add(number)
        else:
            inside[one].add(number)


if __name__ == "__main__":
    folder, number, of, rounds, where = sys.argv[1:]
    take_turns(Path(folder), int(number), int(of), int(rounds), elsewhere=where == "other")
