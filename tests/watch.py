"""What anybody on the machine can see of a run: the command lines of its processes."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

_SECONDS = 0.05
"""Between two looks; the shortest program of a run lasts longer."""


class Watch:
    """Collects the command lines of all processes while something runs."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(_SECONDS):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    words = path.read_bytes().replace(b"\0", b" ")
                    self.seen.add(words.decode("utf-8", "replace"))
