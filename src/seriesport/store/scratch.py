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
    """An empty folder with mode 0700, which its process holds a lock in.

    It lies below SLURM_TMPDIR, which some clusters give to a job on the disk of its node, or else
    below TMPDIR.
    """
    sweep()
    with (
        tempfile.TemporaryDirectory(
            prefix=_PREFIX, ignore_cleanup_errors=True, dir=_base()
        ) as folder,
        Path(folder, _LOCK).open("wb") as lock,
    ):
        with suppress(OSError):  # without locks, nobody sweeps here
            fcntl.flock(lock, fcntl.LOCK_EX)
        room = Path(folder, "files")
        room.mkdir()
        yield room


def sweep() -> None:
    """Remove what killed processes of this user left there."""
    for folder in _base().glob(f"{_PREFIX}*"):
        with suppress(OSError):
            _remove_if_abandoned(folder)


def _base() -> Path:
    local = os.environ.get("SLURM_TMPDIR", "")
    return Path(local if local and os.access(local, os.W_OK | os.X_OK) else tempfile.gettempdir())


def _remove_if_abandoned(folder: Path) -> None:
    status = folder.lstat()
    if status.st_uid != os.getuid() or time.time() - status.st_mtime < _YOUNG:
        return
    with (folder / _LOCK).open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
