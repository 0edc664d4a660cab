"""A network of the tests' own, with the loopback alone: some servers listen on every interface."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct

_NEW_NETWORK = 0x40000000
_GET_FLAGS, _SET_FLAGS, _SET_ADDRESS, _UP = 0x8913, 0x8914, 0x8916, 1
_ADDRESS = "192.0.2.1"
"""Of documentation (RFC 5737): nobody else has it."""
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
        (flags,) = struct.unpack_from("h", fcntl.ioctl(control, _GET_FLAGS, _request(b"lo")), 16)
        fcntl.ioctl(control, _SET_FLAGS, _request(b"lo", struct.pack("h", flags | _UP)))
        # glibc takes a network for absent that has 127.0.0.1 alone (AI_ADDRCONFIG): SLURM asks so.
        address = struct.pack("HH4s", socket.AF_INET, 0, socket.inet_aton(_ADDRESS))
        fcntl.ioctl(control, _SET_ADDRESS, _request(b"lo:1", address))


def _request(interface: bytes, value: bytes = b"") -> bytes:
    """Encode a request about an interface (netdevice(7))."""
    return (interface.ljust(16, b"\0") + value).ljust(40, b"\0")


def outside() -> list[str]:
    """What begins a command that needs the machine's network, as to install packages."""
    network = os.environ.get(_OUTSIDE)
    return ["nsenter", f"--net={network}"] if network else []
