"""A server farther away: a relay on the loopback that passes everything on some time later."""

from __future__ import annotations

import queue
import socket
import time
from contextlib import contextmanager, suppress
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

_CHUNK = 1 << 18
_AHEAD = 256
"""Chunks under way in one direction at most."""


@contextmanager
def delayed(port: int, seconds: float) -> Generator[int]:
    """Give a port that leads to another one, at a distance of so much round-trip time."""
    if not seconds:
        yield port
        return
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        Thread(target=_accept, args=(listener, port, seconds / 2), daemon=True).start()
        yield int(listener.getsockname()[1])


def _accept(listener: socket.socket, port: int, seconds: float) -> None:
    with suppress(OSError):  # the end
        while True:
            here, _ = listener.accept()
            there = socket.create_connection(("127.0.0.1", port))
            for one, other in ((here, there), (there, here)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                waiting: queue.Queue[tuple[float, bytes]] = queue.Queue(_AHEAD)
                Thread(target=_receive, args=(one, waiting, seconds), daemon=True).start()
                Thread(target=_send, args=(other, waiting), daemon=True).start()


def _receive(
    sock: socket.socket, waiting: queue.Queue[tuple[float, bytes]], seconds: float
) -> None:
    data = b"."
    while data:
        data = b""
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            data = sock.recv(_CHUNK)
        waiting.put((time.monotonic() + seconds, data))


def _send(sock: socket.socket, waiting: queue.Queue[tuple[float, bytes]]) -> None:
    with suppress(OSError):
        while True:
            due, data = waiting.get()
            time.sleep(max(0.0, due - time.monotonic()))
            if not data:
                sock.shutdown(socket.SHUT_WR)
                return
            sock.sendall(data)
