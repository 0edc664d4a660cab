"""The embedded archive: a small DICOM archive over a folder, for loopback, the demo and tests."""

from __future__ import annotations

import logging
import os
import resource
import socket
import time
from contextlib import suppress
from threading import Lock, Thread
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from seriesport.access import make_folder
from seriesport.errors import SeriesportError
from seriesport.privacy import where
from seriesport.serve.catalog import Catalog
from seriesport.serve.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

_MOST = 100
"""Associations at one time; each has a thread and a buffer of 1 MB."""
_REFUSALS = 4
"""Connections at one time, beyond these, that are told that there are too many."""
_FILES_EACH, _OTHER_FILES = 2, 24
"""Open files of an association, and of everything else."""
_RECOVERY = 0.1
"""Seconds to wait for files or threads to become free."""
_log = logging.getLogger("seriesport")


class Archive:
    """A DICOM archive over a folder, from `__enter__` or `start` to `stop`.

    The folder is searched to its leaves when the archive starts; what is stored to it becomes
    numbered files in it. It has no access control: it listens on the loopback unless it is told
    otherwise. As many associations as there are files for go on at one time, at most 100; others
    are rejected for the time being.

    Args:
        folder: holds DICOM files, told by their content; made when it is missing.
        aet: the AE title that it answers to, and no other.
        port: the port to listen on; 0 takes a free one, see `port`.
        session: makes what serves an association.

    Raises:
        SeriesportError: file-unreadable; archive-unreachable where the port cannot be had.
    """

    def __init__(
        self,
        folder: Path,
        aet: str = "SERIESPORT",
        port: int = 0,
        *,
        session: Callable[[socket.socket, Catalog, str], Session] = Session,
    ) -> None:
        self.folder = folder
        self.aet = aet
        self.host = "127.0.0.1"
        """Loopback, the one interface that it listens on."""
        self.port = port
        """The port that it listens on, once it has started."""
        self._most = _most_associations()
        self._session = session
        self._listener: socket.socket | None = None
        self._sockets: set[socket.socket] = set()
        self._lock = Lock()
        self.catalog: Catalog

    @property
    def url(self) -> str:
        """Its address, without a trailing slash."""
        return f"dicom://{self.host}:{self.port}/{quote(self.aet, safe='')}"

    def start(self) -> None:
        """List the folder and listen."""
        try:
            make_folder(self.folder)
            self.catalog = Catalog(self.folder)
        except OSError as error:
            raise SeriesportError(
                "file-unreadable", f"the archive's folder cannot be read: {error.strerror}"
            ) from error
        try:
            self._listener = socket.create_server((self.host, self.port), backlog=64)
        except OSError as error:
            raise SeriesportError(
                "port-taken", f"cannot listen on port {self.port}: {os.strerror(error.errno or 0)}"
            ) from error
        self.port = int(self._listener.getsockname()[1])
        Thread(target=self._accept, args=(self._listener,), name="archive", daemon=True).start()

    def stop(self) -> None:
        """Stop listening and end all associations. Safe to call twice."""
        listener, self._listener = self._listener, None
        if listener is not None:
            _shut(listener)
            listener.close()
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for sock in sockets:
            _shut(sock)

    def _accept(self, listener: socket.socket) -> None:
        while self._listener is listener:
            try:
                sock, _ = listener.accept()
            except OSError as error:
                if self._listener is listener:  # too many open files, or a requestor that left
                    _log.warning("the archive cannot accept: %s", where(error))
                    time.sleep(_RECOVERY)
                continue
            self._begin(sock)

    def _begin(self, sock: socket.socket) -> None:
        """Serve a connection in a thread of its own; refuse it above the limit."""
        with self._lock:
            if self._listener is None or len(self._sockets) >= self._most + _REFUSALS:
                sock.close()
                return
            full = len(self._sockets) >= self._most
            self._sockets.add(sock)
        try:
            Thread(target=self._serve, args=(sock, full), name="association", daemon=True).start()
        except RuntimeError:  # no thread can be started now
            with self._lock:
                self._sockets.discard(sock)
            sock.close()
            time.sleep(_RECOVERY)

    def _serve(self, sock: socket.socket, full: bool) -> None:  # noqa: FBT001 - of a thread
        try:
            session = self._session(sock, self.catalog, self.aet)
            session.refuse() if full else session.run()
        except Exception as error:  # noqa: BLE001 - one association must not end the archive
            _log.error("an association ended: %s", where(error))
            sock.close()
        finally:
            with self._lock:
                self._sockets.discard(sock)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _most_associations() -> int:
    """Return how many associations fit into the open files that this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MOST
    return max(1, min(_MOST, (soft - _OTHER_FILES) // _FILES_EACH - _REFUSALS))
