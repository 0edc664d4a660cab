"""Turns among processes of several machines on a shared file system, without its lock service.

A lease is a file that only one can make (O_CREAT with O_EXCL, which shared file systems keep).
Its holder writes a new count into it every few seconds. Nobody compares clocks: whoever waits
looks whether the content changes, by a clock of its own. The holder looks, too, before each beat:
where the lease has become another's, it ends its own work.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

BEAT = 5.0
"""Seconds between two signs of life."""
SILENCE = 60.0
"""Without a sign of life for so many seconds, a holder on another machine is dead."""
_POLL = 0.05
_log = logging.getLogger("seriesport")


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a holder shows that it lives, and how long it may be silent, in seconds."""

    beat: float = BEAT
    silence: float = SILENCE


def stop() -> None:
    """End this process's work as its cluster would."""
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def lease(
    path: Path,
    *,
    wait: float,
    busy: str = "another process is at work here",
    pace: Pace | None = None,
    on_lost: Callable[[], None] = stop,
) -> Generator[None]:
    """Hold a lease, which nobody else has until it ends.

    Args:
        path: The lease's file; its folder is there.
        wait: How many seconds to wait for a holder that lives. A dead one is waited for as long
            as it takes to be sure: not at all on this machine, else the silence of `pace`.
        busy: What to say where it lives.
        pace: Other times than usual.
        on_lost: What to do where another has taken it, as after this machine was suspended.

    Raises:
        SeriesportError: shard-busy, where a living holder keeps it.
        OSError: It cannot be made.
    """
    pace = pace or Pace()
    mine = f"{_here()} {os.getpid()} {_started(os.getpid())} {secrets.token_hex(8)}"
    _take(path, mine, wait, busy, pace)
    ended = threading.Event()
    keeper = threading.Thread(
        target=_keep, args=(path, mine, pace, ended, on_lost), name="lease", daemon=True
    )
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()
        if _holder(_read(path)) == mine:
            with suppress(OSError):
                path.unlink()


def _take(path: Path, mine: str, wait: float, busy: str, pace: Pace) -> None:
    started = watched = time.monotonic()
    seen = None
    lives = False
    while not _make(path, mine):
        found = _read(path)
        now = time.monotonic()
        if found != seen:
            lives = lives or (seen is not None and _holder(found) == _holder(seen))
            seen, watched = found, now
        if found is not None and (_is_dead(found) or now - watched > pace.silence):
            _break(path, found)
            seen = None
            continue
        if _is_ours_to_know(found):
            lives = True
        if lives and now - started >= wait:
            raise SeriesportError("shard-busy", busy)
        time.sleep(_POLL)


def _make(path: Path, mine: str) -> bool:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    try:
        os.write(fd, f"{mine}\n{0:012d}\n".encode())
    finally:
        os.close(fd)
    return True


def _keep(
    path: Path, mine: str, pace: Pace, ended: threading.Event, on_lost: Callable[[], None]
) -> None:
    count, shown = 0, time.monotonic()
    while not ended.wait(pace.beat):
        count += 1
        try:
            still = _beat(path, mine, count)
        except OSError:  # a full or absent file system: to be silent for long is to have lost it
            still = time.monotonic() - shown < pace.silence / 2
        else:
            shown = time.monotonic()
        if not still:
            _log.error("another process has taken this work over [shard-busy]")
            on_lost()
            return


def _beat(path: Path, mine: str, count: int) -> bool:
    # Opened anew each time, since a network file system shows others only what is closed.
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        if _holder(os.read(fd, 1000).decode("utf-8", "replace")) != mine:
            return False
        os.pwrite(fd, f"{count:012d}\n".encode(), len(mine.encode()) + 1)
        return True
    finally:
        os.close(fd)


def _break(path: Path, found: str) -> None:
    """Remove a dead holder's lease; of two that do so, the second must not remove a living one."""
    aside = path.with_suffix(f".{secrets.token_hex(4)}{path.suffix}")
    try:
        path.rename(aside)
    except OSError:
        return
    if _read(aside) != found:
        with suppress(OSError):  # where it is taken again, its holder sees that at the next beat
            os.link(aside, path)
    with suppress(OSError):
        aside.unlink()


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", "replace")
    except FileNotFoundError:
        return None


def _holder(text: str | None) -> str | None:
    return None if text is None else text.partition("\n")[0]


def _is_ours_to_know(text: str | None) -> bool:
    """Whether a holder is where this process can see whether it lives."""
    fields = (text or "").split()
    return len(fields) == 5 and fields[0] == _here()


def _is_dead(text: str) -> bool:
    """Whether a holder is surely gone: a process of this machine that is not there any more."""
    fields = text.split()
    if len(fields) != 5:
        return False
    here, pid, started = fields[:3]
    return here == _here() and not (pid.isdigit() and _started(int(pid)) == started)


@lru_cache(maxsize=1)
def _here() -> str:
    """This machine, this start of it, and the space in which its process numbers hold."""
    namespace = ""
    with suppress(OSError):
        namespace = Path("/proc/self/ns/pid").readlink().name
    return "/".join((socket.gethostname() or "-", _boot(), namespace)).replace(" ", "_")


def _boot() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _started(pid: int) -> str:
    """When a process began, so that a number that is used again is not mistaken for it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "-" if not Path("/proc/self/stat").exists() and _answers(pid) else ""
    return "" if fields[0] in "ZX" else fields[19]


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
