"""DICOM files (PS3.10): recognised by content, their headers read, their file meta written."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from seriesport.dicom.charset import decode_text
from seriesport.dicom.elements import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    MAX_VALUE,
    VALUE_AT,
    Syntax,
)
from seriesport.dicom.heads import Selection, head, scan
from seriesport.dicom.readers import Reader, fd_reader, invalid, shifted, stream_reader
from seriesport.dicom.reading import MAX_FILLS, look_up
from seriesport.dicom.walker import Walker
from seriesport.dicom.whole import check_whole
from seriesport.dicom.writing import element
from seriesport.errors import SeriesportError, unreadable
from seriesport.model.instance import OPAQUE_UID, FileSlice, Header, Instance

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = [
    "Part10",
    "StrayError",
    "check_whole",
    "encode_file_meta",
    "load_instance",
    "read_data_set_header",
    "read_header",
    "read_path",
    "read_texts",
]

IMPLEMENTATION_CLASS_UID = "2.25.221849305127438096431270463152781043917"
IMPLEMENTATION_VERSION_NAME = "SERIESPORT"
DICOMDIR = "1.2.840.10008.1.3.10"
"""Media Storage Directory Storage."""

_FIRST_READ = 8192
_CHARSET, _SOP_CLASS, _SOP_INSTANCE = 0x00080005, 0x00080016, 0x00080018
_ACCESSION, _MODALITY, _SERIES_DESCRIPTION = 0x00080050, 0x00080060, 0x0008103E
_PATIENT_ID, _STUDY, _SERIES = 0x00100020, 0x0020000D, 0x0020000E
_SERIES_NUMBER, _INSTANCE_NUMBER = 0x00200011, 0x00200013
_SHARED_TAGS = (
    _CHARSET,
    _PATIENT_ID,
    _STUDY,
    _SERIES,
    _ACCESSION,
    _MODALITY,
    _SERIES_NUMBER,
    _SERIES_DESCRIPTION,
)
_HEADER_TAGS = frozenset({_SOP_CLASS, _SOP_INSTANCE, _INSTANCE_NUMBER, *_SHARED_TAGS})
_IDENTITY = Selection(_HEADER_TAGS, behind=0x00210000)
_META_TAGS = (0x00020002, 0x00020010)
META_SYNTAX = Syntax()
FILE_META = Selection(_META_TAGS, behind=0x00030000)
"""The file meta information's SOP class and transfer syntax."""
_NO_UIDS = "the data set has no SOP Class UID or no SOP Instance UID"
_MAX_META = 1 << 20
_STORAGE_CLASSES = b"1.2.840.10008.5.1.4.1.1."
_INTEGER = re.compile(r"[+-]?[0-9]{1,12}(\.0*)?")


@dataclass(frozen=True, slots=True)
class Part10:
    """What the beginning of a DICOM file says."""

    header: Header
    transfer_syntax_uid: str
    data_set_offset: int
    """Of the data set's first byte from the beginning of the DICOM file."""
    size: int
    """Length of the data set in bytes, by the file's length."""


@dataclass(frozen=True, slots=True)
class _Meta:
    sop_class_uid: str
    transfer_syntax_uid: str
    data_set_offset: int


class StrayError(SeriesportError):
    """A data set that provably has no SOP Class UID or SOP Instance UID.

    It is no instance, so it can be missing from no series but the one that it names itself.
    """

    def __init__(self, series_instance_uid: str) -> None:
        super().__init__("instance-invalid", _NO_UIDS)
        self.series_instance_uid = series_instance_uid
        """Series Instance UID of the data set; mostly empty."""


