"""ZIP files written by hand, record by record, so that each can be wrong in one place."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Part:
    """One member. What is None is what it should be."""

    name: bytes
    content: bytes = b"content"
    method: int = 0
    flags: int = 0x800
    mode: int = 0o100644
    extra: bytes = b""
    local_extra: bytes = b""
    crc: int | None = None
    size: int | None = None
    compressed: bytes | None = None
    compressed_size: int | None = None
    local_name: bytes | None = None
    local_size: int | None = None
    offset: int | None = None
    hidden: bool = False
    """Has no entry in the directory."""
    phantom: bool = False
    """Has only an entry in the directory."""

    @property
    def body(self) -> bytes:
        """The bytes in the file."""
        if self.compressed is not None:
            return self.compressed
        if self.method == 8:
            engine = zlib.compressobj(9, zlib.DEFLATED, -15)
            return engine.compress(self.content) + engine.flush()
        return self.content

    def fields(self) -> tuple[int, int, int]:
        crc = zlib.crc32(self.content) if self.crc is None else self.crc
        size = len(self.content) if self.size is None else self.size
        packed = len(self.body) if self.compressed_size is None else self.compressed_size
        return crc, packed, size

    def local(self) -> bytes:
        name = self.name if self.local_name is None else self.local_name
        crc, packed, size = self.fields()
        if self.local_size is not None:
            size = self.local_size
        head = struct.pack(
            "<4s5H3L2H", b"PK\3\4", 20, self.flags, self.method, 0, 33, crc, packed, size,
            len(name), len(self.local_extra),
        )  # fmt: skip
        return head + name + self.local_extra + self.body

    def entry(self, offset: int) -> bytes:
        crc, packed, size = self.fields()
        at = offset if self.offset is None else self.offset
        head = struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 3 << 8 | 20, 20, self.flags, self.method, 0, 33, crc, packed,
            size, len(self.name), len(self.extra), 0, 0, 0, self.mode << 16, at,
        )  # fmt: skip
        return head + self.name + self.extra


def build(
    parts: Sequence[Part],
    *,
    comment: bytes = b"",
    count: int | None = None,
    directory_size: int | None = None,
    directory_offset: int | None = None,
    before_end: bytes = b"",
    disk: int = 0,
) -> bytes:
    """A ZIP of these parts."""
    body, directory, number = b"", b"", 0
    for part in parts:
        offset = len(body)
        if not part.phantom:
            body += part.local()
        if not part.hidden:
            directory += part.entry(offset)
            number += 1
    many = number if count is None else count
    size = len(directory) if directory_size is None else directory_size
    start = len(body) if directory_offset is None else directory_offset
    end = struct.pack("<4s4H2LH", b"PK\5\6", disk, disk, many, many, size, start, len(comment))
    return body + directory + before_end + end + comment


def with_zip64(
    parts: Sequence[Part],
    *,
    locator: int | None = None,
    magic: bytes = b"PK\6\6",
    gap: bytes = b"",
) -> bytes:
    """A ZIP with a zip64 end record; `locator` says where that is, rightly or not."""
    plain = build(parts)
    end = struct.unpack("<4s4H2LH", plain[-22:])
    _, _, _, _, count, size, offset, _ = end
    record_at = offset + size
    record = struct.pack("<4sQ2H2L4Q", magic, 44, 45, 45, 0, 0, count, count, size, offset)
    at = record_at if locator is None else locator
    pointer = struct.pack("<4sLQL", b"PK\6\7", 0, at, 1)
    narrow = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return plain[:-22] + record + gap + pointer + narrow


def renamed(part: Part, name: bytes) -> Part:
    """The same part under another name."""
    return replace(part, name=name)
