"""A network of the tests' own, with the loopback alone: some servers listen on every interface."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct

_NEW_NETWORK = 0x40000000
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1
_OUTSIDE = "SERIESPORT_TESTS_OUTSIDE"
"""Names the network that the tests left; workers and servers inherit it."""


def enter() -> None:
    """Leave the machine's network, where this process may; once for all workers of a run.

    The calling thread leaves it, with the threads and processes that it starts afterwards.
    """
    if _OUTSIDE in os.environ or os.geteuid() != 0:
        return
    outside = os.open("/proc/self/ns/net", os.O_RDONLY)
    if ctypes.CDLL(None).unshare(_NEW_NETWORK):
        os.close(outside)
        return
    os.environ[_OUTSIDE] = f"/proc/{os.getpid()}/fd/{outside}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh", b"lo", 0).ljust(40, b"\0")
        (flags,) = struct.unpack_from("h", fcntl.ioctl(control, _GET_FLAGS, request), 16)
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sh", b"lo", flags | _UP).ljust(40, b"\0"))


def outside() -> list[str]:
    """What begins a command that needs the machine's network, as to install packages."""
    network = os.environ.get(_OUTSIDE)
    return ["nsenter", f"--net={network}"] if network else []
