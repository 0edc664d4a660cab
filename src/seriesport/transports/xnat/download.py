"""Files from an XNAT: each to a partial file, resumed, and checked against the listing."""

from __future__ import annotations

import re
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Event
from typing import TYPE_CHECKING

from seriesport.dicom.part10 import read_path
from seriesport.errors import SeriesportError, unwritable
from seriesport.http.answer import PAGE
from seriesport.model.instance import FileSlice, Instance, PlainFile
from seriesport.transports.xnat.partial import Partial

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from seriesport.model.instance import Item
    from seriesport.transports.xnat.catalog import ResourceFile
    from seriesport.transports.xnat.session import Session

_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_DICOM_UID = b"1.2.840.10008."
_LOOKED_AT = 8192
_OF_ONE_FILE = frozenset(
    {"file-mismatch", "incomplete", "answer-invalid", "instance-invalid", "instance-truncated"}
)
"""Failures that say nothing about the other files."""


class Downloads:
    """Files of one experiment, several at a time, each into a file of its own in a spool.

    What breaks off stays there as a partial file, and is resumed where the server still has the
    same: by its validator (ETag, or the time of the last change), or where a digest will tell.
    Files whose listed digest is that of an earlier content are added to `stale`.
    """

    def __init__(
        self,
        session: Session,
        experiment: str,
        spool: Path,
        deadline: float,
        stale: set[ResourceFile],
    ) -> None:
        self._session = session
        self._experiment = experiment
        self._spool = spool
        self._deadline = deadline
        self._stale = stale
        self._stopped = Event()

    def items(self, files: Mapping[int, ResourceFile], *, plain: bool) -> Iterator[Item]:
        """The files as items, each as soon as it is there and verified.

        Args:
            files: By their place in the listing.
            plain: Whether they are plain files, and not DICOM.

        Raises:
            SeriesportError: the first failure, after all files that are not touched by it:
                file-mismatch, answer-invalid, instance-invalid, instance-truncated,
                file-unwritable, and what `Session.open` raises.
        """
        waiting = list(files.items())[::-1]
        running: set[Future[Item]] = set()
        failed: SeriesportError | None = None
        most = self._session.server.connections
        with ThreadPoolExecutor(most, "download") as pool:
            try:
                while waiting or running:
                    while waiting and len(running) < most:
                        running.add(pool.submit(self._item, *waiting.pop(), plain=plain))
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for one in done:
                        try:
                            item = one.result()
                        except SeriesportError as error:
                            failed = failed or error
                            if error.code not in _OF_ONE_FILE:
                                waiting.clear()
                        else:
                            yield item
            finally:
                self._stopped.set()
        if failed is not None:
            raise failed

    def _item(self, place: int, file: ResourceFile, *, plain: bool) -> Item:
        try:
            return self._checked(file, self._fetched(file), plain=plain)
        except OSError as error:
            raise unwritable(error) from error
        except SeriesportError as error:
            if error.code == "not-found":
                what = f"the server lists file {place}, and does not have it"
                raise SeriesportError("incomplete", what) from None
            what = f"file {place} of the listing: {error.message}"
            raise SeriesportError(error.code, what) from None

    def _checked(self, file: ResourceFile, path: Path, *, plain: bool) -> Item:
        """The item that a whole file is. It is removed where it is none."""
        other = PlainFile(file.name, FileSlice(path, 0, path.stat().st_size), path)
        if plain:
            return other
        try:
            told = read_path(path)
        except SeriesportError:
            path.unlink()
            raise
        if told is not None:
            part10, _ = told
            payload = FileSlice(path, part10.data_set_offset, part10.size)
            return Instance(part10.header, part10.transfer_syntax_uid, payload, path, file.name)
        if not file.md5 and not (file.size is not None and _is_plainly_text(path)):
            path.unlink()
            what = "it is neither DICOM nor plain text, and no digest tells that it came whole"
            raise SeriesportError("instance-invalid", what)
        return other

    def _fetched(self, file: ResourceFile) -> Path:
        with Partial.of(file, self._spool) as partial:
            if not partial.whole:
                self._receive(file, partial)
            path = partial.publish()
        if file.md5 not in ("", partial.md5):
            self._stale.add(file)
        return path

    def _receive(self, file: ResourceFile, partial: Partial) -> None:
        """Fetch what is missing of a file; all of it, where the rest is that of another file."""
        if partial.size and not self._received(file, partial):
            partial.empty()
        if not partial.size:
            self._received(file, partial)

    def _received(self, file: ResourceFile, partial: Partial) -> bool:
        """Fetch what is missing of a file; whether the server gave what continues it."""
        with self._session.open(
            file.path(self._experiment),
            headers=partial.headers,
            accept=(200, 206, 416) if partial.size else (200,),
            deadline=self._deadline,
            page=file.is_page,
        ) as answer:
            answer.require_plain(file.size)
            if answer.status == 200:
                partial.restart(answer.headers)
            elif not partial.continues(answer):
                return False
            if file.size is not None and answer.whole not in (None, file.size):
                what = f"the server has {answer.whole} bytes of it, but {file.size} are listed"
                raise SeriesportError("file-mismatch", what)
            for chunk in answer.chunks():
                if self._stopped.is_set():
                    raise SeriesportError("interrupted", "it was not waited for")
                partial.append(chunk)
        return True


def _is_plainly_text(path: Path) -> bool:
    """Whether a file is a note or a table rather than an image that was damaged on its way."""
    with path.open("rb") as stream:
        start = stream.read(_LOOKED_AT)
    return not (_BINARY.search(start) or PAGE.match(start) or _DICOM_UID in start)