def read_header(read: Reader, size: int) -> Part10 | None:
    """The header of a DICOM file, or None for what is not an instance.

    A file is DICOM if it has `DICM` at byte 128, or if it begins, without preamble, with
    elements of group 0002 or 0008 that name an SOP class and an SOP instance. A DICOMDIR is no
    instance. Only the data set's beginning is read; see `check_whole` for the rest.

    Args:
        read: Gives the file's bytes, see `elements.fd_reader`, `stream_reader`, `bytes_reader`.
        size: Length of the file in bytes.

    Raises:
        StrayError: The data set has no SOP Class UID or no SOP Instance UID.
        SeriesportError: instance-truncated, instance-invalid.
    """
    start = read(0, min(_FIRST_READ, size))
    marked = start[128:132] == b"DICM"
    if not marked and start[:2] not in (b"\x02\0", b"\x08\0", b"\0\x08"):
        return None
    first = _Prefetched(read, start)
    try:
        meta = _read_meta(first, size, 132 if marked else 0, start)
        if meta.sop_class_uid == DICOMDIR:
            return None
        offset = meta.data_set_offset
        values = _quick_values(start, meta)
        if values is None:
            syntax = Syntax.of(meta.transfer_syntax_uid)
            values = look_up(shifted(first, offset), size - offset, syntax, _HEADER_TAGS)
        if values.get(_SOP_CLASS, b"").strip(b" \0") == DICOMDIR.encode():
            return None
        if not _has_uids(values) and _goes_on(first, offset, size, meta):
            raise StrayError(_uid(values.get(_SERIES, b"")))
        header = _header(values)
    except SeriesportError:
        if marked or _STORAGE_CLASSES in start:
            raise
        return None
    return Part10(header, meta.transfer_syntax_uid, offset, size - offset)


def read_path(path: Path | str) -> tuple[Part10, os.stat_result] | None:
    """The header of a file, with the file's status when it was read; None if not an instance.

    Raises:
        SeriesportError: file-unreadable, instance-truncated, instance-invalid.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(fd)
            part10 = read_header(fd_reader(fd), status.st_size)
        finally:
            os.close(fd)
    except OSError as error:
        raise unreadable(error) from error
    return None if part10 is None else (part10, status)


def load_instance(path: Path, offset: int = 0, size: int | None = None) -> Instance:
    """An instance whose data set is a part of a file.

    Args:
        path: A DICOM file, or a file that contains one.
        offset: Where the DICOM file begins in it.
        size: Length of the DICOM file; without it, up to the end.

    Raises:
        SeriesportError: file-unreadable, instance-truncated, instance-invalid (also for what is
            not DICOM).
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            length = os.fstat(fd).st_size - offset if size is None else size
            part10 = read_header(fd_reader(fd, offset), length)
        finally:
            os.close(fd)
    except OSError as error:
        raise unreadable(error) from error
    if part10 is None:
        raise invalid("the file is not a DICOM instance")
    payload = FileSlice(path, offset + part10.data_set_offset, part10.size)
    return Instance(part10.header, part10.transfer_syntax_uid, payload)


def read_data_set_header(stream: BinaryIO, size: int, transfer_syntax_uid: str) -> Header:
    """The header of a bare data set, from where a stream stands.

    Raises:
        SeriesportError: instance-truncated, instance-invalid.
    """
    syntax = Syntax.of(transfer_syntax_uid)
    return _header(look_up(stream_reader(stream), size, syntax, _HEADER_TAGS))


def read_texts(
    read: Reader, size: int, transfer_syntax_uid: str, tags: frozenset[int]
) -> dict[int, str]:
    """Top-level text attributes of a bare data set, of those asked for the ones that it has.

    Raises:
        SeriesportError: instance-truncated, instance-invalid.
    """
    values = look_up(read, size, Syntax.of(transfer_syntax_uid), tags | {_CHARSET})
    charset = values.get(_CHARSET, b"")
    return {tag: decode_text(values[tag], charset).strip(" \0") for tag in tags if values.get(tag)}


def encode_file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """The preamble and file meta information (PS3.10 section 7.1) to put before a data set.

    The same three UIDs give the same bytes in every version of Seriesport.

    Raises:
        SeriesportError: instance-invalid, where one of them cannot be a UID.
    """
    body = b"".join(
        (
            element(0x00020001, b"OB", b"\0\x01"),
            element(0x00020002, b"UI", _uid_bytes(sop_class_uid)),
            element(0x00020003, b"UI", _uid_bytes(sop_instance_uid)),
            element(0x00020010, b"UI", _uid_bytes(transfer_syntax_uid)),
            element(0x00020012, b"UI", _uid_bytes(IMPLEMENTATION_CLASS_UID)),
            element(0x00020013, b"SH", IMPLEMENTATION_VERSION_NAME.encode()),
        )
    )
    length = element(0x00020000, b"UL", len(body).to_bytes(4, "little"))
    return bytes(128) + b"DICM" + length + body


def _uid_bytes(uid: str) -> bytes:
    if OPAQUE_UID.fullmatch(uid) is None:
        raise invalid("a UID has characters that no UID may have, or is too long or empty")
    return uid.encode()


