"""Taking turns at one XNAT: within this process, and with the user's other processes.

XNAT loses files that are put into one resource at the same time, and lets two uploads make the
same subject, experiment or scan.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from seriesport.errors import SeriesportError
from seriesport.store.files import locked

if TYPE_CHECKING:
    from collections.abc import Generator

_registry: dict[str, tuple[threading.Lock, int]] = {}
_guard = threading.Lock()
_LONGEST = 600.0


@contextmanager
def turn(*place: str, deadline: float) -> Generator[None]:
    """Hold a place, named by the server's URL and what is below it, until the block ends.

    It is waited for until `deadline` on the monotonic clock, at most for 10 minutes.

    The lock files lie in the user's cache folder, which the nodes of a cluster share as a rule.
    Where nothing can be written there, only the threads of this process take turns.

    Raises:
        SeriesportError: timeout, where another thread or process holds it for so long.
    """
    name = hashlib.sha256("\0".join(place).encode("utf-8", "surrogateescape")).hexdigest()
    with _guard:
        lock, users = _registry.get(name, (threading.Lock(), 0))
        _registry[name] = (lock, users + 1)
    try:
        with ExitStack() as stack:
            if not lock.acquire(timeout=_left(deadline)):
                what = "another upload to the same place took longer than wall_clock allows"
                raise SeriesportError("timeout", what)
            stack.callback(lock.release)
            try:
                stack.enter_context(locked(_folder() / f"{name[:32]}.lock", _left(deadline)))
            except RuntimeError:  # no home folder
                pass
            except SeriesportError as error:
                if error.code != "file-unwritable":
                    raise
            yield
    finally:
        with _guard:
            lock, users = _registry[name]
            if users > 1:
                _registry[name] = (lock, users - 1)
            else:
                del _registry[name]


def _left(deadline: float) -> float:
    return min(max(0.0, deadline - time.monotonic()), _LONGEST)


def _folder() -> Path:
    """A folder of this user's own, which every process of the user's finds."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "seriesport" / "turns"
