"""One request over a connection of its own, and what the connection does behind the answer."""

from __future__ import annotations

import http.client
import io
import socket
from dataclasses import dataclass, field

PATIENCE = 30.0
SILENCE = 0.1
"""Seconds without a byte that mean that none will come."""


@dataclass
class Answer:
    """What came back."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cookies: list[str] = field(default_factory=list)
    waits: bool = False
    """Whether bytes that the head promises never come, on a connection that stays open."""
    stays: bool = True
    """Whether the connection is open, so that another request is answered on it."""


def ask(
    netloc: str, method: str, target: str, body: bytes, headers: dict[str, str], expected: int
) -> Answer:
    """Send a request and read its answer, of which so many bytes are expected at most."""
    host, _, port = netloc.partition(":")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {netloc}", "Connection: keep-alive"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append(f"Content-Length: {len(body)}")
    with socket.create_connection((host, int(port)), PATIENCE) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        link = _Link(connection)
        first, _, rest = link.until(b"\r\n\r\n").partition(b"\r\n")
        given = http.client.parse_headers(io.BytesIO(rest))
        answer = Answer(int(first.split()[1]), headers=dict(given.items()))
        answer.cookies = given.get_all("Set-Cookie", [])
        if method == "HEAD":
            pass
        elif given.get("Transfer-Encoding") == "chunked":
            answer.body = link.chunks()
        else:
            promised = max(int(given.get("Content-Length", "0")), 0)
            answer.body = link.take(min(promised, expected))
            if len(answer.body) < promised:
                late = link.late()
                answer.body += late or b""
                answer.waits = late is None
                return answer
        answer.stays = link.answers_again()
        return answer


class _Link:
    """Reads from a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""

    def until(self, mark: bytes) -> bytes:
        """All to the end of a mark."""
        while mark not in self._buffer:
            self._more()
        return self.take(self._buffer.index(mark) + len(mark))

    def take(self, count: int) -> bytes:
        """So many bytes."""
        while len(self._buffer) < count:
            self._more()
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def chunks(self) -> bytes:
        """A body in chunks."""
        whole = b""
        while size := int(self.until(b"\r\n"), 16):
            whole += self.take(size + 2)[:-2]
        self.take(2)
        return whole

    def late(self) -> bytes | None:
        """What comes behind the expected bytes; None where nothing does."""
        self._connection.settimeout(SILENCE)
        try:
            return self._buffer or self._connection.recv(1)
        except TimeoutError:
            return None

    def answers_again(self) -> bool:
        """Whether another request is answered."""
        try:
            self._connection.sendall(b"HEAD /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
            return self.until(b"\r\n").startswith(b"HTTP/1.1 404")
        except OSError:
            return False

    def _more(self) -> None:
        piece = self._connection.recv(65536)
        if not piece:
            raise ConnectionError("the connection was closed")
        self._buffer += piece
