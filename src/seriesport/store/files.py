"""Writing files whole or not at all: beside, fsync, rename. The one place that does it."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import socket
import time
from contextlib import ExitStack, contextmanager, suppress
from itertools import zip_longest
from typing import TYPE_CHECKING, BinaryIO

from seriesport.access import file_mode, make_folder, set_mode
from seriesport.errors import SeriesportError, unwritable
from seriesport.store.lease import confirm, lease

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from pathlib import Path

PART_SUFFIX = ".seriesport-part"
"""Ends the name of a file that is being written. A reader of folders passes such files over."""

COPY_CHUNK = 1 << 20
_LOCK_TIMEOUT = 600.0
_LOCK_POLL = 0.02
_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
_NO_KERNEL_COPY = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM)


@contextmanager
def writing(
    path: Path, *, private: bool = False, replace: bool = True, sync_name: bool = True
) -> Generator[BinaryIO]:
    """Write a file beside its final name; at the end it is synced and renamed, all or nothing.

    The file that is being written has one fixed name on each machine, so that what a killed
    process left is used up by the next attempt, and a lock, so that two processes take turns.
    Those of two machines, which may not see each other's locks, have a file each. A process that
    was stopped while another took over its work renames nothing.

    Args:
        path: The final name. Its folder is made when it is missing.
        private: For its owner alone, also where a group may read the rest.
        replace: False refuses a name that is taken.
        sync_name: False leaves it to the caller to call `sync_folder` after many files.

    Raises:
        SeriesportError: file-unwritable; destination-conflict where `replace` is False and
            the name is taken; timeout where another process holds the file for 10 minutes;
            shard-busy where another has taken over a lease of this process.
    """
    part = part_path(path)
    turn = ExitStack()
    try:
        make_folder(path.parent, private=private)
        fd = _open_part(part, turn, private=private)
    except OSError as error:
        turn.close()
        raise unwritable(error) from error
    try:
        with turn, os.fdopen(fd, "r+b", buffering=0) as stream:
            try:
                yield stream  # pyright: ignore[reportReturnType] - a FileIO is all that writers need
                os.fsync(fd)
                confirm()
                _publish(part, path, replace=replace)
            except BaseException:
                if _is_at(fd, part):  # else it is of one who has taken this over
                    _remove(part)
                raise
    except OSError as error:
        raise unwritable(error) from error
    if sync_name:
        sync_folder(path.parent)


def part_path(path: Path) -> Path:
    """The file that `writing` writes for a path."""
    machine = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
    return path.with_name(f".{path.name}.{machine}{PART_SUFFIX}")


def move(source: Path, target: Path) -> None:
    """Rename a file, also into another folder of a file system that cannot do that.

    Raises:
        OSError: It cannot be written.
    """
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with source.open("rb") as stream, writing(target) as copy:
            shutil.copyfileobj(stream, copy, COPY_CHUNK)
        source.unlink()


def write_bytes(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write a small file whole or not at all; `private` as for `writing`.

    Raises:
        SeriesportError: file-unwritable.
    """
    with writing(path, private=private) as stream:
        write_all(stream, data)


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Write a small UTF-8 file whole or not at all; `private` as for `writing`.

    Raises:
        SeriesportError: file-unwritable.
    """
    write_bytes(path, text.encode(), private=private)


def write_if_changed(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write a small file like `write_bytes`, unless it holds the same already.

    Raises:
        SeriesportError: file-unwritable.
    """
    if not path.is_file() or path.read_bytes() != data:
        write_bytes(path, data, private=private)


def write_lines_if_changed(
    path: Path, lines: Callable[[], Iterable[bytes]], *, private: bool = False
) -> None:
    """`write_if_changed` for a large file: `lines` gives its lines, twice where it is written.

    Raises:
        SeriesportError: file-unwritable.
    """
    if path.is_file() and _has_lines(path, lines()):
        return
    pending = bytearray()
    with writing(path, private=private) as stream:
        for line in lines():
            pending += line
            if len(pending) > COPY_CHUNK:
                write_all(stream, bytes(pending))
                pending.clear()
        write_all(stream, bytes(pending))


def _has_lines(path: Path, lines: Iterable[bytes]) -> bool:
    with path.open("rb") as stream:
        return all(a == b for a, b in zip_longest(stream, lines))


def write_all(stream: BinaryIO, data: bytes | memoryview) -> None:
    """Write all of `data`, also where the stream takes less at a time."""
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]


