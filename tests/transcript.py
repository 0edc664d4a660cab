"""An archive's side of an association, written down in advance: bytes for a socket pair.

The whole transcript lies in the socket before the engine speaks, so that no thread is needed and
every run is the same.
"""

from __future__ import annotations

import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from seriesport.dimse import contexts, message, negotiation
from seriesport.dimse.acceptor import decode_request, encode_acceptance
from seriesport.dimse.association import Association
from seriesport.dimse.message import NO_DATA_SET, Field, Kind
from seriesport.dimse.pdu import COMMAND, PduType, control_pdu, data_pdus
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from seriesport.dimse.contexts import Proposal

CT = "1.2.840.10008.5.1.4.1.1.2"
PROPOSALS: tuple[Proposal, ...] = (
    *contexts.SERVICES,
    *contexts.storage([(CT, contexts.EXPLICIT_LITTLE)], scp=True),
)
GET_CONTEXT = 5
FIND_CONTEXT = 3
CT_CONTEXT = 11
MAXIMUM = 16384


def request(proposals: Sequence[Proposal] = PROPOSALS) -> bytes:
    return negotiation.request("ARCHIVE", "SERIESPORT", proposals)


def acceptance(refuse: Sequence[int] = (), proposals: Sequence[Proposal] = PROPOSALS) -> bytes:
    """An A-ASSOCIATE-AC that takes the first transfer syntax of every context but some."""
    asked = decode_request(request(proposals)[6:])

    def choose(context: object) -> str | int:
        return 3 if context.context_id in refuse else context.transfer_syntaxes[0]  # type: ignore[attr-defined]

    return control_pdu(PduType.ASSOCIATE_AC, encode_acceptance(asked, choose))


def command(context_id: int, values: dict[Field, int | str]) -> bytes:
    return b"".join(data_pdus(context_id, COMMAND, message.encode(values), MAXIMUM))


def data(context_id: int, content: bytes, maximum: int = MAXIMUM) -> bytes:
    return b"".join(data_pdus(context_id, 0, content, maximum))


def store_request(uid: str = "1.2.3.4", message_id: int = 7, sop_class_uid: str = CT) -> bytes:
    return command(
        CT_CONTEXT,
        {
            Field.AFFECTED_SOP_CLASS_UID: sop_class_uid,
            Field.COMMAND_FIELD: Kind.C_STORE_RQ,
            Field.MESSAGE_ID: message_id,
            Field.PRIORITY: 0,
            Field.DATA_SET_TYPE: 1,
            Field.AFFECTED_SOP_INSTANCE_UID: uid,
        },
    )


def response(
    kind: Kind,
    status: int,
    *,
    context_id: int,
    message_id: int = 1,
    data_set: int = NO_DATA_SET,
) -> bytes:
    return command(
        context_id,
        {
            Field.COMMAND_FIELD: kind,
            Field.MESSAGE_ID_RESPONDED_TO: message_id,
            Field.DATA_SET_TYPE: data_set,
            Field.STATUS: status,
        },
    )


def get_response(status: int = 0) -> bytes:
    return response(Kind.C_GET_RSP, status, context_id=GET_CONTEXT)


@contextmanager
def archive(transcript: bytes) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end and the archive's end; the archive has said all, and listens no more."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * 1024 * 1024)
        theirs.setblocking(False)
        assert theirs.send(transcript) == len(transcript), "the transcript is too long"
        theirs.shutdown(socket.SHUT_WR)
        yield ours, theirs


def associate(ours: socket.socket, idle: float = 2.0, wall_clock: float = 5.0) -> Association:
    return Association.negotiate(ours, idle, PROPOSALS, request(), time.monotonic() + wall_clock)


def said(theirs: socket.socket) -> bytes:
    """What the engine has sent so far."""
    theirs.setblocking(False)
    parts: list[bytes] = []
    try:
        while part := theirs.recv(1 << 20):
            parts.append(part)
    except BlockingIOError:
        pass
    return b"".join(parts)


def outcome(use: Callable[[], object]) -> str:
    """The reason code that a call ends in, or an empty text where it ends well."""
    try:
        use()
    except SeriesportError as error:
        return error.code
    return ""
