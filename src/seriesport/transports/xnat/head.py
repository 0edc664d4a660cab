"""The header of a DICOM file at an XNAT, from the file's beginning alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seriesport.dicom.part10 import read_header
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from seriesport.dicom.part10 import Part10
    from seriesport.http.answer import Answer
    from seriesport.transports.xnat.session import Session

_FIRST = 65536
_MOST = 64 * 1024 * 1024


def remote_header(session: Session, path: str, size: int | None, deadline: float) -> Part10 | None:
    """What the beginning of a file says, or None where it is not an instance.

    The first 64 kB are asked for, and more only where the header is longer. Nothing behind the
    file's end is asked for or waited for: XNAT 1.6 promises it, and keeps the connection open.

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
    head = _Head(session, path, size, deadline)
    head.fill(_FIRST)
    return read_header(head, head.total if size is None else size)


class _Head:
    def __init__(self, session: Session, path: str, size: int | None, deadline: float) -> None:
        self._session = session
        self._path = path
        self._size = size
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
        last = "" if self._size is None else min(wanted, self._size) - 1
        with self._session.open(
            self._path,
            headers={"Range": f"bytes={start}-{last}"},
            accept=(200, 206, 416),
            deadline=self._deadline,
            page=False,
        ) as answer:
            if answer.status == 416:
                self.total = start
                return
            answer.require_plain(self._size)
            self._bytes[self._begin(answer, start) :] = b""
            enough = min(wanted, self.total)
            for chunk in answer.chunks(enough - len(self._bytes)):
                self._bytes += chunk
        if len(self._bytes) < enough:
            self.total = len(self._bytes)

    def _begin(self, answer: Answer, start: int) -> int:
        """Where the body of an answer belongs; the file's length is known then."""
        if answer.status == 206 and (answer.part is None or answer.part[0] != start):
            what = "the server sends another part of a file than was asked for"
            raise SeriesportError("answer-invalid", what)
        known = (length for length in (answer.whole, self._size) if length is not None)
        self.total = min(known, default=_MOST)
        return start if answer.status == 206 else 0