def copy_range(source: int, offset: int, target: int, position: int, size: int) -> None:
    """Copy `size` bytes between two open files, within the kernel where it can.

    Raises:
        EOFError: The source ended early.
        OSError: The copy failed.
    """
    done = _kernel_copy(source, offset, target, position, size)
    while done < size:
        chunk = os.pread(source, min(COPY_CHUNK, size - done), offset + done)
        if not chunk:
            raise EOFError
        view = memoryview(chunk)
        while view:
            count = os.pwrite(target, view, position + done)
            view = view[count:]
            done += count


def _kernel_copy(source: int, offset: int, target: int, position: int, size: int) -> int:
    done = 0
    copy = getattr(os, "copy_file_range", None)  # Linux alone has it
    try:
        while copy and done < size:
            count = copy(source, target, size - done, offset + done, position + done)
            if count == 0:
                break
            done += count
    except OSError as error:
        if error.errno not in _NO_KERNEL_COPY:
            raise
    return done


@contextmanager
def locked(path: Path, timeout: float = _LOCK_TIMEOUT) -> Generator[None]:
    """Hold a lock that other processes respect, on this machine and on others.

    Args:
        path: The lock file, which goes away again.
        timeout: Longest wait, in seconds.

    Raises:
        SeriesportError: timeout, or file-unwritable.
    """
    turn = ExitStack()
    try:
        make_folder(path.parent)
        _wait_for(turn, path, timeout)
    except OSError as error:
        raise unwritable(error) from error
    with turn:
        yield


def remove_parts(folder: Path, name: str = "") -> None:
    """Remove what killed writers of names that begin so left, where nobody writes to them now."""
    for path in folder.glob(f".{name}*{PART_SUFFIX}"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Check that files may be made in a folder, or that it may be made; nothing is.

    Raises:
        SeriesportError: file-unwritable.
    """
    there = folder
    while not os.path.lexists(there):
        there = there.parent
    if not there.is_dir():
        raise SeriesportError("file-unwritable", "a part of its path is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        which = "it" if there == folder else "it does not exist, and the nearest folder above it"
        raise SeriesportError("file-unwritable", f"{which} may not be written to")


def sync_folder(folder: Path) -> None:
    """Make renames within a folder survive a crash of the machine."""
    with suppress(OSError):  # some network file systems cannot sync a folder
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _open_part(part: Path, turn: ExitStack, *, private: bool) -> int:
    mode = file_mode(private=private)
    fd = _open_locked(part, mode)
    if fd is None:  # a file system without locks
        name = f"{part.name.removesuffix(PART_SUFFIX)}.lease{PART_SUFFIX}"
        _wait_for(turn, part.with_name(name), _LOCK_TIMEOUT)
        _remove(part)  # who was stopped in the midst of it may go on writing into it
        fd = os.open(part, _OPEN | os.O_EXCL, mode)
    os.ftruncate(fd, 0)
    set_mode(fd, mode)
    return fd


def _open_locked(path: Path, mode: int) -> int | None:
    """Open a file and lock it; None where the file system has no locks."""
    deadline = time.monotonic() + _LOCK_TIMEOUT
    while True:
        fd = os.open(path, _OPEN, mode)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(fd, path):
                return fd
        except BlockingIOError:
            pass
        except OSError as error:
            os.close(fd)
            if error.errno in _NO_LOCKS:
                return None
            raise
        os.close(fd)
        if time.monotonic() > deadline:
            raise _held(_LOCK_TIMEOUT)
        time.sleep(_LOCK_POLL)


def _wait_for(turn: ExitStack, path: Path, timeout: float) -> None:
    try:
        turn.enter_context(lease(path, wait=timeout))
    except SeriesportError as error:
        raise _held(timeout) from error


def _held(seconds: float) -> SeriesportError:
    return SeriesportError("timeout", f"another process has held a file for {seconds:g} s")


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def _publish(part: Path, path: Path, *, replace: bool) -> None:
    if replace:
        part.replace(path)
        return
    try:
        os.link(part, path)
    except FileExistsError:
        raise SeriesportError(
            "destination-conflict", "a file of this name appeared; it was not replaced"
        ) from None
    except OSError as error:  # a file system without hard links
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise SeriesportError(
                "destination-conflict", "a file of this name appeared; it was not replaced"
            ) from None
        part.rename(path)
        return
    part.unlink()


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
