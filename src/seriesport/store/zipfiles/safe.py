"""A reader of ZIP files from anywhere: everything hostile is refused before a member is read."""

from __future__ import annotations

import os
import re
import stat
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seriesport.counts import counted
from seriesport.errors import SeriesportError
from seriesport.store.zipfiles.records import (
    CENTRAL,
    CENTRAL_SIGNATURE,
    DEFLATED,
    END,
    END64,
    END64_SIGNATURE,
    END_SIGNATURE,
    LOCAL,
    LOCAL_SIGNATURE,
    LOCATOR,
    LOCATOR_SIGNATURE,
    MAX16,
    MAX32,
    STORED,
    UTF8,
)

if TYPE_CHECKING:
    from seriesport.config.settings import ZipLimits

_ENCRYPTED = 0x1 | 0x40 | 0x2000
_SIZES_FOLLOW = 0x8
_RATIO_FROM = 1 << 20
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class ZipMember:
    """One member, checked against the rest of the ZIP."""

    number: int
    """Position in the central directory, from 1: how messages name the member."""
    name: str
    method: int
    flags: int
    crc32: int
    compressed: int
    """Length in the ZIP, in bytes."""
    size: int
    """Length when expanded, in bytes, as declared."""
    header_offset: int
    data_offset: int
    """Where its bytes begin in the ZIP."""

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder's own entry."""
        return self.name.endswith("/")

    def require_readable(self) -> None:
        """Refuse encryption, and compression other than deflate.

        Raises:
            SeriesportError: zip-unsupported.
        """
        if self.flags & _ENCRYPTED:
            raise SeriesportError("zip-unsupported", f"member {self.number} is encrypted")
        if self.method not in (STORED, DEFLATED):
            problem = f"member {self.number} is compressed by method {self.method}"
            raise SeriesportError("zip-unsupported", problem)


@dataclass(frozen=True, slots=True)
class Directory:
    """The members of a ZIP, and the raw central directory that names them."""

    members: tuple[ZipMember, ...]
    raw: bytes
    """The central directory as it stands in the file."""
    offset: int
    """Where it begins: the end of the members' bytes."""
    comment: bytes


def read_directory(fd: int, limits: ZipLimits) -> Directory:
    """Read and check the members of an open ZIP.

    Refused are names that climb, are absolute or cannot be file names; two members of one
    name; links and special files; members that overlap each other or the directory
    (CVE-2024-0450); a zip64 locator that points elsewhere than to its record
    (CVE-2025-8291); and more members, bytes or compression than `limits` allows.

    Raises:
        SeriesportError: zip-invalid, zip-unsafe-name, zip-duplicate, zip-symlink, zip-overlap,
            zip-bomb. Messages name members by number.
        OSError: The file cannot be read.
    """
    end = _read_end(fd)
    if end.count > limits.members:
        problem = f"it has {counted(end.count, 'member')}, more than the {limits.members} allowed"
        raise SeriesportError("zip-bomb", problem)
    if end.count * CENTRAL.size > end.size:
        raise _damaged("its directory is shorter than its number of members needs")
    raw = os.pread(fd, end.size, end.offset)
    if len(raw) != end.size:
        raise _damaged("its directory cannot be read")
    entries = _entries(raw, end.count)
    _check_names(entries)
    _check_sizes(entries, limits)
    members = [_locate(fd, entry, end.offset) for entry in entries]
    _check_overlap(members, end.offset)
    return Directory(tuple(members), raw, end.offset, end.comment)


@dataclass(frozen=True, slots=True)
class _End:
    count: int
    size: int
    offset: int
    comment: bytes


@dataclass(frozen=True, slots=True)
class _Entry:
    number: int
    name: str
    raw_name: bytes
    method: int
    flags: int
    crc32: int
    compressed: int
    size: int
    offset: int
    mode: int


def _read_end(fd: int) -> _End:
    length = os.fstat(fd).st_size
    start = max(0, length - END.size - MAX16)
    tail = os.pread(fd, length - start, start)
    at = tail.rfind(END_SIGNATURE)
    while at >= 0:
        if at + END.size <= len(tail):
            fields = END.unpack_from(tail, at)
            if at + END.size + fields[7] == len(tail):
                return _check_end(fd, start + at, fields, tail[at + END.size :])
        at = tail.rfind(END_SIGNATURE, 0, at)
    raise _damaged("it has no end record: it is no ZIP, or not all of it is there")


