"""Files that hold an instance each: where they are, or made in a temporary folder.

Of instances that lie in a ZIP or a bundle the headers are written out, with a hole for the pixels,
which are read where they are: a series takes no space twice.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from seriesport.digest import chunks
from seriesport.errors import SeriesportError
from seriesport.files import copy_range, unwritable
from seriesport.formats.source import inflate
from seriesport.imaging.headers import quick_header
from seriesport.instance import FileSlice
from seriesport.part10 import encode_file_meta
from seriesport.part10.elements import UNDEFINED, Syntax

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seriesport.instance import Instance, Payload

_HEAD = 1 << 14
"""As much of an instance as most headers take."""


@dataclass(frozen=True, slots=True)
class Source:
    """The files of one series, as long as the context lasts."""

    files: list[Path]
    dicom: bool
    """Whether they are DICOM instances."""
    heads: dict[Path, FileSlice] = field(default_factory=dict[Path, FileSlice])
    """Files that have their header alone, and a hole for the pixels: where all bytes of them lie,
    file meta information apart."""

    def complete(self) -> None:
        """Fill the holes."""
        for path, whole in self.heads.items():
            meta = path.stat().st_size - whole.size
            try:
                with path.open("r+b") as stream:
                    _copy(whole, stream.fileno(), meta)
            except OSError as error:
                raise unwritable(error) from error
        self.heads.clear()


def lay_out(instances: Sequence[Instance], room: Path) -> Source:
    """Files that hold an instance each; where they are, if they do."""
    source = Source([], dicom=True)
    for number, instance in enumerate(instances, 1):
        payload = instance.payload
        path = Path(payload.path) if isinstance(payload, FileSlice) else None
        if path is None or not _is_alone(path, payload):
            path = room / f"{number:06d}.dcm"
            meta = encode_file_meta(
                instance.header.sop_class_uid, instance.uid, instance.transfer_syntax_uid
            )
            if isinstance(payload, FileSlice) and _write_head(path, meta, payload):
                source.heads[path] = payload
            else:
                write_file(path, meta, payload)
        source.files.append(_readable(path, instance.transfer_syntax_uid, room))
    return source


def _write_head(path: Path, meta: bytes, payload: FileSlice) -> bool:
    """Write a header with a hole behind it; False where pixels do not follow it as they are."""
    if payload.size < 2 * _HEAD:
        return False
    write_file(path, meta, FileSlice(payload.path, payload.offset, _HEAD))
    os.truncate(path, len(meta) + payload.size)
    quick = quick_header(path)
    pixels = None if quick is None else quick.pixels
    return pixels is not None and pixels.length != UNDEFINED and pixels.offset <= _HEAD


def _is_alone(path: Path, payload: Payload) -> bool:
    """Whether a file is a DICOM file whose data set this is."""
    assert isinstance(payload, FileSlice)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        whole = payload.offset + payload.size == os.fstat(fd).st_size
        return whole and os.pread(fd, 4, 128) == b"DICM"
    finally:
        os.close(fd)


def _readable(path: Path, transfer_syntax_uid: str, room: Path) -> Path:
    if not Syntax.of(transfer_syntax_uid).deflated:
        return path
    target = room / f"inflated-{path.stem}.dcm"
    inflate(path, target)
    return target


def write_file(path: Path, head: bytes, payload: Payload) -> None:
    """Write some bytes and a payload behind them.

    Raises:
        SeriesportError: file-unwritable, file-unreadable, source-changed.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb", buffering=0) as stream:
            stream.write(head)
            if isinstance(payload, FileSlice):
                _copy(payload, stream.fileno(), len(head))
                return
            for chunk in chunks(payload):
                stream.write(chunk)
    except OSError as error:
        raise unwritable(error) from error


def _copy(part: FileSlice, target: int, position: int) -> None:
    """Copy bytes that lie in a file without taking them into memory."""
    source = os.open(part.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        copy_range(source, part.offset, target, position, part.size)
    except EOFError:
        raise SeriesportError("source-changed", "a file became shorter") from None
    finally:
        os.close(source)
