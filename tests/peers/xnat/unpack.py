"""Unpacking as the server's old libraries do it: from the front, as far as it goes."""

from __future__ import annotations

import gzip
import io
import struct
import zlib

LOCAL = struct.Struct("<4sHHHHHIIIHH")


def unzipped(content: bytes) -> list[tuple[str, bytes]]:
    """The members of a ZIP, read from its start without the directory at its end.

    Where it breaks off, the last member is as long as what came.
    """
    found: list[tuple[str, bytes]] = []
    at = 0
    while content[at : at + 4] == b"PK\x03\x04" and len(content) >= at + LOCAL.size:
        _, _, flags, method, _, _, _, size, _, name_size, extra = LOCAL.unpack_from(content, at)
        at += LOCAL.size
        name = content[at : at + name_size].decode("utf-8", "replace")
        at += name_size + extra
        if at > len(content):
            break
        if method == 0:
            data = content[at : at + size]
            at += size
        else:
            inflate = zlib.decompressobj(-15)
            try:
                data = inflate.decompress(content[at:])
            except zlib.error:
                break
            at = len(content) - len(inflate.unused_data)
        if flags & 8:
            at += 16 if content[at : at + 4] == b"PK\x07\x08" else 12
        if not name.endswith("/"):
            found.append((name, data))
    return found


def untarred(content: bytes) -> list[tuple[str, bytes]]:
    """The members of a tar; the extended headers of newer tars come out as files."""
    found: list[tuple[str, bytes]] = []
    at = 0
    while at + 512 <= len(content) and content[at]:
        header = content[at : at + 512]
        name = header[:100].rstrip(b"\0").decode("utf-8", "replace")
        size = int(header[124:136].strip(b"\0 ") or b"0", 8)
        if header[156:157] in (b"0", b"\0", b"x", b"g"):
            found.append((name, content[at + 512 : at + 512 + size]))
        at += 512 + (size + 511) // 512 * 512
    return found


def unpacked(name: str, content: bytes, label: str) -> list[tuple[str, bytes]]:
    """The files of an archive, by its name; what climbs out lands in a folder with the label."""
    lower = name.lower()
    if lower.endswith((".tar.gz", ".tgz", ".gz")):
        try:
            members = untarred(gzip.GzipFile(fileobj=io.BytesIO(content)).read())
        except (OSError, EOFError, zlib.error):
            members = []
    elif lower.endswith(".tar"):
        members = untarred(content)
    else:
        members = unzipped(content)
    return [(_landed(member, label), data) for member, data in members]


def _landed(name: str, label: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    kept = [part for part in parts if part != ".."]
    return "/".join([label, *kept] if len(kept) < len(parts) else kept)
