"""An association as its requestor: made, used for one message at a time, released or aborted."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Self

from seriesport.dimse import message
from seriesport.dimse.link import Link
from seriesport.dimse.message import COMMAND_MAXIMUM, Command
from seriesport.dimse.pdu import (
    COMMAND,
    PduReader,
    PduType,
    UnexpectedPdu,
    control_pdu,
    data_pdus,
    malformed,
)
from seriesport.dimse.tls import handshake
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from seriesport.config.settings import DicomServer
    from seriesport.dimse.contexts import Accepted, Proposal

DATA_SET_MAXIMUM = 16 * 1024**3
"""Longest data set that is received, in bytes."""
IDENTIFIER_MAXIMUM = 8 * 1024 * 1024
"""Longest identifier, in bytes: the failed list of a C-GET of 100,000 instances takes 6.5 MB."""

_RELEASE_PATIENCE = 5.0
_RELEASE_TRIES = 3
_ABORT_PATIENCE = 1.0
_ABORT = b"\0\0\0\0"


class Association:
    """One association, made by `connect`. Not thread-safe.

    After any error on it other than a status, it is aborted and of no more use.
    """

    def __init__(self, link: Link, proposals: Sequence[Proposal]) -> None:
        self.proposals = tuple(proposals)
        """What was proposed, accepted or not."""
        self.contexts: Mapping[int, Accepted] = {}
        """What the peer accepted, by context ID."""
        self.send_maximum = 0
        """Longest P-DATA-TF to send, in bytes of its length field."""
        self._link = link
        self._reader = PduReader(link)
        self._open = True
        self._message_id = 0

    @classmethod
    def connect(
        cls, server: DicomServer, called_aet: str, proposals: Sequence[Proposal], deadline: float
    ) -> Association:
        """Connect, shake hands where the server has TLS, and negotiate.

        `deadline` is a time of `time.monotonic`; it can be moved later.

        Raises:
            SeriesportError: archive-unreachable, tls-untrusted, tls-failed, timeout,
                association-rejected, association-busy, association-aborted, protocol-error,
                address-invalid or config-invalid.
        """
        from seriesport.dimse import negotiation  # noqa: PLC0415 - pynetdicom takes 0.5 s

        request = negotiation.request(called_aet, server.calling_aet, proposals)
        sock = _connect(server)
        try:
            if server.tls is not None:
                sock = handshake(sock, server, server.tls)
            return cls.negotiate(sock, server.timeout, proposals, request, deadline)
        except BaseException:
            sock.close()
            raise

    @classmethod
    def negotiate(
        cls,
        sock: socket.socket,
        idle: float,
        proposals: Sequence[Proposal],
        request: bytes,
        deadline: float,
    ) -> Association:
        """Negotiate over a connected socket; see `connect`."""
        from seriesport.dimse import negotiation  # noqa: PLC0415 - pynetdicom takes 0.5 s

        made = cls(Link(sock, idle), proposals)
        made.deadline = deadline
        with made.ending_on_error():
            answer = made._ask(request)
            agreement = negotiation.answer(*answer, proposals)
        made.contexts = agreement.contexts
        made.send_maximum = agreement.send_maximum
        return made

    @property
    def deadline(self) -> float:
        """When the wall clock runs out, in the time of `time.monotonic`."""
        return self._link.deadline

    @deadline.setter
    def deadline(self, value: float) -> None:
        self._link.deadline = value

    @property
    def usable(self) -> bool:
        """Whether a request can be sent: it is open, and the peer has said nothing meanwhile."""
        if self._open and not (self._reader.clean and self._link.quiet()):
            self.abort()
        return self._open

    def context(self, abstract_syntax: str, transfer_syntax: str | None = None) -> Accepted | None:
        """The accepted context for a SOP class, in any or in one transfer syntax."""
        for accepted in self.contexts.values():
            if accepted.abstract_syntax == abstract_syntax and transfer_syntax in (
                None,
                accepted.transfer_syntax,
            ):
                return accepted
        return None

    def require(self, abstract_syntax: str, service: str) -> Accepted:
        """The accepted context for a service.

        Raises:
            SeriesportError: context-refused, naming the service.
        """
        found = self.context(abstract_syntax)
        if found is None:
            raise SeriesportError("context-refused", f"the archive does not offer {service}")
        return found

    def next_message_id(self) -> int:
        """A message ID that no request in progress has (PS3.7 section 9.3)."""
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def send(self, context_id: int, command: bytes, data: bytes | None = None) -> None:
        """Send one message: a command set and, where there is one, a whole data set."""
        with self.ending_on_error():
            self._check_open()
            parts = list(data_pdus(context_id, COMMAND, command, self.send_maximum))
            if data is not None:
                parts += data_pdus(context_id, 0, data, self.send_maximum)
            self._link.send(b"".join(parts))

    def send_raw(self, pdus: bytes | bytearray | memoryview) -> None:
        """Send what is framed already."""
        with self.ending_on_error():
            self._check_open()
            self._link.send(pdus)

    def receive_command(self) -> tuple[int, Command]:
        """Wait for the next command set; give it with its presentation context ID."""
        with self.ending_on_error():
            context_id, data = self._message(COMMAND, self.contexts.__contains__, COMMAND_MAXIMUM)
            return context_id, message.decode(data)

    def receive_identifier(self, context_id: int) -> bytes:
        """Receive the data set that follows a command set, whole."""
        with self.ending_on_error():
            return self._message(0, context_id.__eq__, IDENTIFIER_MAXIMUM)[1]

    def receive_data(self, context_id: int, sink: Callable[[list[memoryview]], None]) -> None:
        """Receive the data set that follows a command set, piece by piece.

        The pieces are views that are good only until `sink` returns.
        """
        with self.ending_on_error():
            self._check_open()
            self._link.expect_stream()
            try:
                self._reader.part(0, context_id.__eq__, sink, DATA_SET_MAXIMUM)
            except UnexpectedPdu as pdu:
                raise _ended(pdu) from None

    def receive_response(self, kind: int, message_id: int) -> Command:
        """Wait for the response to a request, which may be one of several.

        Raises:
            SeriesportError: protocol-error, where another message comes.
        """
        _, command = self.receive_command()
        with self.ending_on_error():
            check_response(command, kind, message_id)
        return command

    def release(self) -> None:
        """End the association in order; never fails."""
        if not self._open:
            return
        with contextlib.suppress(SeriesportError, UnexpectedPdu, OSError):
            self._link.expect_stream()
            self.deadline = time.monotonic() + _RELEASE_PATIENCE
            self._link.send(control_pdu(PduType.RELEASE_RQ))
            for _ in range(_RELEASE_TRIES):
                kind, _ = self._reader.control()
                if kind is not PduType.RELEASE_RQ:
                    break
                self._link.send(control_pdu(PduType.RELEASE_RP))
        self._close()

    def abort(self) -> None:
        """End the association at once (A-ABORT, PS3.8 section 9.3.8); never fails."""
        if self._open:
            with contextlib.suppress(SeriesportError, OSError):
                self._link.expect_stream()
                self.deadline = time.monotonic() + _ABORT_PATIENCE
                self._link.send(control_pdu(PduType.ABORT, _ABORT))
        self._close()

    def ending_on_error(self) -> _EndingOnError:
        """Abort the association if the block raises, so that nobody goes on with it."""
        return _EndingOnError(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None:
            self.release()
        else:
            self.abort()

    def _ask(self, request: bytes) -> tuple[PduType, bytes]:
        try:
            self._link.send(request)
            self._link.expect_message()
            return self._reader.control()
        except SeriesportError as error:
            # A server that misses the client certificate says so only now (TLS 1.3), or hangs up
            if self._link.tls and not self._link.heard and error.code == "association-aborted":
                problem = "the server ended the TLS connection; it may want a client certificate"
                raise SeriesportError("tls-failed", problem) from error
            if not self._link.heard and error.code == "association-aborted":
                problem = f"{error.message} before it said anything; its port may want TLS (tls:)"
                raise SeriesportError(error.code, problem) from error
            raise

    def _check_open(self) -> None:
        if not self._open:
            raise SeriesportError("association-aborted", "the association has ended")

    def _close(self) -> None:
        self._open = False
        self._link.close()

    def _message(self, flag: int, accept: Callable[[int], bool], limit: int) -> tuple[int, bytes]:
        self._check_open()
        self._link.expect_message()
        try:
            return self._reader.message(flag, accept, limit)
        except UnexpectedPdu as pdu:
            raise _ended(pdu) from None


class _EndingOnError:
    """A context manager; a class, since it is entered for every message."""

    def __init__(self, association: Association) -> None:
        self._association = association

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is not None:
            self._association.abort()


def check_response(command: Command, kind: int, message_id: int) -> None:
    """Check that a command set is the response to a request.

    Raises:
        SeriesportError: protocol-error.
    """
    if command.kind != kind:
        raise malformed(f"message {command.kind:#06x} came instead of {kind:#06x}")
    if command.number(message.Field.MESSAGE_ID_RESPONDED_TO) != message_id:
        raise malformed("a response belongs to no request")


def _ended(pdu: UnexpectedPdu) -> SeriesportError:
    if pdu.kind is PduType.ABORT:
        return SeriesportError(
            "association-aborted",
            f"the archive aborted the association (source {pdu.body[2]}, reason {pdu.body[3]})",
        )
    if pdu.kind is PduType.RELEASE_RQ:
        return SeriesportError(
            "association-aborted", "the archive released the association in the middle"
        )
    return malformed(f"{pdu.kind.name} within an association")


def _connect(server: DicomServer) -> socket.socket:
    where = f"{server.host} port {server.port}"
    try:
        return socket.create_connection((server.host, server.port), server.connect_timeout)
    except TimeoutError as error:
        problem = f"no connection to {where} within {server.connect_timeout:g} s"
        raise SeriesportError("archive-unreachable", problem) from error
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "the host name cannot be resolved"
        problem = f"no connection to {where}: {why}"
        raise SeriesportError("archive-unreachable", problem) from error
