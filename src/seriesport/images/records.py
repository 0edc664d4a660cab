"""Headers as they were read, in little memory."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seriesport.images.encoded import read_encoded
from seriesport.images.frames import readable_header

if TYPE_CHECKING:
    from pathlib import Path

_SMALL = 4096
"""Longest header that is kept as it is, in bytes; longer ones are compressed."""
_DICTIONARY = 32768


@dataclass(frozen=True, slots=True)
class Record:
    """One instance's data set before its pixels, in explicit VR little endian."""

    packed: bytes = field(repr=False)
    transfer_syntax_uid: str
    """What it was read in."""
    dictionary: bytes | None = field(default=None, repr=False)
    """What a compressed one resembles; None where it is not compressed."""

    @property
    def data(self) -> bytes:
        """The encoded data set."""
        if self.dictionary is None:
            return self.packed
        return zlib.decompressobj(zdict=self.dictionary).decompress(self.packed)


class Records:
    """The headers of a series' instances, each compressed against the first long one."""

    def __init__(self) -> None:
        self.found: dict[int, Record] = {}
        """By the instance's place in the series, from 1."""
        self._dictionary = b""

    def add(self, instance: int, data: bytes, transfer_syntax_uid: str) -> None:
        """Keep a header."""
        if len(data) <= _SMALL:
            self.found[instance] = Record(data, transfer_syntax_uid)
            return
        self._dictionary = self._dictionary or data[:_DICTIONARY]
        engine = zlib.compressobj(1, zdict=self._dictionary)
        packed = engine.compress(data) + engine.flush()
        self.found[instance] = Record(packed, transfer_syntax_uid, self._dictionary)

    def read(self, instance: int, path: Path) -> None:
        """Keep the header of a file.

        Raises:
            SeriesportError: instance-invalid.
        """
        with readable_header(instance):
            self.add(instance, *read_encoded(path))
