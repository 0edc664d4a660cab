"""C-STORE at the embedded archive: an instance is written whole into the folder, or not at all."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from seriesport.dicom.part10 import encode_file_meta, load_instance
from seriesport.dicom.whole import check_elements
from seriesport.dimse.message import Field
from seriesport.dimse.pdu import UnexpectedPdu, malformed
from seriesport.errors import SeriesportError
from seriesport.store.files import part_path, write_all, writing

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from seriesport.dimse.message import Command
    from seriesport.dimse.pdu import PduReader
    from seriesport.model.instance import Instance
    from seriesport.serve.catalog import Catalog

SUCCESS, OUT_OF_RESOURCES, MISMATCH, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xA900, 0xC000
"""Statuses of C-STORE (PS3.4 section B.2.3)."""
DATA_SET_MAXIMUM = 16 << 30
"""Longest data set that is taken, in bytes."""
_CHUNK = 1 << 20


class _Refused(Exception):  # noqa: N818 - an end of the reception, not a fault
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def receive_instance(
    reader: PduReader,
    catalog: Catalog,
    context_id: int,
    context: tuple[str, str],
    request: Command,
) -> int:
    """Receive the data set of a C-STORE request and give the status of the response.

    The file gets a number for a name. The same instance again is a success and changes nothing;
    one with the same UID and other bytes is refused, and so is one that is not whole or that is
    not what the request says.

    Raises:
        SeriesportError: protocol-error, association-aborted or timeout; then nothing is kept.
    """
    path = catalog.next_path()
    part = part_path(path)
    uid, (sop_class, syntax) = request.uid(Field.AFFECTED_SOP_INSTANCE_UID), context
    announced = request.uid(Field.AFFECTED_SOP_CLASS_UID)
    try:
        meta = encode_file_meta(sop_class, uid, syntax)
        with ExitStack() as stack:
            with writing(path, replace=False) as stream:
                write_all(stream, meta)
                _receive_into(stream, reader, context_id)
                received = _checked(part, uid, {sop_class, announced})
                stack.enter_context(catalog.receiving)
                _refuse_known(catalog.get(uid), received)
            catalog.add(replace(load_instance(path), location=path))
    except _Refused as refused:
        return refused.status
    return SUCCESS


def _receive_into(stream: BinaryIO, reader: PduReader, context_id: int) -> None:
    broken: list[OSError] = []

    def sink(pieces: list[memoryview]) -> None:
        # What cannot be written is still read, so that the requestor gets an answer.
        for piece in () if broken else pieces:
            try:
                write_all(stream, piece)
            except OSError as error:
                broken.append(error)
                return

    try:
        reader.part(0, context_id.__eq__, sink, DATA_SET_MAXIMUM)
    except UnexpectedPdu as pdu:
        raise malformed(f"{pdu.kind.name} within a data set") from None
    if broken:
        raise _Refused(OUT_OF_RESOURCES)


def _checked(part: Path, uid: str, sop_classes: set[str]) -> Instance:
    try:
        received = load_instance(part)
        with received.payload.open() as stream:
            check_elements(stream, received.payload.size, received.transfer_syntax_uid)
    except SeriesportError:
        raise _Refused(NOT_UNDERSTOOD) from None
    if received.uid != uid or {received.header.sop_class_uid} != sop_classes:
        raise _Refused(MISMATCH)
    return received


def _refuse_known(known: Instance | None, received: Instance) -> None:
    if known is not None:
        raise _Refused(SUCCESS if _same(known, received) else MISMATCH)


def _same(known: Instance, received: Instance) -> bool:
    if (known.transfer_syntax_uid, known.payload.size) != (
        received.transfer_syntax_uid,
        received.payload.size,
    ):
        return False
    with known.payload.open() as a, received.payload.open() as b:
        while chunk := a.read(_CHUNK):
            if chunk != b.read(len(chunk)):
                return False
    return True
