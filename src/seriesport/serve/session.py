"""One association at the embedded archive: C-ECHO, C-FIND, C-GET and C-STORE (PS3.4 annexes A-C).

Data sets leave as they lie on disk, in their own transfer syntax or not at all.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from seriesport.dimse import message
from seriesport.dimse.acceptor import (
    ABSTRACT_SYNTAX_REFUSED,
    TRANSFER_SYNTAXES_REFUSED,
    decode_request,
    encode_acceptance,
)
from seriesport.dimse.contexts import IDENTIFIER_SYNTAXES
from seriesport.dimse.link import Link
from seriesport.dimse.message import Field, Kind
from seriesport.dimse.pdu import (
    COMMAND,
    SEND_MAXIMUM,
    SEND_MINIMUM,
    PduReader,
    PduType,
    UnexpectedPdu,
    control_pdu,
    data_header,
    data_pdus,
    malformed,
)
from seriesport.errors import SeriesportError
from seriesport.serve.catalog import UNIQUE_KEYS
from seriesport.serve.identifier import Identifier, encode_failed_list
from seriesport.serve.reception import receive_instance

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from seriesport.dimse.acceptor import Proposed, Request
    from seriesport.dimse.message import Command
    from seriesport.model.instance import Instance
    from seriesport.serve.catalog import Catalog

VERIFICATION = "1.2.840.10008.1.1"
FIND_MODELS = ("1.2.840.10008.5.1.4.1.2.1.1", "1.2.840.10008.5.1.4.1.2.2.1")
GET_MODELS = ("1.2.840.10008.5.1.4.1.2.1.3", "1.2.840.10008.5.1.4.1.2.2.3")
"""Patient root and study root (PS3.4 annex C.6)."""
STORAGE = "1.2.840.10008.5.1.4."
"""Where the standard storage classes are; any UID outside of DICOM's own may be a private one."""
DICOM_UIDS = "1.2.840.10008."

SUCCESS, PENDING, CANCELLED = 0x0000, 0xFF00, 0xFE00
WARNING_SUBOPERATIONS, REFUSED_SUBOPERATIONS = 0xB000, 0xA702
IDENTIFIER_MISMATCH, NO_SUCH_SERVICE, UNABLE_TO_PROCESS = 0xA900, 0x0211, 0xC000
"""Statuses of PS3.4 annexes B.2.3 and C.4, and PS3.7 annex C."""

IDENTIFIER_MAXIMUM = 1024 * 1024
IDLE = 300.0
"""Seconds that a requestor may be silent."""
REFUSAL = 5.0
"""Seconds that a requestor has to ask for an association that it will not get."""


