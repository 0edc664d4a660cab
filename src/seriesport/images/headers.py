"""A quick look into the header of an image: top-level elements of plain data sets.

One read and one pass over the elements (`dicom.toplevel`), and values decoded as they are asked
for, some hundred times faster than a full decoding; the rest is pydicom's to read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache, lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.filereader import read_dataset

from seriesport.dicom.elements import Syntax
from seriesport.dicom.heads import scan
from seriesport.dicom.part10 import FILE_META, META_SYNTAX
from seriesport.dicom.toplevel import TopLevel, read_top_level
from seriesport.dicom.writing import element_head

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom.dataset import Dataset

    from seriesport.model.instance import FileSlice

_SYNTAX = 0x00020010
_META_READ = 4096
_BINARY = {"US": "<u2", "SS": "<i2", "UL": "<u4", "SL": "<i4", "FL": "<f4", "FD": "<f8"}
_DECIMAL = ("DS", "IS")
FIRST_BLOCK = 0x10
"""Where vendors put their private elements unless others are there already."""
_SHORT = 256
"""Longest value that is remembered decoded, in bytes."""


@dataclass(frozen=True, slots=True)
class Header:
    """Elements before the pixels; `get` is as a pydicom data set's."""

    top: TopLevel
    path: str
    """Of the file that the data set lies in."""
    start: int
    """Of the data set's first byte in it."""

    @property
    def explicit(self) -> bool:
        """Whether the VRs are written."""
        return Syntax.of(self.top.transfer_syntax_uid).explicit

    def __contains__(self, keyword: str) -> bool:
        return _tag_and_vr(keyword)[0] in self.top.values

    def get(self, keyword: str) -> Any:
        """A number, text, a list of them, the items of a sequence, or None."""
        tag, vr = _tag_and_vr(keyword)
        raw = self.top.values.get(tag)
        if raw is None:
            return None
        if vr == "SQ":
            return self._items(tag, raw)
        return decoded(raw, vr)

    def _items(self, tag: int, raw: bytes) -> list[Dataset] | None:
        if raw[:4] != b"\xfe\xff\x00\xe0":
            return None
        data = BytesIO(element_head(tag, b"SQ", len(raw), Syntax(explicit=self.explicit)) + raw)
        return list(read_dataset(data, not self.explicit, True)[tag].value)  # noqa: FBT003 pydicom's own

    def private(self, creator: str, group: int, element: int, vr: str) -> Any:
        """The value of a private element (PS3.5 section 7.8), decoded as the VR says.

        Where somebody took the creator away, it is looked for in the first block.
        """
        name = creator.encode()
        for block in range(FIRST_BLOCK, 0x20):
            if self.top.raw(group << 16 | block).strip(b" \0") == name:
                break
        else:
            if self.top.raw(group << 16 | FIRST_BLOCK):
                return None
            block = FIRST_BLOCK
        raw = self.top.raw(group << 16 | block << 8 | element)
        return decoded(raw, vr) if vr else raw or None


def decoded(raw: bytes, vr: str) -> Any:
    """The value of an element, little endian. Raises ValueError where it is none."""
    return _decoded_once(raw, vr) if len(raw) <= _SHORT else _decoded(raw, vr)


def _decoded(raw: bytes, vr: str) -> Any:
    if vr in _BINARY:
        kind = np.dtype(_BINARY[vr])
        numbers = np.frombuffer(raw[: len(raw) // kind.itemsize * kind.itemsize], kind).tolist()
        return numbers[0] if len(numbers) == 1 else numbers or None
    text = raw.decode("latin-1").strip(" \0")
    if not text:
        return None
    parts: list[Any] = [part.strip(" \0") for part in text.split("\\")]
    if vr in _DECIMAL:
        parts = [float(part) for part in parts if part]
    return parts[0] if len(parts) == 1 else parts


_decoded_once = lru_cache(maxsize=4096)(_decoded)
"""The files of a series share most values."""


@cache
def _tag_and_vr(keyword: str) -> tuple[int, str]:
    tag = tag_for_keyword(keyword)
    return (-1, "") if tag is None else (tag, dictionary_VR(tag))


def quick_header(path: Path) -> Header | None:
    """The header of a plain file; None where another reader has to decide.

    Raises:
        OSError: The file cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        start = os.pread(fd, _META_READ, 0)
        meta = scan(start, 132, META_SYNTAX, FILE_META)
        if start[128:132] != b"DICM" or meta is None or _SYNTAX not in meta[0]:
            return None
        syntax = meta[0][_SYNTAX].decode("latin-1").rstrip("\0 ")
        top = read_top_level(fd, meta[1], os.fstat(fd).st_size - meta[1], syntax)
    finally:
        os.close(fd)
    return None if top is None else Header(top, os.fspath(path), meta[1])


def header_of(data_set: FileSlice, transfer_syntax_uid: str) -> Header | None:
    """The header of a plain data set; None where another reader has to decide.

    Raises:
        OSError: The file cannot be read.
    """
    fd = os.open(data_set.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        top = read_top_level(fd, data_set.offset, data_set.size, transfer_syntax_uid)
    finally:
        os.close(fd)
    return None if top is None else Header(top, str(data_set.path), data_set.offset)