def _check_end(fd: int, at: int, fields: tuple[int, ...], comment: bytes) -> _End:
    _, disk, directory_disk, here, count, size, offset, _ = fields
    end = at
    if at >= LOCATOR.size:
        locator = os.pread(fd, LOCATOR.size, at - LOCATOR.size)
        if locator[:4] == LOCATOR_SIGNATURE:
            end, wide = _read_end64(fd, at - LOCATOR.size, locator)
            narrow = (here, count, size, offset)
            limits = (MAX16, MAX16, MAX32, MAX32)
            for ours, theirs, limit in zip(narrow, wide, limits, strict=True):
                if ours not in (theirs, limit):
                    raise _damaged("its two end records contradict each other")
            here, count, size, offset = wide
    if disk not in (0, MAX16) or directory_disk not in (0, MAX16) or here != count:
        raise _damaged("it is one part of a ZIP of several parts")
    if offset + size != end:
        raise _damaged("its directory does not stand where its end record says")
    return _End(count, size, offset, comment)


def _read_end64(fd: int, at: int, locator: bytes) -> tuple[int, tuple[int, int, int, int]]:
    """The zip64 end record, which stands right before its locator; where, and its numbers."""
    _, disk, record_at, disks = LOCATOR.unpack(locator)
    record = os.pread(fd, END64.size, record_at) if record_at + END64.size <= at else b""
    if disk != 0 or disks > 1 or len(record) != END64.size or record[:4] != END64_SIGNATURE:
        raise _damaged("its zip64 locator points to no zip64 record")
    _, length, _, _, disk, directory_disk, here, count, size, offset = END64.unpack(record)
    if record_at + 12 + length != at or disk or directory_disk:
        raise _damaged("its zip64 locator points to no zip64 record")
    return record_at, (here, count, size, offset)


def _entries(raw: bytes, count: int) -> list[_Entry]:
    entries: list[_Entry] = []
    at = 0
    for number in range(1, count + 1):
        if at + CENTRAL.size > len(raw):
            raise _damaged("its directory ends too early")
        fields = CENTRAL.unpack_from(raw, at)
        lengths = fields[10:13]
        body = raw[at + CENTRAL.size : at + CENTRAL.size + sum(lengths)]
        if fields[0] != CENTRAL_SIGNATURE or len(body) != sum(lengths):
            raise _damaged(f"its directory is damaged at member {number}")
        entries.append(_entry(number, fields, body))
        at += CENTRAL.size + len(body)
    if at != len(raw):
        raise _damaged("its directory has more members than its end record says")
    return entries


def _entry(number: int, fields: tuple[int, ...], body: bytes) -> _Entry:
    _, _, _, flags, method, _, _, crc, compressed, size, name_length, extra_length = fields[:12]
    external, offset = fields[15], fields[16]
    name = body[:name_length]
    wide = _zip64(body[name_length : name_length + extra_length], number)
    values = [size, compressed, offset]
    for i, value in enumerate(values):
        if value == MAX32:
            if not wide:
                raise _damaged(f"the zip64 field of member {number} is missing or too short")
            values[i] = wide.pop(0)
    size, compressed, offset = values
    return _Entry(
        number, _decode(name, flags, number), name, method, flags, crc, compressed, size, offset,
        external >> 16,
    )  # fmt: skip


def _zip64(extra: bytes, number: int) -> list[int]:
    """The numbers in the zip64 extra field (APPNOTE 4.5.3)."""
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<2H", extra, at)
        if at + 4 + length > len(extra):
            raise _damaged(f"an extra field of member {number} is too long")
        if tag == 1:
            return list(struct.unpack_from(f"<{length // 8}Q", extra, at + 4))
        at += 4 + length
    return []


def _decode(name: bytes, flags: int, number: int) -> str:
    try:
        return name.decode("utf-8" if flags & UTF8 else "cp437")
    except UnicodeDecodeError:
        raise SeriesportError(
            "zip-unsafe-name", f"the name of member {number} is not UTF-8, though it says so"
        ) from None


