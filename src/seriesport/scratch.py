"""Temporary folders for images: private, and gone afterwards, whatever becomes of the process."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

_PREFIX = "seriesport-"
_LOCK = "lock"
_YOUNG = 60.0
"""Seconds in which a folder may not have its lock yet."""


@contextmanager
def scratch() -> Generator[Path]:
    """An empty folder below TMPDIR with mode 0700, which its process holds a lock in."""
    sweep()
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as folder,
        Path(folder, _LOCK).open("wb") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        room = Path(folder, "files")
        room.mkdir()
        yield room


def sweep() -> None:
    """Remove what killed processes of this user left below TMPDIR."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            _remove_if_abandoned(folder)


def _remove_if_abandoned(folder: Path) -> None:
    status = folder.lstat()
    if status.st_uid != os.getuid() or time.time() - status.st_mtime < _YOUNG:
        return
    with (folder / _LOCK).open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
