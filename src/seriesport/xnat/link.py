"""Connections to an XNAT: verified TLS, no proxy, no cookie jar, a wall clock on each request."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from seriesport import __version__
from seriesport.settings import Tls
from seriesport.tls import context

if TYPE_CHECKING:
    from collections.abc import Generator

    from seriesport.settings import XnatServer

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

    @property
    def late(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self.deadline

    def cut(self) -> None:
        """Wake up whoever waits for the connection."""
        sock = getattr(self.connection, "sock", None)
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
        watch.connection = connection


class _PlainConnection(HTTPConnection):
    def connect(self) -> None:
        _watched(self)
        super().connect()

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        _watched(self)
        super().putrequest(*args, **kwargs)


class _SecureConnection(HTTPSConnection):
    def connect(self) -> None:
        _watched(self)
        super().connect()

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        _watched(self)
        super().putrequest(*args, **kwargs)


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection  # pyright: ignore[reportAssignmentType] - its stub wants a protocol


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection  # pyright: ignore[reportAssignmentType] - as above


class _Adapter(HTTPAdapter):
    def __init__(self, server: XnatServer) -> None:
        self._tls = server.tls or Tls()
        self._secure = urlsplit(server.url).scheme == "https"
        super().__init__(pool_connections=1, pool_maxsize=server.connections, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        if self._secure:
            kwargs["ssl_context"] = context(self._tls)
            if self._tls.server_name:
                kwargs["server_hostname"] = self._tls.server_name
        super().init_poolmanager(*args, **kwargs)
        manager = cast("Any", self).poolmanager
        manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: object, cert: object = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        # The context above says whom to trust; requests would add its own authorities to it.
        del verify, cert
        parts = urlsplit(request.url or "")
        place = {"scheme": parts.scheme, "host": parts.hostname, "port": parts.port}
        return place, {}

    def cert_verify(self, conn: object, url: str, verify: object, cert: object) -> None:
        del conn, url, verify, cert


def open_link(server: XnatServer) -> requests.Session:
    """A requests session that takes nothing from the environment and keeps no cookie.

    Raises:
        SeriesportError: tls-failed, where files of `tls` cannot be read.
    """
    made = requests.Session()
    made.trust_env = False
    made.headers["User-Agent"] = f"seriesport/{__version__}"
    made.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = _Adapter(server)
    made.adapters.clear()
    made.mount("https://" if urlsplit(server.url).scheme == "https" else "http://", adapter)
    return made
