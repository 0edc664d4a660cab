"""Connections to a web server: verified TLS, no proxy, a wall clock on each request.

They stand below a session of requests, as its adapter, so that whatever uses the session keeps to
them.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from requests import Session
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from seriesport.config.settings import Tls
from seriesport.config.tls import context

if TYPE_CHECKING:
    from collections.abc import Generator

    from seriesport.transports.xnat.server import XnatServer

_POLL = 0.2
_current = threading.local()


class Watch:
    """The connection that a request uses, cut at the deadline.

    A timeout of the socket bounds silence alone: a peer that drips one byte at a time, in the
    head of an answer or in its body, would hold a thread for ever.
    """

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.connection: HTTPConnection | None = None
        self.sock: object = None
        """The connection's own, which it forgets while an answer that ends it is read."""

    @property
    def late(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self.deadline

    def cut(self) -> None:
        """Wake up whoever waits for the connection."""
        sock = getattr(self.connection, "sock", None) or self.sock
        if isinstance(sock, socket.socket):
            with suppress(OSError):
                # Not SSLSocket's own, which takes the TLS object away from the waiting thread.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


class Watchdog:
    """One thread that cuts what is over its deadline; it runs while anything is watched."""

    def __init__(self) -> None:
        self._watches: set[Watch] = set()
        self._changed = threading.Condition()
        self._running = False
        self._due = 0.0
        """When the thread looks again."""

    @contextmanager
    def watching(self, deadline: float) -> Generator[Watch]:
        """Watch the connection that the calling thread's next request uses."""
        watch = Watch(deadline)
        with self._changed:
            self._watches.add(watch)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="watchdog", daemon=True).start()
            elif deadline < self._due:
                self._changed.notify()
        _current.watch = watch
        try:
            yield watch
        finally:
            with self._changed:
                self._watches.discard(watch)

    def _run(self) -> None:
        idle = time.monotonic() + 10
        with self._changed:
            while self._watches or time.monotonic() < idle:
                now = time.monotonic()
                if self._watches:
                    idle = now + 10
                late = [watch for watch in self._watches if watch.deadline <= now]
                for watch in late:
                    watch.cut()
                due = min((w.deadline for w in self._watches), default=idle)
                self._due = now + _POLL if late else max(now, due)
                self._changed.wait(self._due - now)
            self._running = False


def _watched(connection: HTTPConnection) -> None:
    watch = getattr(_current, "watch", None)
    if isinstance(watch, Watch):
        watch.connection, watch.sock = connection, connection.sock


class _PlainConnection(HTTPConnection):
    def connect(self) -> None:
        _watched(self)
        super().connect()
        _watched(self)

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        _watched(self)
        super().putrequest(*args, **kwargs)


class _SecureConnection(_PlainConnection, HTTPSConnection):
    """What `_PlainConnection` does, before what HTTPS does."""


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection  # pyright: ignore[reportAssignmentType] - its stub wants a protocol


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection  # pyright: ignore[reportAssignmentType] - as above


class _Adapter(HTTPAdapter):
    """Connections to one server, which are kept and used again."""

    def __init__(self, server: XnatServer) -> None:
        self._tls: dict[str, Any] = {}
        if server.url.startswith("https:"):
            tls = server.tls or Tls()
            self._tls = {"ssl_context": context(tls), "server_hostname": tls.server_name}
        super().__init__(pool_connections=1, pool_maxsize=server.connections)

    def init_poolmanager(self, connections: int, maxsize: int, *_: Any, **how: Any) -> None:
        made = PoolManager(connections, maxsize=maxsize, **self._tls, **how)
        pools: dict[str, type[HTTPConnectionPool]] = {"http": _PlainPool, "https": _SecurePool}
        made.pool_classes_by_scheme = pools
        self.poolmanager = made

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave it to the TLS context: requests would add the authorities of certifi to it."""


def open_link(server: XnatServer) -> Session:
    """Open a session of requests that reaches this server alone, and only as its settings say.

    Raises:
        SeriesportError: tls-failed, where files of `tls` cannot be read.
    """
    session = Session()
    session.trust_env = False
    session.headers = CaseInsensitiveDict()
    session.adapters.clear()
    origin = urlsplit(server.url)
    session.mount(f"{origin.scheme}://{origin.netloc}/", _Adapter(server))
    return session
