"""HTTP/1.1 on a raw socket: what the server reads and what it answers, byte for byte."""

from __future__ import annotations

import html
import json
import time
from base64 import b64decode
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from peers.xnat.listing import Table

HEAD_LIMIT = 65536
CHUNK = 1 << 18
RESTLET = "Noelios-Restlet-Engine/1.1.6"
MESSAGES = {
    400: "The request could not be understood by the server due to malformed syntax",
    401: "The request requires user authentication",
    403: "The server understood the request, but is refusing to fulfill it",
    404: "The server has not found anything matching the request URI",
    405: "The method specified in the request is not allowed for the resource identified by the "
    "request URI",
    500: "The server encountered an unexpected condition which prevented it from fulfilling the "
    "request",
    501: "The server does not support the functionality required to fulfill the request",
}
CLOSING = (400, 500, 501, 503)
"""Tomcat closes the connection after these."""


class DroppedError(Exception):
    """The client went away in the middle of a request; `body` is what had come."""

    def __init__(self, body: bytes = b"") -> None:
        super().__init__("the client dropped the connection")
        self.body = body


class AnswerError(Exception):
    """Ends the handling of a request with this answer."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


@dataclass
class Request:
    """One request. `path` is percent-decoded as a whole, `segments` each by itself."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""
    path: str = ""
    segments: list[str] = field(default_factory=list)
    query: dict[str, str] = field(default_factory=dict)
    query_text: str = ""
    user: str = ""
    session: str = ""
    new_session: str = ""
    kinds: tuple[str, ...] = ()
    """Faults that the handlers themselves play."""
    overlapped: bool = False
    """Whether another PUT into the same resource was under way at the same time."""

    @property
    def length(self) -> int | None:
        """The declared length of the body."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isdigit() else None

    @property
    def cookie(self) -> str:
        """The session that the client names."""
        try:
            jar = SimpleCookie(self.headers.get("cookie", ""))
        except CookieError:
            return ""
        return jar["JSESSIONID"].value if "JSESSIONID" in jar else ""

    @property
    def basic(self) -> tuple[str, str] | None:
        """User and password of basic authentication."""
        kind, _, text = self.headers.get("authorization", "").partition(" ")
        if kind.lower() != "basic":
            return None
        try:
            user, _, password = b64decode(text).decode().partition(":")
        except ValueError:
            return None
        return user, password

    def flag(self, name: str) -> bool:
        """Whether a query parameter says true."""
        return self.query.get(name, "").lower() in ("true", "1")


@dataclass
class Response:
    """One answer. A table, a file or a list of ZIP members is made into bytes when it is sent."""

    status: int = 200
    body: bytes = b""
    type: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    table: Table | None = None
    file: Path | None = None
    start: int = 0
    length: int | None = None
    """Of the part of the file to send; None for all of it."""
    promised: int | None = None
    """The length that the head says, where it is another."""
    members: list[tuple[str, Path]] | None = None
    archive: str = "zip"
    chunked: bool = False
    head: bool = False
    close: bool = False


def text(body: str, status: int = 200, kind: str = "text/plain;charset=ISO-8859-1") -> Response:
    """A short text."""
    return Response(status, body.encode(), kind)


def as_json(value: Any, status: int = 200) -> Response:
    """A JSON document."""
    return Response(
        status, json.dumps(value, separators=(",", ":")).encode(), "application/json", chunked=True
    )


def restlet(status: int, message: str = "") -> Response:
    """The page that XNAT's REST layer answers with."""
    words = message or MESSAGES.get(status, HTTPStatus(status).phrase)
    page = (
        "<html>\n<head>\n   <title>Status page</title>\n</head>\n<body>\n"
        f"<h3>{html.escape(words, quote=False)}</h3><p>You can get technical details "
        f'<a href="http://www.w3.org/Protocols/rfc2616/rfc2616-sec10.html">here</a>.<br>\n'
        'Please continue your visit at our <a href="/">home page</a>.\n</p>\n</body>\n</html>\n'
    )
    return text(page, status, "text/html;charset=ISO-8859-1")


