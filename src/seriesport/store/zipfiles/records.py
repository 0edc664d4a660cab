"""The records of a ZIP file (PKWARE APPNOTE 6.3.10) as bytes: stored members, fixed timestamps."""

from __future__ import annotations

import struct
from dataclasses import dataclass

LOCAL = struct.Struct("<4s5H3L2H")
CENTRAL = struct.Struct("<4s6H3L5H2L")
END = struct.Struct("<4s4H2LH")
END64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR = struct.Struct("<4sLQL")
LOCAL_SIGNATURE = b"PK\x03\x04"
CENTRAL_SIGNATURE = b"PK\x01\x02"
END_SIGNATURE = b"PK\x05\x06"
END64_SIGNATURE = b"PK\x06\x06"
LOCATOR_SIGNATURE = b"PK\x06\x07"

STORED = 0
DEFLATED = 8
UTF8 = 0x800
MAX16 = 0xFFFF
MAX32 = 0xFFFFFFFF
_UNIX = 3 << 8
_MODE = 0o100644 << 16
_DATE = 1 << 5 | 1
"""The first of January 1980, ZIP's epoch."""


@dataclass(frozen=True, slots=True)
class StoredMember:
    """One stored member: what its local header and its directory entry say."""

    name: str
    size: int
    crc32: int
    offset: int
    """Of its local header in the ZIP."""

    @property
    def header(self) -> bytes:
        """The local header (APPNOTE 4.3.7); the member's bytes follow."""
        name, flags = _name(self.name)
        big = self.size >= MAX32
        extra = struct.pack("<2H2Q", 1, 16, self.size, self.size) if big else b""
        size = MAX32 if big else self.size
        version = 45 if big else 20
        return (
            LOCAL.pack(
                LOCAL_SIGNATURE, version, flags, STORED, 0, _DATE,
                self.crc32, size, size, len(name), len(extra),
            )
            + name
            + extra
        )  # fmt: skip

    @property
    def entry(self) -> bytes:
        """The entry in the central directory (APPNOTE 4.3.12)."""
        name, flags = _name(self.name)
        wide: list[int] = []
        size, offset = self.size, self.offset
        if size >= MAX32:
            wide += [size, size]
            size = MAX32
        if offset >= MAX32:
            wide.append(offset)
            offset = MAX32
        extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
        version = 45 if wide else 20
        return (
            CENTRAL.pack(
                CENTRAL_SIGNATURE, _UNIX | version, version, flags, STORED, 0, _DATE,
                self.crc32, size, size, len(name), len(extra), 0, 0, 0, _MODE, offset,
            )
            + name
            + extra
        )  # fmt: skip


def end_records(count: int, size: int, offset: int, comment: bytes = b"") -> bytes:
    """What follows the central directory (APPNOTE 4.3.14 to 4.3.16).

    Args:
        count: Entries in the central directory.
        size: Its length in bytes.
        offset: Where it begins.
        comment: The archive's comment.
    """
    wide = b""
    if count >= MAX16 or size >= MAX32 or offset >= MAX32:
        wide = END64.pack(
            END64_SIGNATURE, END64.size - 12, _UNIX | 45, 45, 0, 0, count, count, size, offset
        ) + LOCATOR.pack(LOCATOR_SIGNATURE, 0, offset + size, 1)
    few = min(count, MAX16)
    end = END.pack(
        END_SIGNATURE, 0, 0, few, few, min(size, MAX32), min(offset, MAX32), len(comment)
    )
    return wide + end + comment


def _name(name: str) -> tuple[bytes, int]:
    return name.encode(), 0 if name.isascii() else UTF8
