"""C-GET (PS3.4 annex C.4.3, PS3.7 section 9.1.3): instances straight from the socket to files."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seriesport.dicom.part10 import encode_file_meta
from seriesport.dimse import attributes, message
from seriesport.dimse.association import check_response
from seriesport.dimse.attributes import Key
from seriesport.dimse.contexts import STUDY_ROOT_GET
from seriesport.dimse.message import PRIORITY_MEDIUM, Command, Field, Kind
from seriesport.dimse.pdu import malformed
from seriesport.dimse.status import OUT_OF_RESOURCES, SUCCESS, pending
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

    from seriesport.dimse.association import Association

_DATA_SET = 0x0001


@dataclass(frozen=True, slots=True)
class Received:
    """One instance that an archive sent, whole in a file. The UIDs are those of its command."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    offset: int
    """Of the data set in the file."""
    size: int
    """Length of the data set in bytes."""


@dataclass(frozen=True, slots=True)
class GetResult:
    """How a C-GET ended. The counts are the archive's own, None where it gave none."""

    status: int
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None
    failed_uids: tuple[str, ...] = ()


@dataclass(slots=True)
class Spool:
    """A folder for what arrives, under running numbers: a received name never becomes a path."""

    folder: Path
    _number: int = field(init=False)

    def __post_init__(self) -> None:
        numbers = (path.stem for path in self.folder.glob("*.*"))
        self._number = max((int(n) for n in numbers if n.isascii() and n.isdigit()), default=0)

    def next(self) -> tuple[Path, Path]:
        """Where to write the next instance, and its name once it is whole."""
        self._number += 1
        return (
            self.folder / f"{self._number:06d}.part",
            self.folder / f"{self._number:06d}.dcm",
        )


def get(
    association: Association, keys: Mapping[Key, str], spool: Spool, model: str = STUDY_ROOT_GET
) -> Generator[Received, None, GetResult]:
    """Retrieve what the keys name; give each instance once it is whole and answered.

    The data set's bytes are kept as they came, behind a header of file meta information. The
    archive waits while the caller works: nothing is read ahead. Left early, it aborts the
    association. The value of the generator tells how the archive says it went.

    Raises:
        SeriesportError: context-refused, file-unwritable, protocol-error, or what the
            association raises.
    """
    context = association.require(model, "retrieval by C-GET")
    message_id = association.begin_request("C-GET")
    request = {
        Field.AFFECTED_SOP_CLASS_UID: model,
        Field.COMMAND_FIELD: Kind.C_GET_RQ,
        Field.MESSAGE_ID: message_id,
        Field.PRIORITY: PRIORITY_MEDIUM,
        Field.DATA_SET_TYPE: _DATA_SET,
    }
    question = attributes.encode(keys, context.transfer_syntax)
    association.send(context.context_id, message.encode(request), question)
    done = False
    try:
        while True:
            context_id, command = association.receive_command()
            if command.kind == Kind.C_STORE_RQ:
                yield _receive(association, context_id, command, spool)
                continue
            check_response(command, Kind.C_GET_RSP, message_id)
            status = command.status
            data = association.receive_identifier(context_id) if command.has_data else b""
            if not pending(status):
                done = True
                syntax = association.contexts[context_id].transfer_syntax
                return _result(command, data, syntax)
    finally:
        if not done:
            association.abort()


def _receive(association: Association, context_id: int, command: Command, spool: Spool) -> Received:
    """One C-STORE sub-operation (PS3.4 annex C.4.3.3.1): answered once its file is whole."""
    accepted = association.contexts[context_id]
    sop_class_uid = command.uid(Field.AFFECTED_SOP_CLASS_UID)
    sop_instance_uid = command.uid(Field.AFFECTED_SOP_INSTANCE_UID)
    if not command.has_data:
        raise malformed("a C-STORE request has no data set")
    meta = encode_file_meta(sop_class_uid, sop_instance_uid, accepted.transfer_syntax)
    part, final = spool.next()
    try:
        with _File(part) as file:
            file.write([memoryview(meta)])
            association.receive_data(context_id, file.write)
            file.finish(final)
    except SeriesportError as error:
        if error.code == "file-unwritable":
            association.send(context_id, message.response(command, OUT_OF_RESOURCES))
        raise
    association.send(context_id, message.response(command, SUCCESS))
    return Received(
        final,
        sop_class_uid,
        sop_instance_uid,
        accepted.transfer_syntax,
        len(meta),
        file.size - len(meta),
    )


class _File:
    """A file that is whole under its final name, or not there.

    After a first failure to write it goes on taking data, so that the message can be answered;
    `finish` then tells.
    """

    def __init__(self, path: Path) -> None:
        self.size = 0
        self._path = path
        self._failure: OSError | None = None
        self._fd = -1
        self._finished = False

    def __enter__(self) -> _File:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            self._fd = os.open(self._path, flags, 0o600)
        except OSError as error:
            self._failure = error
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        if not self._finished and self._fd >= 0:
            self._path.unlink(missing_ok=True)

    def write(self, pieces: list[memoryview]) -> None:
        """Append the pieces."""
        if self._failure is not None:
            return
        try:
            for start in range(0, len(pieces), _IOV_MAX):
                self._write(pieces[start : start + _IOV_MAX])
        except OSError as error:
            self._failure = error

    def _write(self, pieces: list[memoryview]) -> None:
        total = sum(map(len, pieces))
        written = os.writev(self._fd, pieces)
        while written < total:
            rest = memoryview(b"".join(pieces))[written:]
            written += os.write(self._fd, rest)
        self.size += total

    def finish(self, final: Path) -> None:
        """Give the file its name.

        Raises:
            SeriesportError: file-unwritable, for this or any earlier failure.
        """
        try:
            if self._failure is not None:
                raise self._failure
            self._path.rename(final)
            self._finished = True
        except OSError as error:
            problem = f"a received instance cannot be written: {error.strerror}"
            raise SeriesportError("file-unwritable", problem) from error


_IOV_MAX = 512
"""Pieces for one call of writev; POSIX systems take 1024."""


def _result(command: Command, data: bytes, transfer_syntax: str) -> GetResult:
    failed: tuple[str, ...] = ()
    if data:
        failed = attributes.decode(data, transfer_syntax).texts(Key.FAILED_SOP_INSTANCE_UIDS)
    return GetResult(
        command.status,
        _count(command, Field.COMPLETED),
        _count(command, Field.FAILED),
        _count(command, Field.WARNING),
        failed,
    )


def _count(command: Command, field: Field) -> int | None:
    return command.number(field) if field in command.values else None