def tomcat(status: int, message: str = "") -> Response:
    """The page that the servlet container answers with."""
    phrase = HTTPStatus(status).phrase
    said = f"<p><b>Message</b> {html.escape(message)}</p>" if message else ""
    page = (
        f'<!doctype html><html lang="en"><head><title>HTTP Status {status}: {phrase}</title>'
        f"</head><body><h1>HTTP Status {status}: {phrase}</h1><p><b>Type</b> Status Report</p>"
        f"{said}</body></html>"
    )
    return text(page, status, "text/html;charset=utf-8")


def fail(status: int, message: str = "") -> AnswerError:
    """A refusal of the REST layer, to be raised."""
    return AnswerError(restlet(status, message))


class Reader:
    """Reads requests from a connection that stays open."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = bytearray()

    def head(self) -> Request | None:
        """The next request without its body; None where the client is done."""
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > HEAD_LIMIT:
                raise DroppedError
            if not self._more():
                if self._buffer:
                    raise DroppedError
                return None
        raw, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        self._buffer = bytearray(rest)
        first, *lines = raw.decode("iso-8859-1").split("\r\n")
        method, _, tail = first.partition(" ")
        target = tail.rpartition(" ")[0]
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return _located(Request(method.upper(), target, headers))

    def body(self, length: int) -> bytes:
        """So many bytes.

        Raises:
            DroppedError: the client went away before, with what had come.
        """
        taken = self._buffer[:length]
        del self._buffer[:length]
        if len(taken) == length:
            return bytes(taken)
        whole = bytearray(length)
        whole[: len(taken)] = taken
        view, at = memoryview(whole), len(taken)
        while at < length:
            try:
                count = self._connection.recv_into(view[at:], length - at)
            except OSError:
                count = 0
            if not count:
                raise DroppedError(bytes(view[:at]))
            at += count
        return bytes(whole)

    def drain_chunks(self) -> None:
        """Read a chunked body away."""
        while True:
            while b"\r\n" not in self._buffer:
                if not self._more():
                    raise DroppedError
            line, _, rest = bytes(self._buffer).partition(b"\r\n")
            self._buffer = bytearray(rest)
            size = int(line.split(b";")[0] or b"0", 16)
            self.body(size + 2)
            if size == 0:
                return

    def _more(self) -> bool:
        try:
            piece = self._connection.recv(CHUNK)
        except OSError:
            return False
        self._buffer += piece
        return bool(piece)


def _located(request: Request) -> Request:
    raw, _, query = request.target.partition("?")
    request.path = unquote(raw)
    request.segments = [unquote(part) for part in raw.split("/") if part]
    request.query_text = query
    request.query = dict(parse_qsl(query, keep_blank_values=True))
    return request


def form(request: Request) -> dict[str, str]:
    """The fields of a urlencoded body."""
    if "urlencoded" not in request.headers.get("content-type", ""):
        return {}
    return dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))


def parts(request: Request) -> list[tuple[str, bytes]] | None:
    """File name and content of each file in a multipart body; None where it is none."""
    kind, _, options = request.headers.get("content-type", "").partition(";")
    if kind.strip().lower() != "multipart/form-data":
        return None
    boundary = options.partition("boundary=")[2].split(";")[0].strip().strip('"')
    found: list[tuple[str, bytes]] = []
    for piece in request.body.split(b"--" + boundary.encode())[1:-1]:
        head, _, content = piece.partition(b"\r\n\r\n")
        name = head.decode("utf-8", "replace").partition('filename="')[2].partition('"')[0]
        if name:
            found.append((name, content[:-2]))
    return found


def head_bytes(response: Response, length: int | None) -> bytes:
    """Status line and headers."""
    phrase = HTTPStatus(response.status).phrase
    lines = [f"HTTP/1.1 {response.status} {phrase}"]
    lines += [f"{name}: {value}" for name, value in response.headers]
    lines += [f"Date: {formatdate(usegmt=True)}", "Accept-Ranges: bytes", f"Server: {RESTLET}"]
    if response.type:
        lines.append(f"Content-Type: {response.type}")
    lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
    if response.close:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("iso-8859-1", "replace")


def expiry(seconds: float) -> str:
    """The cookie that tells a browser when its session ends."""
    stamp = f"{int(time.time() * 1000)},{int(seconds * 1000)}"
    return f'SESSION_EXPIRATION_TIME="{stamp}"; Version=1; Path=/'
