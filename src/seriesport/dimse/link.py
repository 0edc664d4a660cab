"""A socket with clocks: every wait ends, whatever the peer does."""

from __future__ import annotations

import socket
import ssl
import time
from math import inf

from seriesport.errors import SeriesportError

_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)


class Link:
    """The byte stream of one association.

    Three clocks run, in seconds: `idle` bounds the peer's silence, `deadline` the whole
    retrieval or upload, and `patience` one small message, so that a peer which drips bytes
    cannot stretch an answer.
    """

    def __init__(self, sock: socket.socket, idle: float) -> None:
        self._socket = sock
        self.tls = isinstance(sock, ssl.SSLSocket)
        """Whether it is encrypted."""
        self._idle = idle
        self._timeout = -1.0
        self._patience = inf
        self.deadline = inf
        """Absolute, of `time.monotonic`."""
        self.heard = False
        """Whether the peer has sent anything."""
        self._quickack = False
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._quickack = _QUICKACK is not None

    def expect_message(self) -> None:
        """From now on the peer has `idle` seconds for a whole message, not for each byte."""
        self._patience = time.monotonic() + self._idle

    def expect_stream(self) -> None:
        """From now on the peer may take until the deadline, as long as it is never silent."""
        self._patience = inf

    def receive_into(self, view: memoryview) -> int:
        """Read what is there into a non-empty view; at least one byte.

        Raises:
            SeriesportError: timeout, association-aborted or tls-failed.
        """
        self._arm("the peer is silent")
        try:
            count = self._socket.recv_into(view)
        except OSError as error:
            raise self._failure(error, "the peer is silent") from error
        if not count:
            raise SeriesportError("association-aborted", "the peer closed the connection")
        self.heard = True
        if self._quickack:
            self._acknowledge_at_once()
        return count

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it.

        Raises:
            SeriesportError: timeout, association-aborted or tls-failed.
        """
        self._arm("the peer takes no data")
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise self._failure(error, "the peer takes no data") from error

    def quiet(self) -> bool:
        """Whether nothing has arrived unasked; between requests anything would be an end."""
        self._socket.settimeout(0)
        self._timeout = -1.0
        flags = 0 if self.tls else socket.MSG_PEEK
        try:
            self._socket.recv(1, flags)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Close the socket; safe to call twice."""
        self._socket.close()

    def _arm(self, problem: str) -> None:
        remaining = min(self.deadline, self._patience) - time.monotonic()
        if remaining <= 0:
            raise SeriesportError("timeout", self._overdue(problem))
        timeout = min(self._idle, remaining)
        if timeout != self._timeout:
            self._socket.settimeout(timeout)
            self._timeout = timeout

    def _overdue(self, problem: str) -> str:
        if time.monotonic() >= self.deadline:
            return "the wall clock of this retrieval or upload ran out"
        return f"{problem} or too slow: no whole message within {self._idle:g} s"

    def _failure(self, error: OSError, problem: str) -> SeriesportError:
        if isinstance(error, TimeoutError):
            return SeriesportError("timeout", self._overdue(problem))
        if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return SeriesportError("association-aborted", "the peer closed the TLS connection")
        if isinstance(error, ssl.SSLError):
            return SeriesportError("tls-failed", f"TLS failed: {error.reason or error}")
        return SeriesportError("association-aborted", f"the connection broke: {error.strerror}")

    def _acknowledge_at_once(self) -> None:
        # Linux drops back to delayed acknowledgements by itself, so this is set after every read
        assert _QUICKACK is not None
        self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
