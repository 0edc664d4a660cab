"""Answers of an XNAT: statuses and failures in the words of reason codes, bodies within bounds."""

from __future__ import annotations

import json
import re
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import urllib3

from seriesport.config.tls import failure
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from seriesport.http.link import Watch

CHUNK = 1 << 18
PAGE = re.compile(rb"\s*(?:<!doctype html|<html)", re.IGNORECASE)
"""How a web page begins."""
_PART = re.compile(r"bytes ([0-9]+)-([0-9]+)/([0-9]+|\*)")
_LENGTH = re.compile("[0-9]{1,18}")
_ENDED = (ssl.SSLEOFError, ssl.SSLZeroReturnError)


class StatusError(SeriesportError):
    """An HTTP status that the caller did not ask for. The body is never shown: it may identify."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(code, message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer, its body read within a bound."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def parsed(body: bytes) -> object:
    """What a JSON body says, unless that would fill the memory: `[],[],…` takes 30 times its bytes.

    Raises:
        SeriesportError: answer-invalid.
    """
    if sum(body.count(mark) * size for mark, size in _SIZES.items()) > _MOST_PARSED:
        what = "a listing would take more memory than a listing may"
        raise SeriesportError("answer-invalid", what)
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        what = "the server answered with something else than a listing"
        raise SeriesportError("answer-invalid", what) from None


_SIZES = {b"{": 200, b"[": 72, b'"': 25, b",": 32}
"""Bytes of memory that go with each of these in JSON."""
_MOST_PARSED = 512 * 1024 * 1024


class Answer:
    """An answer whose body has not been read yet."""

    def __init__(self, response: urllib3.BaseHTTPResponse, watch: Watch) -> None:
        self.status = response.status
        self.headers = response.headers
        self._response = response
        self._watch = watch

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that it sets, as they are to be sent back (RFC 6265 section 5.2)."""
        pairs = [line.partition(";")[0] for line in self.headers.getlist("Set-Cookie")]
        named = [
            (name.strip(), value.strip()) for name, _, value in (p.partition("=") for p in pairs)
        ]
        return {name: value for name, value in named if name and value}

    @property
    def is_page(self) -> bool:
        """Whether it calls itself a web page."""
        return "html" in self.headers.get("Content-Type", "").lower()

    @property
    def part(self) -> tuple[int, int, int | None] | None:
        """First byte, last byte and whole length by Content-Range (RFC 9110 section 14.4)."""
        match = _PART.fullmatch(self.headers.get("Content-Range", "").strip())
        if match is None:
            return None
        return int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3])

    @property
    def whole(self) -> int | None:
        """Length in bytes of the file that this is, or is a part of; None where it is not told."""
        if self.status == 206:
            return self.part[2] if self.part else None
        length = self.headers.get("Content-Length", "")
        return int(length) if _LENGTH.fullmatch(length) else None

    def require_plain(self, size: int | None = None) -> None:
        """Refuse a body that is compressed on its way: what it becomes has no bound.

        A file is sent as it is stored where its length is the `size` that is listed, whatever the
        server calls its encoding.

        Raises:
            SeriesportError: answer-invalid.
        """
        encoding = self.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in ("", "identity") and (size is None or self.whole != size):
            what = "the server sends compressed what was asked for as it is"
            raise SeriesportError("answer-invalid", what)

    def chunks(self, most: int | None = None) -> Iterator[bytes]:
        """The body in pieces as they come, as it is sent, and of it `most` bytes.

        Raises:
            SeriesportError: timeout, connection-lost.
        """
        came = 0
        while True:
            wanted = CHUNK if most is None else min(CHUNK, most - came)
            if wanted <= 0 and self._response.length_remaining != 0:
                return  # the rest is not waited for, and the connection is not used again
            try:
                chunk = self._response.read1(max(wanted, 1), decode_content=False)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise told(error, self._watch, came) from None
            if self._watch.late:
                raise _too_long()
            if not chunk:
                return
            came += len(chunk)
            yield chunk

    def read(self, most: int) -> bytes:
        """The whole body.

        Raises:
            SeriesportError: answer-invalid where it has more than `most` bytes or is compressed,
                and see `chunks`.
        """
        self.require_plain()
        parts: list[bytes] = []
        total = 0
        for chunk in self.chunks():
            total += len(chunk)
            if total > most:
                raise SeriesportError("answer-invalid", f"an answer has more than {most} bytes")
            parts.append(chunk)
        return b"".join(parts)


_SILENT = (urllib3.exceptions.ReadTimeoutError, TimeoutError)
_NOT_CONNECTED = (
    (
        (urllib3.exceptions.NewConnectionError, urllib3.exceptions.NameResolutionError),
        ("server-unreachable", "no connection to the server"),
    ),
    (
        urllib3.exceptions.LocationValueError,
        (
            "server-unreachable",
            "no server can have this name; write one with other than ASCII letters as xn--…",
        ),
    ),
    (
        urllib3.exceptions.ConnectTimeoutError,
        ("timeout", "no connection within the time that connect_timeout gives"),
    ),
)


def told(error: Exception, watch: Watch, came: int = 0) -> SeriesportError:
    """A failure of the connection as a reason code, without the library's text: it quotes URLs.

    `came` is how many bytes of the answer had come.
    """
    causes = list(_causes(error))
    for inner in causes:
        if isinstance(inner, ssl.SSLCertVerificationError):
            return failure(inner)
    if watch.late:
        return _too_long()
    for kinds, told_as in _NOT_CONNECTED:
        if any(isinstance(inner, kinds) for inner in causes):
            return SeriesportError(*told_as)
    if any(isinstance(inner, _SILENT) for inner in causes):
        begun = (
            f"stopped sending after {came} bytes of its answer and" if came else "did not answer:"
        )
        what = f"the server {begun} was silent for longer than timeout allows"
        return SeriesportError("timeout", what)
    if any(isinstance(inner, urllib3.exceptions.SSLError) for inner in causes):
        for inner in causes:
            if isinstance(inner, ssl.SSLError) and not isinstance(inner, _ENDED):
                return failure(inner)
    what = "the server closed the connection before its answer ended"
    return SeriesportError("connection-lost", what)


def _too_long() -> SeriesportError:
    return SeriesportError("timeout", "it took longer than wall_clock allows")


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner: list[Any] = [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
        waiting += [e for e in inner if isinstance(e, BaseException)]


def unexpected(status: int) -> StatusError:
    """The error for a status that was not expected."""
    if status == 401:
        text = "the server does not accept the session, not even after a new log-in"
        return StatusError("credentials-refused", text, status)
    codes = {403: "access-denied", 404: "not-found", 429: "server-busy", 503: "server-busy"}
    code = codes.get(status) or ("server-failure" if status >= 500 else "request-refused")
    return StatusError(code, f"the server answers with status {status}", status)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by an answer's Retry-After (RFC 9110 section 10.2.3), where it has one."""
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def wait(seconds: float, deadline: float) -> bool:
    """Wait, unless that would be longer than the deadline allows; whether it was waited."""
    if time.monotonic() + seconds >= deadline:
        return False
    time.sleep(seconds)
    return True
