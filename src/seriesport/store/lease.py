"""Turns among processes of several machines on a shared file system, without its lock service.

A lease is a folder that holds one entry, named after its holder and how often that one has shown
that it lives. Everything is a rename or a removal of a name, which a file system's server does
wholly or not at all; nothing rests on what a client remembers:

- To take it is to rename a folder with an entry to its name. A folder that is not empty is never
  replaced, so that one process gets it. It is there with its holder's name or not at all.
- To show that one lives is to rename one's own entry to the next number: who can do that has it.
- To end it, or that of a holder which is dead, is to remove the entry by its name. No name is
  used twice: whoever comes late with that removes nothing, neither another holder's entry nor
  that of one who has shown meanwhile that it lives.

Nobody compares clocks: who waits looks whether the entry changes, and counts its own pauses.
A holder that was stopped for long, and so replaced, learns of it before it writes: `confirm`.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import logging
import os
import re
import secrets
import shutil
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
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES, errno.ENOENT)  # the last two on SMB and NFS
_HOLDER = re.compile(r"(?P<here>[0-9a-f]{16})-(?P<pid>[1-9]\d{0,8})-(?P<started>\d*)-[0-9a-f]{16}")
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
        path: The lease's folder; the one above it is there.
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
    turn = _take(path, wait, busy, pace)
    ended = threading.Event()
    keeper = threading.Thread(
        target=_keep, args=(turn, pace, ended, on_lost), name="lease", daemon=True
    )
    try:
        keeper.start()
        _held.add(turn)
        yield
    finally:
        ended.set()
        if keeper.ident is not None:  # it could be started
            keeper.join()
        _held.discard(turn)
        turn.end()


def confirm() -> None:
    """Make sure that this process still holds each of its leases, before what it made is shown.

    Raises:
        SeriesportError: shard-busy, where another process has taken one.
        OSError: The file system does not answer.
    """
    if not all(turn.beat() for turn in tuple(_held)):
        raise SeriesportError("shard-busy", "another process has taken this work over")


class _Turn:
    """A process's attempt at a lease, and its hold of it."""

    def __init__(self, path: Path) -> None:
        process = os.getpid()
        self._path = path
        self._holder = f"{_here()}-{process}-{_started(process)}-{secrets.token_hex(8)}"
        self._count = 0
        self._ended = False
        self._guard = threading.Lock()

    def begin(self) -> bool:
        """Take the lease if nobody has it; give whether that is so."""
        entry = self._entry(0)
        own = self._path.with_name(f".{entry.name}.{self._path.name}")
        own.mkdir()
        with suppress(OSError):  # what one left that was killed at its end
            self._path.rmdir()
        try:
            (own / entry.name).mkdir()
            own.rename(self._path)
        except OSError as error:
            if not entry.exists():  # else the answer was lost, and the call repeated
                shutil.rmtree(own, ignore_errors=True)
                if error.errno in _TAKEN:
                    return False
                raise
        return self.beat()  # not so, too, where this process was stopped for long since

    def beat(self) -> bool:
        """Show that the holder lives; False where another has taken the lease."""
        with self._guard:
            if self._ended:
                return True
            following = self._entry(self._count + 1)
            try:
                self._entry(self._count).rename(following)
            except FileNotFoundError:
                if not following.exists():
                    return False
            self._count += 1
            return True

    def end(self) -> None:
        """Let others take it."""
        with self._guard, suppress(OSError):  # nothing is there where it was lost
            self._ended = True
            self._entry(self._count).rmdir()
            self._path.rmdir()

    def _entry(self, count: int) -> Path:
        return self._path / f"{self._holder}-{count}"


_held: set[_Turn] = set()
os.register_at_fork(after_in_child=_held.clear)  # a lease is its process's alone


def _take(path: Path, wait: float, busy: str, pace: Pace) -> _Turn:
    deadline = time.monotonic() + wait
    seen, silent, lives = "", 0.0, False
    while True:
        found = _look(path)
        if not found and (turn := _Turn(path)).begin():
            _sweep(path)
            return turn
        known = _lives(found)
        if found != seen:
            lives = lives or _holder(found) == _holder(seen) != ""
            seen, silent = found, 0.0
        lives = lives or known is True
        if found and (known is False or silent > pace.silence):
            _end(path / found)
        elif found and lives and time.monotonic() >= deadline:
            raise SeriesportError("shard-busy", busy)
        time.sleep(_POLL)
        silent += _POLL  # a pause of its own: who was stopped itself has not heard the other


def _sweep(path: Path) -> None:
    """Remove what processes of this machine left that were killed as they took the lease."""
    for own in path.parent.glob(f".*.{glob.escape(path.name)}"):
        if _lives(own.name[1:].removesuffix(f".{path.name}")) is False:
            shutil.rmtree(own, ignore_errors=True)


def _look(path: Path) -> str:
    """The name of the entry of who has the lease; empty where nobody has it."""
    try:
        return min((entry.name for entry in path.iterdir()), default="")
    except FileNotFoundError:
        return ""


def _end(entry: Path) -> None:
    """Remove a dead holder's entry, unless it has shown since that it lives, or ended."""
    with suppress(FileNotFoundError):
        entry.rmdir()


def _keep(turn: _Turn, pace: Pace, ended: threading.Event, on_lost: Callable[[], None]) -> None:
    shown = time.monotonic()
    while not ended.wait(pace.beat):
        try:
            still = turn.beat()
        except OSError:  # a full or absent file system: to be silent for long is to have lost it
            still = time.monotonic() - shown < pace.silence / 2
        else:
            shown = time.monotonic()
        if not still:
            _log.error("another process has taken this work over [shard-busy]")
            on_lost()
            return


def _holder(entry: str) -> str:
    return entry.rpartition("-")[0]


def _lives(entry: str) -> bool | None:
    """Whether a holder lives; None where it is not a process that can be seen from here."""
    found = _HOLDER.fullmatch(_holder(entry))
    if found is None or found["here"] != _here():
        return None
    process = int(found["pid"])
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        pass
    return _started(process) in ("", found["started"])


@lru_cache(maxsize=1)
def _here() -> str:
    """This machine, this start of it, and the space in which its process numbers hold."""
    boot = namespace = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with suppress(OSError):
        namespace = Path("/proc/self/ns/pid").readlink().name
    text = "/".join((socket.gethostname(), boot, namespace))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _started(process: int) -> str:
    """When a process began, so that a number that is used again is not mistaken for it.

    Empty where that cannot be seen, and `ended` for one that nobody has waited for yet.
    """
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "ended" if fields[0] in "ZX" else fields[19]