def _check_names(entries: list[_Entry]) -> None:
    seen: set[str] = set()
    for entry in entries:
        problem = name_problem(entry.name)
        if problem:
            text = f"the name of member {entry.number} {problem}"
            raise SeriesportError("zip-unsafe-name", text)
        plain = entry.name.rstrip("/")
        if plain in seen:
            text = f"member {entry.number} has the name of an earlier one"
            raise SeriesportError("zip-duplicate", text)
        seen.add(plain)
        kind = stat.S_IFMT(entry.mode)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            text = f"member {entry.number} is a link or another special file"
            raise SeriesportError("zip-symlink", text)


def name_problem(name: str) -> str:
    """What keeps a remote name from being a path below a folder; empty where nothing does."""
    parts = name.removesuffix("/").split("/")
    if name.startswith("/") or _DRIVE.match(name):
        return "is an absolute path"
    if ".." in parts:
        return "climbs out of the archive"
    if "\\" in name:
        return "contains a backslash"
    if _CONTROL.search(name):
        return "contains a control character"
    if any(part in ("", ".") or len(part.encode()) > 255 for part in parts):
        return "has a part that is empty, '.', or too long"
    return ""


def _check_sizes(entries: list[_Entry], limits: ZipLimits) -> None:
    total = sum(entry.size for entry in entries)
    if total > limits.bytes:
        text = f"its members expand to {total} bytes, more than the {limits.bytes} allowed"
        raise SeriesportError("zip-bomb", text)
    for entry in entries:
        if entry.size > limits.member_bytes:
            text = f"member {entry.number} expands to {entry.size} bytes, more than are allowed"
            raise SeriesportError("zip-bomb", text)
        if entry.size > _RATIO_FROM and entry.size > limits.ratio * entry.compressed:
            text = f"member {entry.number} expands more than {limits.ratio:g} times"
            raise SeriesportError("zip-bomb", text)
        if (
            entry.method == STORED
            and entry.size != entry.compressed
            and not entry.flags & _ENCRYPTED
        ):
            raise _damaged(f"member {entry.number} is stored, but with two sizes")
        if entry.name.endswith("/") and entry.size:
            raise _damaged(f"member {entry.number} is a folder with content")


def _locate(fd: int, entry: _Entry, limit: int) -> ZipMember:
    """Find a member's bytes by its local header, which must agree with the directory."""
    need = LOCAL.size + len(entry.raw_name)
    head = os.pread(fd, need, entry.offset) if entry.offset + need <= limit else b""
    if len(head) != need or head[:4] != LOCAL_SIGNATURE:
        raise _damaged(f"member {entry.number} does not stand where the directory says")
    fields = LOCAL.unpack_from(head)
    _, _, flags, method, _, _, crc, compressed, size, name_length, extra_length = fields
    agrees = (
        head[LOCAL.size :] == entry.raw_name
        and name_length == len(entry.raw_name)
        and method == entry.method
        and (flags ^ entry.flags) & _ENCRYPTED == 0
    )
    if agrees and not flags & _SIZES_FOLLOW:
        agrees = (
            crc == entry.crc32
            and size in (entry.size, MAX32)
            and compressed in (entry.compressed, MAX32)
        )
    if not agrees:
        raise _damaged(f"the header of member {entry.number} contradicts the directory")
    return ZipMember(
        entry.number, entry.name, entry.method, entry.flags, entry.crc32, entry.compressed,
        entry.size, entry.offset, entry.offset + need + extra_length,
    )  # fmt: skip


def _check_overlap(members: list[ZipMember], limit: int) -> None:
    ordered = sorted(members, key=lambda member: member.header_offset)
    ends = [member.header_offset for member in ordered[1:]] + [limit]
    for member, following in zip(ordered, ends, strict=False):
        if member.data_offset + member.compressed > following:
            text = f"member {member.number} overlaps what follows it"
            raise SeriesportError("zip-overlap", text)


def _damaged(problem: str) -> SeriesportError:
    return SeriesportError("zip-invalid", f"the ZIP is damaged: {problem}")