class _Prefetched:
    """A reader that answers from a file's first bytes where it can."""

    def __init__(self, read: Reader, start: bytes) -> None:
        self._read = read
        self._start = start

    def __call__(self, at: int, count: int) -> bytes:
        if at + count <= len(self._start):
            return self._start[at : at + count]
        return self._read(at, count)


def _read_meta(read: Reader, size: int, at: int, start: bytes) -> _Meta:
    """The file meta information from `at`, if there is any, and the transfer syntax."""
    quick = scan(start, at, META_SYNTAX, FILE_META)
    if quick is not None:
        values, at = quick
        first = start[at : at + 12]
    else:
        values, at, first = _walk_meta(read, size, at)
    sop_class, syntax = (_uid(values.get(tag, b"")) for tag in _META_TAGS)
    return _Meta(sop_class, syntax or _guess_syntax(first), at)


def _walk_meta(read: Reader, size: int, at: int) -> tuple[dict[int, bytes], int, bytes]:
    """Read the elements of group 0002, which some writers leave without VRs."""
    values: dict[int, bytes] = {}
    end = min(size, at + _MAX_META)
    while (first := read(at, min(12, size - at)).ljust(12, b"\0"))[:2] == b"\x02\0":
        tag, _, offset, length = head(first, 0, META_SYNTAX)
        if at + offset + length > size:
            raise SeriesportError("instance-truncated", "the file ends in its meta information")
        if tag in _META_TAGS:
            values[tag] = read(at + offset, min(length, MAX_VALUE))
        at += offset + length
        if at > end:
            raise invalid("the file meta information is too long")
    return values, at, first


def _guess_syntax(first: bytes) -> str:
    if first[4:6] not in VALUE_AT:
        return IMPLICIT_LITTLE
    return EXPLICIT_BIG if first[0] == 0 else EXPLICIT_LITTLE


def _quick_values(start: bytes, meta: _Meta) -> dict[int, bytes] | None:
    """The header's attributes, where the file's first bytes hold them plainly."""
    syntax = Syntax.of(meta.transfer_syntax_uid)
    if syntax.deflated:
        return None
    quick = scan(start, meta.data_set_offset, syntax, _IDENTITY)
    return None if quick is None else quick[0]


def _has_uids(values: dict[int, bytes]) -> bool:
    return all(values.get(tag, b"").strip(b" \0") for tag in (_SOP_CLASS, _SOP_INSTANCE))


def _goes_on(read: Reader, offset: int, size: int, meta: _Meta) -> bool:
    """Return True if a data set has elements behind the SOP Instance UID's place.

    Tags ascend (PS3.5 section 7.1), so the UID is then absent, and not cut off.
    """
    syntax = Syntax.of(meta.transfer_syntax_uid)
    if syntax.deflated:
        return False
    data_set = shifted(read, offset)
    walker = Walker(data_set, size - offset, syntax, descend=False, fills=MAX_FILLS)
    return walker.walk(stop=_SOP_INSTANCE).end < size - offset


def _header(values: dict[int, bytes]) -> Header:
    sop_class, instance = _uid(values.get(_SOP_CLASS, b"")), _uid(values.get(_SOP_INSTANCE, b""))
    if not sop_class or not instance:
        raise invalid(_NO_UIDS)
    number = values.get(_INSTANCE_NUMBER, b"").decode("latin-1").rstrip(" \0")
    shared = _shared(tuple(values.get(tag, b"") for tag in _SHARED_TAGS))
    return Header(sop_class, instance, *shared, _integer(number))


@lru_cache(maxsize=256)
def _shared(values: tuple[bytes, ...]) -> tuple[str, str, str, str, str, str, str]:
    """What the instances of a series have in common, decoded once, as `Header` has it."""
    charset, patient, study, series, accession, modality, number, description = values

    def text(value: bytes) -> str:
        return decode_text(value, charset).rstrip(" \0") if value else ""

    return (
        text(patient),
        _uid(study),
        _uid(series),
        text(accession),
        text(modality).strip(),
        text(number).strip(),
        text(description),
    )


@lru_cache(maxsize=1024)
def _uid(value: bytes) -> str:
    uid = value.decode("latin-1").strip(" \0")
    if uid and OPAQUE_UID.fullmatch(uid) is None:
        raise invalid("a UID has characters that no UID may have, or is too long")
    return uid


def _integer(text: str) -> int | None:
    stripped = text.strip()
    return int(stripped.partition(".")[0]) if _INTEGER.fullmatch(stripped) else None
