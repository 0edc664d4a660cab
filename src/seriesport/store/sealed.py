"""The files that Seriesport keeps for itself, each sealed by its number of lines and its SHA-256.

A plan, a ledger, a record or a manifest is believed by later runs. Whatever became of its bytes (a
flipped bit, a lost line, a disk that gives zeros) is noticed before any parser sees them.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from seriesport.counts import counted
from seriesport.errors import SeriesportError
from seriesport.store.files import COPY_CHUNK, write_lines_if_changed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

_T = TypeVar("_T")
_SEAL = re.compile(rb"(0|[1-9][0-9]{0,18}) ([0-9a-f]{64})")
_LONGEST = 256
"""No seal is longer than this, in bytes."""
NO_CONTENT = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
    csv.Error,
    SeriesportError,
)
"""What parsers raise for a text that is not what they expect."""


@dataclass(frozen=True, slots=True)
class Form:
    """What stands around a seal, so that the file stays one that other programs read."""

    before: bytes
    after: bytes


TABLE = Form(b"# seal ", b"\n")
"""Tab-separated values: a comment is the last line."""
LINES = Form(b'{"seal": "', b'"}\n')
"""JSON Lines: an object with the seal is the last line."""
DOCUMENT = Form(b',\n "seal": "', b'"\n}\n')
"""A JSON object over several lines: the seal is its last member."""
_FORMS = {".tsv": TABLE, ".json": DOCUMENT}


def seal(lines: Iterable[bytes], form: Form) -> Iterator[bytes]:
    """Give lines, and after them their seal."""
    digest, count = hashlib.sha256(), 0
    for line in lines:
        digest.update(line)
        count += line.count(b"\n")
        yield line
    yield form.before + f"{count} {digest.hexdigest()}".encode() + form.after


def write_sealed(
    path: Path, lines: Callable[[], Iterable[bytes]], *, private: bool = False
) -> None:
    """Write lines and their seal, whole or not at all, unless the file holds the same already.

    Args:
        path: Its suffix chooses the form of the seal.
        lines: Gives the lines, each with its end; it is called twice where the file is written.
        private: As for `files.writing`.

    Raises:
        SeriesportError: file-unwritable.
    """
    form = _form(path)
    write_lines_if_changed(path, lambda: seal(lines(), form), private=private)


def read_sealed(path: Path, parse: Callable[[Iterator[str]], _T]) -> _T:
    """Parse the lines of a sealed file, once they are known to be those that were written.

    Raises:
        SeriesportError: file-damaged, or file-unreadable where there is none.
    """
    try:
        with path.open("rb") as stream:
            try:
                return parse(_lines(stream, _length(stream, _form(path))))
            except NO_CONTENT as error:
                raise SeriesportError("file-damaged", f"{path} is damaged: {_why(error)}") from None
    except OSError as error:
        problem = os.strerror(error.errno or 0)
        raise SeriesportError("file-unreadable", f"cannot read {path}: {problem}") from error


def check_sealed(path: Path) -> None:
    """Check that a sealed file is as it was written, without parsing it.

    Raises:
        SeriesportError: as by `read_sealed`.
    """
    read_sealed(path, lambda _: None)


def parse_json(text: str) -> Any:
    """Parse JSON that anybody may have written.

    Raises:
        ValueError: It is none, or nested too deeply, or has a number of thousands of digits.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError from None


def _form(path: Path) -> Form:
    return _FORMS.get(path.suffix, LINES)


class _BrokenSealError(ValueError):
    """Why a seal does not fit its file."""


def _why(error: Exception) -> str:
    if isinstance(error, _BrokenSealError):
        return str(error)
    return "it is of another version, or something else wrote it"


def _length(stream: BinaryIO, form: Form) -> int:
    """Return how many bytes stand before the seal, which fits them."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _LONGEST))
    end = stream.read()
    start = end.rfind(form.before)
    found = _SEAL.fullmatch(end[start + len(form.before) : len(end) - len(form.after)])
    if start < 0 or found is None or not end.endswith(form.after):
        raise _BrokenSealError("its end is missing, or was changed")
    length = size - len(end) + start
    count, digest = _count(stream, length)
    written = int(found[1])
    if count != written:
        raise _BrokenSealError(f"it has {counted(count, 'line')} instead of {written}")
    if digest.encode() != found[2]:
        raise _BrokenSealError("its digest is another than when it was written")
    return length


def _count(stream: BinaryIO, length: int) -> tuple[int, str]:
    digest, count = hashlib.sha256(), 0
    stream.seek(0)
    while length and (chunk := stream.read(min(COPY_CHUNK, length))):
        length -= len(chunk)
        digest.update(chunk)
        count += chunk.count(b"\n")
    return count, digest.hexdigest()


def _lines(stream: BinaryIO, length: int) -> Iterator[str]:
    stream.seek(0)
    while length > 0 and (line := stream.readline(length)):
        length -= len(line)
        yield line.decode()
