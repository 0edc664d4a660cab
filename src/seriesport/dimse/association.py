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

    from seriesport.dimse.contexts import Accepted, Proposal
    from seriesport.dimse.peer import Peer

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

    def __init__(self, link: Link, proposals: Sequence[Proposal], titles: tuple[str, str]) -> None:
        self.proposals = tuple(proposals)
        """What was proposed, accepted or not."""
        self.roles: frozenset[str] = frozenset()
        """SOP classes that the peer agreed to store to us (PS3.7 annex D.3.3.4)."""
        self.contexts: Mapping[int, Accepted] = {}
        """What the peer accepted, by context ID."""
        self.send_maximum = 0
        """Longest P-DATA-TF to send, in bytes of its length field."""
        self._link = link
        self._reader = PduReader(link)
        self._open = True
        self._message_id = 0
        self._called, self._calling = titles
        self._service = ""
        """Of the last request; empty before the first."""
        self._answered: set[str] = set()
        """Services of which a request was answered."""

    @classmethod
    def connect(
        cls, server: Peer, called_aet: str, proposals: Sequence[Proposal], deadline: float
    ) -> Association:
        """Connect, shake hands where the server has TLS, and negotiate.

        `deadline` is a time of `time.monotonic`; it can be moved later.

        Raises:
            SeriesportError: archive-unreachable, tls-untrusted, tls-failed, timeout,
                association-rejected, association-busy, association-denied, protocol-error,
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

        made = cls(Link(sock, idle), proposals, negotiation.titles(request))
        made.deadline = deadline
        with made.ending_on_error():
            try:
                agreement = negotiation.answer(*made._ask(request), proposals)
            except SeriesportError as error:
                raise made._refused(error) from error
        made.contexts, made.roles = agreement.contexts, agreement.roles
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

    def model(self, study_root: str, patient_root: str) -> str:
        """Return the model to use: Study Root, or Patient Root where there is only that."""
        only_patient = self.context(patient_root) and not self.context(study_root)
        return patient_root if only_patient else study_root

    def begin_request(self, service: str) -> int:
        """Begin a request for a service, such as `C-FIND`.

        Returns:
            A message ID that no request in progress has (PS3.7 section 9.3).
        """
        self._service = service
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
            self._answered.add(self._service)
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
                raise self._ended(pdu) from None

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

    def _refused(self, error: SeriesportError) -> SeriesportError:
        """Return a failure of the negotiation with the AE titles that may be the cause."""
        if error.code == "association-rejected":
            titles = f"called {self._called!r}, calling {self._calling!r}"
            return SeriesportError(error.code, f"{error.message}; {titles}")
        return self._denied(error.message) if error.code == "association-aborted" else error

    def _ended(self, pdu: UnexpectedPdu) -> SeriesportError:
        """Return the error for a PDU that ends the association instead of answering a request."""
        if pdu.kind is PduType.ABORT:
            source, reason = pdu.body[2:4]
            what = f"the archive aborted the association (source {source}, reason {reason})"
        elif pdu.kind is PduType.RELEASE_RQ:
            what = "the archive released the association in the middle"
        else:
            return malformed(f"{pdu.kind.name} within an association")
        if self._service in self._answered:
            return SeriesportError("association-aborted", what)
        return self._denied(
            f"{what} at its first {self._service}", f" or not allow {self._service}"
        )

    def _denied(self, what: str, service: str = "") -> SeriesportError:
        """Return the error for an end before anything was answered.

        Some archives reject a calling AE title that they do not know; others hang up or abort, at
        once or at the first request for a service that they do not allow it.
        """
        why = f"the archive may not know the calling AE title {self._calling!r}{service}"
        return SeriesportError("association-denied", f"{what}; {why}")

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
            raise self._ended(pdu) from None


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


def _connect(server: Peer) -> socket.socket:
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
