"""A file on its way from an XNAT: partial until its size and digest are those that are listed."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Self

from seriesport.errors import SeriesportError
from seriesport.files import COPY_CHUNK, PART_SUFFIX, write_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from seriesport.xnat.catalog import ResourceFile

MOST_BYTES = 64 * 1024**3
"""Longest file whose size the server does not tell, in bytes."""


class Partial:
    """A file in a spool, which survives a kill under a name that only the same file gets again.

    A context manager.
    """

    def __init__(self, file: ResourceFile, path: Path) -> None:
        self._file = file
        self._path = path
        self._validator_path = path.with_name(f"{path.stem}-validator{PART_SUFFIX}")
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
    def headers(self) -> dict[str, str]:
        """What asks for the rest, if the server still has the same file."""
        if not self.size:
            return {}
        asked = {"Range": f"bytes={self.size}-"}
        return asked | {"If-Range": self._validator} if self._validator else asked

    def restart(self, headers: Mapping[str, str]) -> None:
        """Begin anew with an answer that has the whole file."""
        self._empty()
        self._digest = hashlib.md5(usedforsecurity=False)
        self.size = 0
        tag = headers.get("ETag", "")
        self._validator = headers.get("Last-Modified", "") if tag.startswith("W/") else tag
        self._validator = self._validator or headers.get("Last-Modified", "")
        if not self._file.md5 and self._validator:
            write_bytes(self._validator_path, self._validator.encode("latin-1", "replace"))

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

        Raises:
            SeriesportError: file-mismatch, where size or digest are not those that are listed.
        """
        listed = self._file
        if listed.size not in (None, self.size):
            self.discard()
            what = f"{self.size} bytes came, but {listed.size} are listed"
            raise SeriesportError("file-mismatch", what)
        if listed.md5 and self._digest.hexdigest() != listed.md5:
            self.discard()
            raise SeriesportError("file-mismatch", "its digest is not the one that is listed")
        final = self._path.with_suffix(".file")
        self._path.rename(final)
        self._validator_path.unlink(missing_ok=True)
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


def _read(path: Path) -> str:
    try:
        return path.read_text("latin-1")
    except FileNotFoundError:
        return ""
