"""Adding stored members to a ZIP, all or nothing, with the old members' bytes left as they are."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

from seriesport.dicom.part10 import encode_file_meta
from seriesport.errors import SeriesportError
from seriesport.model.instance import FileSlice
from seriesport.model.series import Proof, ReceiptEntry
from seriesport.store.digest import chunks, crc32, digest_member
from seriesport.store.files import copy_range, write_all, writing
from seriesport.store.zipfiles.records import StoredMember, end_records

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from seriesport.model.instance import Instance
    from seriesport.store.zipfiles.safe import Directory


def append(
    path: Path, directory: Directory | None, additions: Sequence[tuple[str, Instance]]
) -> list[ReceiptEntry]:
    """Add members to a ZIP, or make it, and read them back.

    Args:
        path: The ZIP, which the caller has locked.
        directory: Its members; None where there is no ZIP yet.
        additions: Names that are not taken, and what goes under them.

    Raises:
        SeriesportError: file-unwritable, file-unreadable, source-changed.
    """
    entries: list[bytes] = []
    written: list[tuple[FileSlice, str]] = []
    with writing(path, replace=directory is not None) as stream:
        position = _copy_old(path, directory, stream) if directory else 0
        for name, instance in additions:
            member, where, sha256 = _write(stream, position, path, name, instance)
            entries.append(member.entry)
            written.append((where, sha256))
            position = where.offset + where.size
        raw = (directory.raw if directory else b"") + b"".join(entries)
        count = len(entries) + (len(directory.members) if directory else 0)
        comment = directory.comment if directory else b""
        write_all(stream, raw + end_records(count, len(raw), position, comment))
    return [
        _proven(instance, *where) for (_, instance), where in zip(additions, written, strict=True)
    ]


def _copy_old(path: Path, directory: Directory, stream: BinaryIO) -> int:
    """Copy all that is before the old directory; give the position after it."""
    with path.open("rb") as old:
        try:
            copy_range(old.fileno(), 0, stream.fileno(), 0, directory.offset)
        except EOFError:
            raise SeriesportError("source-changed", "the ZIP changed while it was read") from None
        os.fchmod(stream.fileno(), stat.S_IMODE(os.fstat(old.fileno()).st_mode))
    return stream.seek(directory.offset)


def _write(
    stream: BinaryIO, position: int, path: Path, name: str, instance: Instance
) -> tuple[StoredMember, FileSlice, str]:
    """Write one member; give its records, where its data set lies, and that one's SHA-256."""
    meta = encode_file_meta(
        instance.header.sop_class_uid, instance.uid, instance.transfer_syntax_uid
    )
    size = len(meta) + instance.payload.size
    blank = StoredMember(name, size, 0, position)
    write_all(stream, blank.header + meta)
    crc, sha256 = crc32(meta), hashlib.sha256()
    for chunk in chunks(instance.payload):
        crc = crc32(chunk, crc)
        sha256.update(chunk)
        write_all(stream, chunk)
    member = replace(blank, crc32=crc)
    end = stream.tell()
    stream.seek(position)
    write_all(stream, member.header)
    stream.seek(end)
    offset = position + len(member.header) + len(meta)
    return member, FileSlice(path, offset, instance.payload.size), sha256.hexdigest()


def _proven(instance: Instance, where: FileSlice, sha256: str) -> ReceiptEntry:
    if digest_member(replace(instance, payload=where)).sha256 == sha256:
        return ReceiptEntry(instance.uid, sent=True, proof=Proof.DIGEST)
    return ReceiptEntry(
        instance.uid,
        sent=True,
        proof=None,
        code="store-unverified",
        detail="the ZIP reads back with other bytes",
    )
