"""The header of a DICOM file at an XNAT, from the file's beginning alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seriesport.errors import SeriesportError
from seriesport.part10 import read_header

if TYPE_CHECKING:
    from seriesport.part10 import Part10
    from seriesport.xnat.answer import Answer
    from seriesport.xnat.session import Session

_FIRST = 65536
_MOST = 64 * 1024 * 1024
_TOTAL = re.compile(r"bytes ([0-9]+)-[0-9]+/([0-9]+)")


def remote_header(session: Session, path: str, size: int | None, deadline: float) -> Part10 | None:
    """What the beginning of a file says, or None where it is not an instance.

    The first 64 kB are asked for, and more only where the header is longer.

    Args:
        session: The session with the server.
        path: Of the file.
        size: Of the file in bytes, as it is listed.
        deadline: On the monotonic clock.

    Raises:
        SeriesportError: instance-truncated, instance-invalid, answer-invalid, and what
            `Session.open` raises.
    """
    if size == 0:
        return None
    head = _Head(session, path, deadline)
    head.fill(_FIRST)
    return read_header(head, head.total if size is None else size)


class _Head:
    def __init__(self, session: Session, path: str, deadline: float) -> None:
        self._session = session
        self._path = path
        self._deadline = deadline
        self._bytes = bytearray()
        self.total = 0

    def __call__(self, at: int, count: int) -> bytes:
        """A reader of the file's bytes, see `readers`."""
        if at + count > len(self._bytes) < self.total:
            self.fill(max(at + count, 4 * len(self._bytes)))
        return bytes(self._bytes[at : at + count])

    def fill(self, wanted: int) -> None:
        """Have so many bytes from the beginning, or all that there are."""
        if wanted > _MOST:
            raise SeriesportError("instance-invalid", "the header of a file is too long")
        start = len(self._bytes)
        with self._session.open(
            self._path,
            headers={"Range": f"bytes={start}-{wanted - 1}"},
            accept=(200, 206, 416),
            deadline=self._deadline,
            page=False,
        ) as answer:
            if answer.status == 416:
                self.total = start
                return
            self._bytes[self._begin(answer, start) :] = b""
            for chunk in answer.chunks():
                self._bytes += chunk
                if len(self._bytes) >= wanted:
                    break
        self.total = max(self.total, len(self._bytes))

    def _begin(self, answer: Answer, start: int) -> int:
        if answer.status == 200:  # a server that does not know ranges
            length = answer.headers.get("Content-Length", "")
            self.total = int(length) if length.isdigit() else _MOST
            return 0
        match = _TOTAL.fullmatch(answer.headers.get("Content-Range", "").strip())
        if match is None or int(match[1]) != start:
            what = "the server sends another part of a file than was asked for"
            raise SeriesportError("answer-invalid", what)
        self.total = int(match[2])
        return start
