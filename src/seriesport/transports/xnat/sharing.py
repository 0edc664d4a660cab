"""One session per process and server: shared by its threads, ended by the last to give it back."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from seriesport.shutdown import before_leaving
from seriesport.transports.xnat.session import Session

if TYPE_CHECKING:
    from seriesport.transports.xnat.server import XnatServer

_open: dict[tuple[int, XnatServer], tuple[Session, int]] = {}
_lock = threading.Lock()


def share_session(server: XnatServer) -> Session:
    """The session of this process with a server; give it back by `release_session`.

    Raises:
        SeriesportError: what `Session` raises.
    """
    with _lock:
        if not _open:
            before_leaving(_close_all)
        key = (os.getpid(), server)
        session, users = _open.get(key) or (Session(server), 0)
        _open[key] = (session, users + 1)
        return session


def release_session(session: Session) -> None:
    """Give a shared session back; the last one who does ends it at the server."""
    key = (os.getpid(), session.server)
    with _lock:
        known, users = _open.get(key, (None, 0))
        if known is not session:
            return
        if users > 1:
            _open[key] = (session, users - 1)
            return
        del _open[key]
    session.close()


def _close_all() -> None:
    with _lock:
        left = [session for (pid, _), (session, _) in _open.items() if pid == os.getpid()]
        _open.clear()
    for session in left:
        session.close()
