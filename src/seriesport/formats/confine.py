"""Gives up what a program needs not, and becomes that program. Run as a script, by `sandbox`,
on Linux.

The one argument is JSON: command, parent (the process that it ends with), limits (name of a
resource -> number), read and write (folders and files), execute (files). Standard library only,
since it runs with `python -I -S`.

What the kernel does not know is left out: Landlock (Linux 5.13; its network rules 6.7) and network
namespaces (root, or user namespaces allowed). Resource limits hold everywhere.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import struct
import sys
from contextlib import suppress

FAILED = 125
"""Exit code where the program could not be started."""

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_NEW_NETWORK, _NEW_USER = 0x40000000, 0x10000000
_CREATE_RULESET, _ADD_RULE, _RESTRICT = 444, 445, 446
_EXECUTE, _WRITE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_TRUNCATE = 1 << 14
_ALL_BY_VERSION = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many kinds of file access each version of Landlock knows; 16 from the fifth on."""
_FILE_ACCESS = _EXECUTE | _WRITE | _READ_FILE | _TRUNCATE
_BY_PATH = 1
_OPENS_NOTHING: int = getattr(os, "O_PATH", 0) | os.O_CLOEXEC  # 0 on macOS, where this never runs


def main(argument: str) -> None:
    """Become the program; returns only by an exception."""
    plan = json.loads(argument)
    for name, value in plan["limits"].items():
        number = getattr(resource, f"RLIMIT_{name}")
        _, most = resource.getrlimit(number)
        allowed = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(number, (allowed, allowed))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != plan["parent"]:  # it was killed before that
        raise OSError(0, "its parent is gone")
    if libc.unshare(_NEW_NETWORK):
        libc.unshare(_NEW_USER | _NEW_NETWORK)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _confine_files(libc, plan["read"], plan["write"], plan["execute"])
    command = plan["command"]
    os.execv(command[0], command)  # noqa: S606 - no shell is what is wanted


def _confine_files(
    libc: ctypes.CDLL, read: list[str], write: list[str], execute: list[str]
) -> None:
    version = libc.syscall(_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return
    everything = (1 << _ALL_BY_VERSION.get(version, 16)) - 1
    network = 3 if version >= 4 else 0
    scoped = 3 if version >= 6 else 0
    attributes = struct.pack("=QQQ", everything, network, scoped)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = libc.syscall(_CREATE_RULESET, attributes, size, 0)
    if ruleset < 0:
        return

    def allow(path: str, access: int) -> None:
        with suppress(FileNotFoundError, PermissionError):
            fd = os.open(path, _OPENS_NOTHING)
            if not os.path.isdir(path):  # noqa: PTH112 - no pathlib in this small a process
                access &= _FILE_ACCESS
            rule = struct.pack("=Qi", access & everything, fd)
            libc.syscall(_ADD_RULE, ruleset, _BY_PATH, rule, 0)
            os.close(fd)

    for path in read:
        allow(path, _READ_FILE | _READ_DIR)
    for path in execute:
        allow(path, _EXECUTE | _READ_FILE)
    for path in write:
        allow(path, everything & ~_EXECUTE)
    if libc.syscall(_RESTRICT, ruleset, 0):
        raise OSError(ctypes.get_errno(), "landlock_restrict_self")


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except (OSError, ValueError) as error:
        sys.stderr.write(f"cannot start: {error}\n")
        sys.exit(FAILED)
