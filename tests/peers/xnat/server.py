"""The network side: connections in threads, what is logged of them, and the faults of transfer."""

from __future__ import annotations

import io
import itertools
import socket
import ssl
import struct
import tarfile
import tempfile
import threading
import time
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import IO, TYPE_CHECKING

from peers.xnat.http import (
    CHUNK,
    CLOSING,
    DroppedError,
    Reader,
    Request,
    Response,
    expiry,
    head_bytes,
    restlet,
    text,
)

if TYPE_CHECKING:
    from pathlib import Path

    from peers.xnat.faults import Fault, Faults
    from peers.xnat.routes import Service

SMALL = 32768
"""A larger archive is sent in chunks, without a length."""
LOGIN = (
    "<!DOCTYPE html><html><head><title>XNAT Login</title></head>"
    "<body><form>Log in</form></body></html>"
)


@dataclass
class Logged:
    """One request as the server saw it."""

    method: str
    path: str
    """Percent-decoded, below the context."""
    query: str
    status: int = 0
    """0 where no reply went out."""
    user: str = ""
    session: str = ""
    received: int = 0
    """Bytes of the request's body."""
    sent: int = 0
    """Bytes of the answer's body."""
    headers: dict[str, str] = field(default_factory=dict)
    connection: int = 0
    began: float = 0.0
    ended: float = 0.0


class CutError(Exception):
    """The connection ends here, by a fault."""


