"""Taking turns at one XNAT: within this process, and with the other processes of this machine.

XNAT loses files that are put into one resource at the same time, and lets two uploads make the
same subject, experiment or scan.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from seriesport.files import locked

if TYPE_CHECKING:
    from collections.abc import Generator

_registry: dict[str, tuple[threading.Lock, int]] = {}
_guard = threading.Lock()


@contextmanager
def turn(*place: str) -> Generator[None]:
    """Hold a place, named by the server's URL and what is below it, until the block ends.

    Raises:
        SeriesportError: timeout, where another process holds it for 10 minutes; file-unwritable.
    """
    name = hashlib.sha256("\0".join(place).encode("utf-8", "surrogateescape")).hexdigest()
    with _guard:
        lock, users = _registry.get(name, (threading.Lock(), 0))
        _registry[name] = (lock, users + 1)
    try:
        with lock, locked(_folder() / f"{name[:32]}.lock"):
            yield
    finally:
        with _guard:
            lock, users = _registry[name]
            if users > 1:
                _registry[name] = (lock, users - 1)
            else:
                del _registry[name]


def _folder() -> Path:
    """A folder of this user's own, which every process of the user's finds."""
    return Path(tempfile.gettempdir()) / f"seriesport-{os.getuid()}"
