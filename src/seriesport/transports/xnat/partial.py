"""A file on its way from an XNAT: partial until its size and digest are those that are listed."""

from __future__ import annotations

import hashlib
import os
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Self

from seriesport.errors import SeriesportError
from seriesport.store.files import COPY_CHUNK, PART_SUFFIX, write_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from seriesport.http.answer import Answer
    from seriesport.transports.xnat.catalog import ResourceFile

MOST_BYTES = 8 * 1024**3
"""Longest file whose size the server does not tell, in bytes."""
_COARSE = timedelta(seconds=2)
"""How long ago a file must have changed for its time, in whole seconds, to tell it from others."""


class Partial:
    """A file in a spool, which survives a kill under a name that only the same file gets again.

    A context manager.
    """

    def __init__(self, file: ResourceFile, path: Path) -> None:
        self._file = file
        self._path = path
        self._validator_path = path.with_name(f"{path.stem}-validator{PART_SUFFIX}")
        self._refused_path = path.with_name(f"{path.stem}-refused{PART_SUFFIX}")
        self._validator = _read(self._validator_path)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._digest = hashlib.md5(usedforsecurity=False)
        self.size = 0
        """How many bytes are there."""
        self._resume()

    @classmethod
    def of(cls, file: ResourceFile, spool: Path) -> Partial:
        """The partial file of a listed one."""
        key = repr((file.scan, file.resource_id, file.name, file.size, file.md5))
        token = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return cls(file, spool / f"{token}{PART_SUFFIX}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    @property
    def whole(self) -> bool:
        """Whether as much is there as is listed."""
        return self.size == self._file.size

    @property
    def md5(self) -> str:
        """Of what is there, in hexadecimal, where a digest is listed."""
        return self._digest.hexdigest()

    @property
    def headers(self) -> dict[str, str]:
        """What asks for the rest, if the server still has the same file."""
        if not self.size:
            return {}
        asked = {"Range": f"bytes={self.size}-"}
        return asked | {"If-Range": self._validator} if self._validator else asked

    def restart(self, headers: Mapping[str, str]) -> None:
        """Begin anew with an answer that has the whole file."""
        self.empty()
        self._validator = _validator(headers)
        if self._validator:
            write_bytes(self._validator_path, self._validator.encode("latin-1", "replace"))

    def empty(self) -> None:
        """Forget what came."""
        self._empty()
        self._digest = hashlib.md5(usedforsecurity=False)
        self.size = 0
        self._validator = ""
        self._validator_path.unlink(missing_ok=True)

    def continues(self, answer: Answer) -> bool:
        """Whether an answer 206 is the rest of the same file.

        XNAT 1.6 gives the rest of what is there now, whatever If-Range says. Without a validator
        only the digest of the whole can tell.
        """
        first, last, total = answer.part or (-1, -1, None)
        total = self._file.size if total is None else total
        return (
            first == self.size
            and total is not None
            and self._file.size in (None, total)
            and last == total - 1 >= first - 1
            and self._validator in ("", *_validators(answer.headers))
        )

    def append(self, chunk: bytes) -> None:
        """Write what came next.

        Raises:
            SeriesportError: file-mismatch, where that is more than is listed.
            OSError: It cannot be written.
        """
        most = MOST_BYTES if self._file.size is None else self._file.size
        if self.size + len(chunk) > most:
            self.discard()
            raise SeriesportError("file-mismatch", f"it has more bytes than the {most} allowed")
        view = memoryview(chunk)
        while view:
            view = view[os.write(self._fd, view) :]
        self._took(chunk)

    def publish(self) -> Path:
        """Give the whole file a name under which it is taken over.

        XNAT 1.6 keeps the digest of a file's first content when the file is replaced. So another
        digest than the listed one is refused once, and taken where the same bytes come again.

        Raises:
            SeriesportError: file-mismatch, where size or digest are not those that are listed.
        """
        listed = self._file
        if listed.size not in (None, self.size):
            self.discard()
            what = f"{self.size} bytes came, but {listed.size} are listed"
            raise SeriesportError("file-mismatch", what)
        if listed.md5 not in ("", self.md5) and _read(self._refused_path) != self.md5:
            self.discard()
            write_bytes(self._refused_path, self.md5.encode("ascii"))
            what = "its digest is not the one that is listed; the same bytes twice will be believed"
            raise SeriesportError("file-mismatch", what)
        final = self._path.with_suffix(".file")
        self._path.rename(final)
        self._validator_path.unlink(missing_ok=True)
        self._refused_path.unlink(missing_ok=True)
        return final

    def discard(self) -> None:
        """Keep nothing of it."""
        self._path.unlink(missing_ok=True)
        self._validator_path.unlink(missing_ok=True)

    def _resume(self) -> None:
        there = os.fstat(self._fd).st_size
        most = MOST_BYTES if self._file.size is None else self._file.size
        if not (self._file.md5 or (self._validator and there < most)) or there > most:
            self._empty()
            return
        while chunk := os.read(self._fd, COPY_CHUNK):
            self._took(chunk)

    def _empty(self) -> None:
        # ext4 writes a file that was ever truncated to its disk when it is closed: only if needed.
        if os.fstat(self._fd).st_size:
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)

    def _took(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self._file.md5:
            self._digest.update(chunk)


def _validators(headers: Mapping[str, str]) -> tuple[str, str]:
    """What tells a file's content from others: the strong ETag, the time of the last change."""
    tag = headers.get("ETag", "")
    return "" if tag.startswith("W/") else tag, headers.get("Last-Modified", "")


def _validator(headers: Mapping[str, str]) -> str:
    """The best of them; empty where a file may have changed twice in the second that it names."""
    tag, changed = _validators(headers)
    try:
        age = parsedate_to_datetime(headers.get("Date", "")) - parsedate_to_datetime(changed)
    except (ValueError, TypeError):  # no dates, or one without a zone
        return tag
    return tag or (changed if age >= _COARSE else "")


def _read(path: Path) -> str:
    try:
        return path.read_text("latin-1")
    except FileNotFoundError:
        return ""
