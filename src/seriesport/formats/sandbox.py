"""Running an external program: in a process group of its own, by a wall clock, within limits.

Only Linux confines a program (`Limits`). It sees nothing but its own folder and the system's
libraries and data, where the kernel has Landlock (5.13 and newer); has no network, where namespaces
or Landlock (6.7) allow it; gains no privileges; ends with the process that started it; and has
limits on CPU time, memory, the size of each file, processes (not for root, whom the kernel lets
off) and open files.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seriesport.errors import SeriesportError
from seriesport.formats import confine

if TYPE_CHECKING:
    from collections.abc import Sequence

CONSOLE_LIMIT = 4 << 20
"""Bytes of console text that are read."""
_SYSTEM = (
    *("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime"),
    *("/etc/fonts", "/etc/ghostscript", "/etc/papersize", "/var/lib/ghostscript"),
    *("/var/cache/fontconfig", "/dev/null", "/dev/zero", "/dev/urandom"),
)
"""What a confined program may read beside its folder: no home, no data, no secrets."""
_DATA = ("lib", "share/ghostscript", "share/fonts", "etc/fonts")
"""What a program finds below the prefix that it was installed in."""
_LOADERS = ("lib*/ld-linux*", "lib*/*/ld-linux*", "lib*/ld-musl*", "usr/lib*/ld-linux*")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a confined program may take. Sizes in bytes."""

    cpu: int = 30
    """Seconds of CPU time."""
    memory: int = 1 << 30
    """Of addresses."""
    file_size: int = 256 << 20
    """Of each file."""
    processes: int = 64
    files: int = 256

    def resources(self) -> dict[str, int]:
        """By the name that the resource module uses after RLIMIT_."""
        return {
            "CPU": self.cpu,
            "AS": self.memory,
            "FSIZE": self.file_size,
            "NPROC": self.processes,
            "NOFILE": self.files,
            "CORE": 0,
        }


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended."""

    status: int
    """Exit code, or the negative number of the signal that ended it."""
    console: str
    """What it wrote, both streams in one."""


def run(
    command: Sequence[str], folder: Path, wall_clock: float, limits: Limits | None = None
) -> Finished:
    """Run a program to its end; whatever it started ends with it.

    Args:
        command: Absolute path of the program, and its arguments.
        folder: Its working folder, which is its HOME and TMPDIR too.
        wall_clock: Longest time, in seconds.
        limits: Confines it; without them only the clock holds.

    Raises:
        SeriesportError: timeout; tool-missing, where it cannot be started; sandbox-missing, where
            it cannot be confined.
    """
    name = Path(command[0]).name
    started = list(command) if limits is None else _confined(command, folder, limits)
    places = str(folder.absolute())
    environment = {"HOME": places, "TMPDIR": places, "LC_ALL": "C", "PATH": "/usr/bin:/bin"}
    log = folder / f".{name}.log"
    with log.open("wb") as console:
        try:
            child = subprocess.Popen(  # noqa: S603 - a fixed command, paths of our own
                started,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            problem = f"{name} cannot be started: {os.strerror(error.errno or 0)}"
            raise SeriesportError("tool-missing", problem) from None
        try:
            status = child.wait(wall_clock)
        except subprocess.TimeoutExpired:
            raise SeriesportError("timeout", f"{name} took longer than {wall_clock:g} s") from None
        finally:
            _end(child)
    with log.open("rb") as console:
        text = console.read(CONSOLE_LIMIT).decode("utf-8", "replace")
    if limits is not None and status == confine.FAILED:
        raise SeriesportError("tool-missing", f"{name} cannot be started in its sandbox")
    return Finished(status, text)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the group, the program itself or what it started."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        child.poll()
    child.wait()


def _confined(command: Sequence[str], folder: Path, limits: Limits) -> list[str]:
    if sys.platform != "linux":
        raise SeriesportError("sandbox-missing", "programs can be confined on Linux alone")
    program = Path(command[0]).resolve()
    loaders = [str(path) for pattern in _LOADERS for path in Path("/").glob(pattern)]
    plan = {
        "command": [str(program), *command[1:]],
        "limits": limits.resources(),
        "parent": os.getpid(),
        "read": [*_SYSTEM, *_data_of(program)],
        "write": [str(folder.absolute()), "/dev/null"],
        "execute": [str(program), *loaders],
    }
    return [sys.executable, "-I", "-S", confine.__file__, json.dumps(plan)]


def _data_of(program: Path) -> list[str]:
    """The folders of a program that conda, say, installed below a prefix of its own.

    A prefix that holds the user's home, as of a program in `~/bin`, holds other things too.
    """
    prefix = program.parent.parent
    if program.parent.name != "bin" or Path.home().is_relative_to(prefix):
        return []
    return [str(prefix / name) for name in _DATA]
