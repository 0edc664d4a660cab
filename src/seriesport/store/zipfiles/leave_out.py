"""Removing members from a ZIP, all or nothing, with the other members' bytes left as they are."""

from __future__ import annotations

import os
import stat
import struct
from typing import TYPE_CHECKING, BinaryIO

from seriesport.errors import SeriesportError
from seriesport.store.files import copy_range, write_all, writing
from seriesport.store.zipfiles.records import CENTRAL, MAX32, end_records

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from seriesport.store.zipfiles.safe import Directory, ZipMember

_OFFSET_AT = CENTRAL.size - 4
"""Where an entry of the central directory has the offset of its member (APPNOTE 4.3.12)."""


def without(path: Path, directory: Directory, gone: Collection[ZipMember]) -> None:
    """Write a ZIP anew without some members; without any member left, remove it.

    Args:
        path: The ZIP, which the caller has locked.
        directory: Its members.
        gone: Those to leave out.

    Raises:
        SeriesportError: file-unwritable, source-changed.
        OSError: It cannot be removed.
    """
    numbers = {member.number for member in gone}
    if len(numbers) == len(directory.members):
        path.unlink()
        return
    with path.open("rb") as old, writing(path) as stream:
        os.fchmod(stream.fileno(), stat.S_IMODE(os.fstat(old.fileno()).st_mode))
        moved, position = _copy(old, stream, directory, numbers)
        entries = _entries(directory)
        raw = b"".join(
            _moved(entries[member.number - 1], moved[member.number])
            for member in directory.members
            if member.number in moved
        )
        stream.seek(position)
        write_all(stream, raw + end_records(len(moved), len(raw), position, directory.comment))


def _copy(
    old: BinaryIO, stream: BinaryIO, directory: Directory, gone: Collection[int]
) -> tuple[dict[int, int], int]:
    """Copy the members that stay, each with what follows it; give their places, and the end."""
    ordered = sorted(directory.members, key=lambda member: member.header_offset)
    ends = [*(member.header_offset for member in ordered[1:]), directory.offset]
    moved: dict[int, int] = {}
    position = ordered[0].header_offset
    try:
        copy_range(old.fileno(), 0, stream.fileno(), 0, position)
        for member, end in zip(ordered, ends, strict=True):
            if member.number not in gone:
                size = end - member.header_offset
                copy_range(old.fileno(), member.header_offset, stream.fileno(), position, size)
                moved[member.number] = position
                position += size
    except EOFError:
        raise SeriesportError("source-changed", "the ZIP changed while it was read") from None
    return moved, position


def _entries(directory: Directory) -> list[bytes]:
    entries: list[bytes] = []
    at = 0
    while at < len(directory.raw):
        size = CENTRAL.size + sum(CENTRAL.unpack_from(directory.raw, at)[10:13])
        entries.append(directory.raw[at : at + size])
        at += size
    return entries


def _moved(entry: bytes, offset: int) -> bytes:
    """An entry of the central directory with another offset, in the field that it has for it."""
    fields = CENTRAL.unpack_from(entry)
    if fields[16] != MAX32:
        return entry[:_OFFSET_AT] + struct.pack("<L", offset) + entry[CENTRAL.size :]
    # The zip64 field has what is too large of size, compressed size and offset, in this order.
    at, end = CENTRAL.size + fields[10], CENTRAL.size + fields[10] + fields[11]
    before = 8 * sum(value == MAX32 for value in (fields[8], fields[9]))
    while at + 4 <= end:
        tag, length = struct.unpack_from("<2H", entry, at)
        if tag == 1:
            place = at + 4 + before
            return entry[:place] + struct.pack("<Q", offset) + entry[place + 8 :]
        at += 4 + length
    raise SeriesportError("zip-invalid", "the ZIP is damaged: a zip64 field is missing")