class Session:
    """One association, from the A-ASSOCIATE-RQ to its end, in a thread of its own."""

    def __init__(self, sock: socket.socket, catalog: Catalog, aet: str) -> None:
        self.link = Link(sock, IDLE)
        self.reader = PduReader(self.link)
        self.catalog = catalog
        self.aet = aet
        self.contexts: dict[int, tuple[str, str]] = {}
        """Accepted abstract and transfer syntax by context ID."""
        self.maximum = SEND_MAXIMUM
        self._request: Request | None = None

    def run(self) -> None:
        """Serve until the requestor releases or breaks the association."""
        try:
            if self.negotiate():
                while (received := self.receive_command()) is not None:
                    self.serve(*received)
        except SeriesportError:
            with suppress(SeriesportError, OSError):
                self.link.send(control_pdu(PduType.ABORT, b"\0\0\2\0"))
        finally:
            self.link.close()

    def refuse(self) -> None:
        """Reject the association for the time being: there are too many (PS3.8 section 9.3.4)."""
        self.link.deadline = time.monotonic() + REFUSAL
        try:
            self.reader.control()
            self.reject(result=2, source=3, reason=2)
        except SeriesportError:
            pass
        finally:
            self.link.close()

    def negotiate(self) -> bool:
        """Answer the association request; False where it is refused."""
        kind, body = self.reader.control()
        if kind is not PduType.ASSOCIATE_RQ:
            raise malformed(f"{kind.name} instead of an association request")
        request = self._request = decode_request(body)
        if request.called_aet != self.aet:
            self.reject(result=1, source=1, reason=7)
            return False
        if request.maximum:
            self.maximum = max(SEND_MINIMUM, min(request.maximum, SEND_MAXIMUM))
        self.link.send(control_pdu(PduType.ASSOCIATE_AC, encode_acceptance(request, self.choose)))
        return True

    def reject(self, result: int, source: int, reason: int) -> None:
        """Refuse the association (PS3.8 section 9.3.4)."""
        self.link.send(control_pdu(PduType.ASSOCIATE_RJ, bytes((0, result, source, reason))))

    def choose(self, proposed: Proposed) -> str | int:
        """The transfer syntax for a context, or the result number of its refusal."""
        uid = proposed.abstract_syntax
        chosen: str | int = self._held_syntax(proposed)
        if uid == VERIFICATION or uid in FIND_MODELS or uid in GET_MODELS:
            readable = [s for s in IDENTIFIER_SYNTAXES if s in proposed.transfer_syntaxes]
            chosen = readable[0] if readable else TRANSFER_SYNTAXES_REFUSED
        elif uid.startswith(DICOM_UIDS) and not uid.startswith(STORAGE):
            chosen = ABSTRACT_SYNTAX_REFUSED
        if isinstance(chosen, str):
            self.contexts[proposed.context_id] = (uid, chosen)
        return chosen

    def _held_syntax(self, proposed: Proposed) -> str:
        """Of several transfer syntaxes, the one that most instances of the class are held in."""
        offered = proposed.transfer_syntaxes
        held = self.catalog.syntaxes.get(proposed.abstract_syntax, Counter[str]())
        return max(offered, key=lambda syntax: held.get(syntax, 0))

    # Messages

    def receive_command(self) -> tuple[int, Command] | None:
        """The next command set and its context; None where the association has ended."""
        data = bytearray()
        try:
            context_id = self.reader.part(
                COMMAND, self.contexts.__contains__, _into(data), message.COMMAND_MAXIMUM
            )
        except UnexpectedPdu as pdu:
            if pdu.kind is PduType.RELEASE_RQ:
                self.link.send(control_pdu(PduType.RELEASE_RP))
            return None
        return context_id, message.decode(bytes(data))

    def receive_identifier(self, context_id: int) -> Identifier:
        """The identifier that follows a C-FIND or C-GET request."""
        data = bytearray()
        self._part(context_id, data, IDENTIFIER_MAXIMUM)
        return Identifier.decode(bytes(data), self.contexts[context_id][1])

    def _part(self, context_id: int, data: bytearray, limit: int) -> None:
        try:
            self.reader.part(0, context_id.__eq__, _into(data), limit)
        except UnexpectedPdu as pdu:
            raise malformed(f"{pdu.kind.name} within a message") from None

    def send(self, context_id: int, command: bytes, data: bytes | None = None) -> None:
        """Send a command set, and a data set where there is one."""
        for pdu in data_pdus(context_id, COMMAND, command, self.maximum):
            self.link.send(pdu)
        if data is not None:
            for pdu in data_pdus(context_id, 0, data, self.maximum):
                self.link.send(pdu)

    def respond(
        self,
        context_id: int,
        request: Command,
        status: int,
        data: bytes | None = None,
        counts: Sequence[int] = (),
    ) -> None:
        """Answer a request; `counts` are the completed, failed and warned sub-operations."""
        values: dict[Field, int | str] = {
            Field.AFFECTED_SOP_CLASS_UID: request.uid(Field.AFFECTED_SOP_CLASS_UID),
            Field.COMMAND_FIELD: request.kind | 0x8000,
            Field.MESSAGE_ID_RESPONDED_TO: request.number(Field.MESSAGE_ID),
            Field.DATA_SET_TYPE: message.NO_DATA_SET if data is None else 0,
            Field.STATUS: status,
        }
        values |= dict(zip((Field.COMPLETED, Field.FAILED, Field.WARNING), counts, strict=False))
        if request.kind == Kind.C_STORE_RQ:
            values[Field.AFFECTED_SOP_INSTANCE_UID] = request.uid(Field.AFFECTED_SOP_INSTANCE_UID)
        self.send(context_id, message.encode(values), data)

    # Services

    def serve(self, context_id: int, request: Command) -> None:
        """Answer one request."""
        if request.kind == Kind.C_ECHO_RQ:
            self.echo(context_id, request)
        elif request.kind == Kind.C_FIND_RQ:
            self.find(context_id, request, self.receive_identifier(context_id))
        elif request.kind == Kind.C_GET_RQ:
            self.get(context_id, request, self.receive_identifier(context_id))
        elif request.kind == Kind.C_STORE_RQ:
            self.store(context_id, request)
        elif request.kind != Kind.C_CANCEL_RQ:  # one that came too late changes nothing
            if request.has_data:
                self._part(context_id, bytearray(), IDENTIFIER_MAXIMUM)
            self.respond(context_id, request, NO_SUCH_SERVICE)

    def echo(self, context_id: int, request: Command) -> None:
        """C-ECHO (PS3.4 annex A)."""
        self.respond(context_id, request, SUCCESS)

    def find(self, context_id: int, request: Command, asked: Identifier) -> None:
        """C-FIND: a response for each entity that matches (PS3.4 section C.4.1)."""
        if asked.level not in UNIQUE_KEYS:
            self.respond(context_id, request, IDENTIFIER_MISMATCH)
            return
        syntax = self.contexts[context_id][1]
        for one in self.entities(asked):
            values = {key.keyword: self.catalog.value(one, key.keyword) for key in asked.keys}
            self.respond(context_id, request, PENDING, asked.answer(values, self.aet, syntax))
        self.respond(context_id, request, SUCCESS)

    def entities(self, asked: Identifier) -> list[Instance]:
        """What a C-FIND lists: one instance for each patient, study, series or instance."""
        return self.catalog.entities(asked.level, asked.keys)

    def get(self, context_id: int, request: Command, asked: Identifier) -> None:
        """C-GET: store what matches to the requestor (PS3.4 section C.4.3)."""
        unique = {
            key.keyword: key.value for key in asked.keys if key.keyword in UNIQUE_KEYS.values()
        }
        if asked.level not in UNIQUE_KEYS or not unique.get(UNIQUE_KEYS[asked.level]):
            self.respond(context_id, request, IDENTIFIER_MISMATCH, counts=(0, 0, 0))
            return
        completed = warned = 0
        failed: list[str] = []
        for number, one in enumerate(self.selected(asked), 1):
            status = self.suboperation(one, number % 0xFFFF + 1)
            if status is None:
                break
            if status == SUCCESS:
                completed += 1
            elif status >> 12 == 0xB:
                warned += 1
            else:
                failed.append(one.uid)
        else:
            status = SUCCESS
        self.finish_get(context_id, request, status, (completed, warned), failed)

    def selected(self, asked: Identifier) -> list[Instance]:
        """What a C-GET sends."""
        return self.catalog.select(asked.keys)

    def finish_get(
        self,
        context_id: int,
        request: Command,
        status: int | None,
        counts: tuple[int, int],
        failed: list[str],
    ) -> None:
        """The last response; a status of None says that the requestor cancelled."""
        completed, warned = counts
        if status is None:
            final = CANCELLED
        elif failed and not completed + warned:
            final = REFUSED_SUBOPERATIONS
        else:
            final = WARNING_SUBOPERATIONS if failed or warned else SUCCESS
        data = encode_failed_list(failed, self.contexts[context_id][1]) if failed else None
        self.respond(context_id, request, final, data, (completed, len(failed), warned))

    def suboperation(self, one: Instance, message_id: int) -> int | None:
        """Store one instance to the requestor and give its status; None where it cancelled."""
        context_id = self.context_for(one)
        if context_id is None:
            return NO_SUCH_SERVICE
        try:
            one.payload.open().close()
        except OSError:  # the file is gone from the folder
            return UNABLE_TO_PROCESS
        self.send_instance(context_id, one, message_id)
        cancelled = False
        while True:
            received = self.receive_command()
            if received is None:
                raise SeriesportError("association-aborted", "the requestor left within a C-GET")
            response = received[1]
            if response.kind == Kind.C_CANCEL_RQ:
                cancelled = True
            elif response.kind == Kind.C_STORE_RSP:
                return None if cancelled else response.status
            else:
                raise malformed("a C-STORE-RSP was due")

    def context_for(self, one: Instance) -> int | None:
        """The context for an instance's class in its own transfer syntax, with us as the SCU."""
        assert self._request is not None
        wanted = (one.header.sop_class_uid, one.transfer_syntax_uid)
        if not self._request.roles.get(wanted[0], (0, 0))[1]:
            return None
        return next((i for i, context in self.contexts.items() if context == wanted), None)

    def send_instance(self, context_id: int, one: Instance, message_id: int) -> None:
        """Send a C-STORE request with the data set as it lies on disk."""
        self.send(context_id, self.store_command(one, message_id))
        left, piece = one.payload.size, self.maximum - 6
        with one.payload.open() as stream:
            while left:
                data = stream.read(min(piece, left))
                if not data:
                    raise SeriesportError("source-changed", "a file of the archive became shorter")
                left -= len(data)
                self.link.send(data_header(context_id, 0 if left else 2, len(data)) + data)

    def store_command(self, one: Instance, message_id: int) -> bytes:
        """The command set of a C-STORE request."""
        return message.encode(
            {
                Field.AFFECTED_SOP_CLASS_UID: one.header.sop_class_uid,
                Field.COMMAND_FIELD: Kind.C_STORE_RQ,
                Field.MESSAGE_ID: message_id,
                Field.PRIORITY: message.PRIORITY_MEDIUM,
                Field.DATA_SET_TYPE: 0,
                Field.AFFECTED_SOP_INSTANCE_UID: one.uid,
            }
        )

    def store(self, context_id: int, request: Command) -> None:
        """C-STORE: take an instance into the folder (PS3.4 annex B)."""
        self.respond(context_id, request, self.receive_instance(context_id, request))

    def receive_instance(self, context_id: int, request: Command) -> int:
        """Receive and keep an instance, and give the status that it gets."""
        return receive_instance(
            self.reader, self.catalog, context_id, self.contexts[context_id], request
        )


def _into(data: bytearray) -> Callable[[list[memoryview]], None]:
    def sink(pieces: list[memoryview]) -> None:
        for piece in pieces:
            data.extend(piece)

    return sink
