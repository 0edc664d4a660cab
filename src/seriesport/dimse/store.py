"""C-STORE (PS3.4 annex B, PS3.7 section 9.1.1): instances from their files to the socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, cast

from seriesport.dimse.message import PRIORITY_MEDIUM, Field, Kind, encode
from seriesport.dimse.pdu import COMMAND, DATA_HEADER, LAST, data_header, data_pdus
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from io import BufferedIOBase

    from seriesport.dimse.association import Association
    from seriesport.dimse.contexts import Accepted
    from seriesport.model.instance import Instance

_DATA_SET = 0x0001


def store(association: Association, context: Accepted, instance: Instance) -> int:
    """Send one instance as it is encoded, and give the status of the answer.

    `context` is the one of the instance's SOP class and transfer syntax; nothing is transcoded.

    Raises:
        SeriesportError: file-unreadable or source-changed for the instance's own file; or what
            the association raises, after which the instance may or may not have arrived.
    """
    message_id = association.begin_request("C-STORE")
    header = instance.header
    request = {
        Field.AFFECTED_SOP_CLASS_UID: header.sop_class_uid,
        Field.COMMAND_FIELD: Kind.C_STORE_RQ,
        Field.MESSAGE_ID: message_id,
        Field.PRIORITY: PRIORITY_MEDIUM,
        Field.DATA_SET_TYPE: _DATA_SET,
        Field.AFFECTED_SOP_INSTANCE_UID: header.sop_instance_uid,
    }
    command = b"".join(
        data_pdus(context.context_id, COMMAND, encode(request), association.send_maximum)
    )
    try:
        stream = instance.payload.open()
    except OSError as error:
        raise SeriesportError("file-unreadable", "an instance's file cannot be read") from error
    with stream, association.ending_on_error():
        _send(association, context.context_id, command, stream, instance.payload.size)
    return association.receive_response(Kind.C_STORE_RSP, message_id).status


def _send(
    association: Association, context_id: int, command: bytes, stream: BinaryIO, size: int
) -> None:
    """Send the command set and the data set, the first fragment together with the command set."""
    fragment = min(association.send_maximum - 6, max(size, 1))
    start = len(command)
    buffer = bytearray(start + DATA_HEADER + fragment)
    buffer[:start] = command
    view = memoryview(buffer)
    left, begin = size, 0
    while True:
        count = min(fragment, left)
        left -= count
        data_at = start + DATA_HEADER
        _fill(stream, view[data_at : data_at + count])
        buffer[start:data_at] = data_header(context_id, 0 if left else LAST, count)
        association.send_raw(view[begin : data_at + count])
        begin = start
        if not left:
            return


def _fill(stream: BinaryIO, view: memoryview) -> None:
    while view:
        try:
            count = cast("BufferedIOBase", stream).readinto(view)
        except OSError as error:
            raise SeriesportError("file-unreadable", "an instance's file cannot be read") from error
        if not count:
            raise SeriesportError("source-changed", "an instance's file became shorter")
        view = view[count:]
