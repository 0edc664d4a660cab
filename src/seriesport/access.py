"""Who can read what Seriesport writes: its user alone, or the user's group too; never others.

The umask of the process is left alone, since that may be a notebook or another workflow.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

_MODES = {"owner": 0o700, "group": 0o750}
_WITHOUT_MODES = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
"""What file systems say that have the modes of their mount, such as vfat and SMB."""


class _Now:
    """What `share_with` chose for this process."""

    mode = _MODES["owner"]


def share_with(readers: str) -> None:
    """Choose who can read what this process writes from now on: `owner`, or `group` as well."""
    _Now.mode = _MODES[readers]


def folder_mode(*, private: bool = False) -> int:
    """Return the mode of new folders; `private` makes them their owner's alone in any case."""
    return _MODES["owner"] if private else _Now.mode


def file_mode(*, private: bool = False) -> int:
    """Return the mode of new files; `private` makes them their owner's alone in any case."""
    return folder_mode(private=private) & 0o666


def set_mode(place: Path | int, mode: int) -> None:
    """Give a file or a folder a mode, whatever umask and inherited access lists made of it.

    Raises:
        OSError: It is gone, or cannot be changed.
    """
    now = stat.S_IMODE(os.stat(place).st_mode)  # noqa: PTH116 - it may be a descriptor
    wanted = now & ~0o777 | mode  # a folder that hands on its group goes on doing so
    if now == wanted:
        return
    try:
        os.chmod(place, wanted)  # noqa: PTH101
    except OSError as error:
        if error.errno not in _WITHOUT_MODES:
            raise


def make_folder(folder: Path, *, private: bool = False) -> None:
    """Make a folder and those above it. One that is there keeps its mode."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_folder(folder.parent, private=private)
    mode = folder_mode(private=private)
    try:
        folder.mkdir(mode)
    except FileExistsError:  # another process was first
        if not folder.is_dir():
            raise
        return
    set_mode(folder, mode)


def adopt(folder: Path, root: Path) -> None:
    """Give a folder that Snakemake made, and those on the way from `root`, the mode of new ones."""
    for one in (folder, *folder.parents):
        if one == root or root in one.parents:
            set_mode(one, folder_mode())


def restrict(root: Path, alone: Collection[Path]) -> None:
    """Give what an earlier run left the modes of new files, where the folder itself has another.

    Args:
        root: The folder.
        alone: Files and folders in it that are their owner's alone, whoever may read the rest.
    """
    if not root.is_dir() or stat.S_IMODE(root.stat().st_mode) & 0o777 == folder_mode():
        return
    set_mode(root, root.stat().st_mode & folder_mode())  # nobody gets in who is not meant to
    for place, _, names in os.walk(root, topdown=False):
        folder = Path(place)
        within = any(one in alone for one in (folder, *folder.parents))
        for path in map(folder.joinpath, names):
            with suppress(FileNotFoundError):
                if not path.is_symlink():
                    set_mode(path, file_mode(private=within or path in alone))
        with suppress(FileNotFoundError):
            set_mode(folder, folder_mode(private=within))