class Server:
    """Accepts connections on loopback and answers what comes on them."""

    def __init__(
        self,
        service: Service,
        faults: Faults,
        tls: ssl.SSLContext | None,
        port: int = 0,
        idle_seconds: float = 60.0,
    ) -> None:
        self._service = service
        self._faults = faults
        self._tls = tls
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._connections = itertools.count(1)
        self._busy = 0
        self.busiest = 0
        self.requests: list[Logged] = []
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self._accepting = threading.Thread(target=self._accept, daemon=True, name="xnat-accept")
        self._accepting.start()

    def stop(self) -> None:
        """Close every connection and wait for the threads."""
        self._stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(10)
        with self._lock:
            waiting, threads = list(self._open), list(self._threads)
        for connection in waiting:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(self._idle_seconds)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._attend, args=(connection,), daemon=True)
            with self._lock:
                self._open.add(connection)
                self._threads = [each for each in self._threads if each.is_alive()]
                self._threads.append(thread)
            thread.start()

    def _attend(self, plain: socket.socket) -> None:
        connection = plain
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(plain, server_side=True)
                with self._lock:
                    self._open.discard(plain)
                    self._open.add(connection)
            self._converse(connection)
        except (OSError, DroppedError, CutError):
            pass
        finally:
            with self._lock:
                self._open.discard(plain)
                self._open.discard(connection)
            with suppress(OSError):
                connection.close()

    def _converse(self, connection: socket.socket) -> None:
        reader, number = Reader(connection), next(self._connections)
        while not self._stopping.is_set():
            request = reader.head()
            if request is None:
                return
            below = request.path.removeprefix(self._service.context)
            log = Logged(request.method, below, request.query_text, connection=number)
            log.headers, log.began = request.headers, time.monotonic()
            with self._lock:
                self.requests.append(log)
                self._busy += 1
                self.busiest = max(self.busiest, self._busy)
            self._service.begin(request)
            try:
                stays = self._one(connection, reader, request, log)
            finally:
                self._service.end(request)
                log.ended = time.monotonic()
                with self._lock:
                    self._busy -= 1
            if not stays:
                return

    def _one(
        self, connection: socket.socket, reader: Reader, request: Request, log: Logged
    ) -> bool:
        """Answer one request; whether the connection stays open."""
        struck = {x.kind: x for x in self._faults.take(log.method, log.path, log.query)}
        request.kinds = tuple(struck)
        try:
            self._read_body(connection, reader, request, struck.get("orphan"))
        except DroppedError as gone:
            request.body, log.received = gone.body, len(gone.body)
            self._service.dropped(request)
            return False
        log.received = len(request.body)
        answer = self._answer(request, struck)
        self._service.end(request)
        log.user, log.session = request.user, request.session
        if answer is None:
            return False
        answer.head = request.method == "HEAD"
        wants = request.headers.get("connection", "").lower()
        answer.close |= wants == "close" or answer.status in CLOSING
        self._cookies(request, answer)
        log.status = answer.status
        self._send(connection, answer, struck, log)
        return not answer.close

    def _read_body(
        self, connection: socket.socket, reader: Reader, request: Request, orphan: Fault | None
    ) -> None:
        if request.headers.get("expect", "").lower() == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in request.headers.get("transfer-encoding", "").lower():
            reader.drain_chunks()
            return
        length = request.length or 0
        if orphan is not None:
            half = length // 2 if orphan.after is None else orphan.after
            raise DroppedError(reader.body(min(half, length)))
        request.body = reader.body(length)

    def _answer(self, request: Request, struck: dict[str, Fault]) -> Response | None:
        """The answer; None where the connection is to close without one."""
        if "expire" in struck:
            self._service.sessions.end(request.cookie)
        if "stall" in struck:
            self._stopping.wait(struck["stall"].seconds)
        if "close" in struck:
            return None
        if "status" in struck:
            fault = struck["status"]
            answer = restlet(fault.status)
            if fault.retry_after:
                answer.headers.append(("Retry-After", fault.retry_after))
            return answer
        if "login-html" in struck:
            return text(LOGIN, kind="text/html;charset=UTF-8")
        if "redirect" in struck:
            return Response(302, headers=[("Location", struck["redirect"].location)])
        answer = self._service.answer(request)
        return None if "reply-lost" in struck else answer

    def _cookies(self, request: Request, answer: Response) -> None:
        path, secure = self._service.context or "/", "; Secure" if self._tls else ""
        extra = [("Set-Cookie", expiry(900))]
        if request.new_session:
            cookie = f"JSESSIONID={request.new_session}; Path={path}{secure}; HttpOnly"
            extra.insert(0, ("Set-Cookie", cookie))
        answer.headers[:0] = extra

    def _send(
        self, connection: socket.socket, answer: Response, struck: dict[str, Fault], log: Logged
    ) -> None:
        if answer.table is not None:
            spoil_table(answer, struck)
            made = answer.table.response()
            answer.body, answer.type, answer.chunked = made.body, made.type, made.chunked
        source, length = self._source(answer, struck)
        with source:
            chunked = answer.chunked and not ({"cut", "reset"} & set(struck))
            said = length if answer.promised is None else answer.promised
            connection.sendall(head_bytes(answer, None if chunked else said))
            if answer.head:
                return
            if struck:
                self._send_spoiled(connection, source.read(length), struck, log, chunked=chunked)
                return
            left = length
            while left:
                piece = source.read(min(CHUNK, left))
                # Counted first: a client that has the last byte may look at the log at once.
                log.sent += len(piece)
                connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                left -= len(piece)
            if chunked:
                connection.sendall(b"0\r\n\r\n")

    def _source(self, answer: Response, struck: dict[str, Fault]) -> tuple[IO[bytes], int]:
        if answer.file is not None:
            stream = answer.file.open("rb")
            length = answer.length
            if length is None:
                length = answer.file.stat().st_size
            stream.seek(answer.start)
            return stream, length
        if answer.members is not None:
            if "zip-missing" in struck:
                answer.members = answer.members[struck["zip-missing"].count :]
            stream = packed(answer.members, answer.archive)
            length = stream.seek(0, io.SEEK_END)
            if "zip-truncated" in struck:
                after = struck["zip-truncated"].after
                length = length // 2 if after is None else min(after, length)
            stream.seek(0)
            answer.chunked = length > SMALL or answer.archive != "zip"
            return stream, length
        return io.BytesIO(answer.body), len(answer.body)

    def _send_spoiled(
        self,
        connection: socket.socket,
        body: bytes,
        struck: dict[str, Fault],
        log: Logged,
        *,
        chunked: bool,
    ) -> None:
        """Send a body slowly, with a wrong bit, or not to its end."""
        if "flip" in struck and body:
            at = struck["flip"].after
            at = len(body) // 2 if at is None else min(at, len(body) - 1)
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        ending = struck.get("cut") or struck.get("reset")
        if ending is not None:
            body = body[: len(body) // 2 if ending.after is None else ending.after]
        slow = struck.get("trickle")
        step = max(1, slow.rate // 20) if slow else CHUNK
        for at in range(0, len(body), step):
            piece = body[at : at + step]
            log.sent += len(piece)
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            if slow and self._stopping.wait(step / slow.rate):
                raise CutError
        if ending is not None:
            if ending.kind == "reset":
                # What was sent is to arrive: a reset drops what is still in the buffers.
                self._stopping.wait(0.05)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise CutError
        if chunked:
            connection.sendall(b"0\r\n\r\n")


def spoil_table(answer: Response, struck: dict[str, Fault]) -> None:
    """Play the faults of listings."""
    table = answer.table
    assert table is not None
    if "digest-missing" in struck and "digest" in table.columns:
        table.columns = [name for name in table.columns if name != "digest"]
    for row in table.rows:
        for kind in ("digest-wrong", "digest-empty", "size-wrong"):
            fault = struck.get(kind)
            if fault is None or not fnmatchcase(row.get("Name", ""), fault.name):
                continue
            if kind == "size-wrong":
                row["Size"] = str(int(row.get("Size", "0")) + fault.count)
            else:
                row["digest"] = "" if kind == "digest-empty" else "0" * 32


def packed(members: list[tuple[str, Path]], kind: str) -> IO[bytes]:
    """An archive of files, in a temporary file."""
    stream = tempfile.TemporaryFile()  # noqa: SIM115
    if kind == "zip":
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            for name, path in members:
                archive.write(str(path), name)
    else:
        with tarfile.open(fileobj=stream, mode="w:gz" if kind == "tar.gz" else "w") as archive:
            for name, path in members:
                archive.add(str(path), name)
    return stream
