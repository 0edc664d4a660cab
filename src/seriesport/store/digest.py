"""Digests of encoded data sets, and reading them in pieces of bounded size."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isal import isal_zlib

from seriesport.errors import SeriesportError, unreadable
from seriesport.store.files import COPY_CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seriesport.model.instance import Item, Payload


def crc32(data: bytes, value: int = 0) -> int:
    """CRC-32 of `data`, continuing from `value`."""
    return isal_zlib.crc32(data, value)  # pyright: ignore[reportUnknownMemberType] - its stub leaves the buffer untyped


@dataclass(frozen=True, slots=True)
class Digest:
    """What a data set's bytes are, without file meta information."""

    sha256: str
    """In hexadecimal."""
    crc32: int
    size: int
    """In bytes."""


def digest_member(item: Item) -> Digest:
    """Read the bytes of an instance's data set, or of a plain file, and digest them.

    Raises:
        SeriesportError: source-changed where it is not as long as it was, file-unreadable.
    """
    return digest_payload(item.payload)


def digest_payload(payload: Payload) -> Digest:
    """Read the bytes of a payload and digest them; see `digest_member`."""
    sha256, crc = hashlib.sha256(), 0
    for chunk in chunks(payload):
        sha256.update(chunk)
        crc = crc32(chunk, crc)
    return Digest(sha256.hexdigest(), crc, payload.size)


def chunks(payload: Payload) -> Iterator[bytes]:
    """A data set's bytes in pieces of at most 1 MiB, exactly as many as it has.

    Raises:
        SeriesportError: source-changed where there are fewer or more, file-unreadable.
    """
    left = payload.size
    try:
        with payload.open() as stream:
            while left > 0 and (chunk := stream.read(min(COPY_CHUNK, left))):
                left -= len(chunk)
                yield chunk
            if left or stream.read(1):
                raise SeriesportError("source-changed", "a data set changed its length")
    except OSError as error:
        raise unreadable(error, "a data set") from error
