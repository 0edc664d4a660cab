"""What a step keeps of its series beside the ledger: one file for a shard, a line for a series.

While a job is at work it adds a line for each series that is done, so that the next one knows after
a kill what need not be done again; at its end the file is written anew, in the order of the shard.
A line that a kill cut short is passed over, and so is whatever a reader does not understand.
"""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from seriesport.files import write_if_changed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

Record = dict[str, Any]
_KEY = "key"


def read_records(path: Path) -> dict[str, Record]:
    """The last record of each series by its key; empty where there is no file."""
    found: dict[str, Record] = {}
    with suppress(FileNotFoundError), path.open("rb") as stream:
        for line in stream:
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                record = cast("Record", json.loads(line))
                found[str(record.pop(_KEY))] = record
    return found


class Records:
    """The records of a shard, for the one job that is at work on it. Threads may share it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._found: dict[str, Record] | None = None

    def get(self, key: str) -> Record:
        """The record of a series; empty where it has none."""
        with self._lock:
            return self._records().get(key, {})

    def put(self, key: str, record: Mapping[str, Any]) -> None:
        """Keep the record of a series, which is written at once.

        Raises:
            OSError: It cannot be written.
        """
        with self._lock:
            # As it will be read: lists for tuples, texts for enumerations.
            kept = cast("Record", json.loads(json.dumps(record)))
            if self._records().get(key) == kept:
                return
            self._records()[key] = kept
            # Not synced: a record that a crash loses costs work, and nothing else.
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                # Begins anew, since the line before may be one that a kill cut short.
                os.write(fd, f"\n{_line(key, kept)}".encode())
            finally:
                os.close(fd)

    def drop(self, key: str) -> None:
        """Forget a series; `write` makes it last."""
        with self._lock:
            self._records().pop(key, None)

    def write(self, keys: Iterable[str]) -> None:
        """Write the file whole, with the series of the shard in their order.

        Those that were taken out of it follow: their files are kept, too.

        Raises:
            SeriesportError: file-unwritable.
        """
        with self._lock:
            found = self._records()
            every = dict.fromkeys((*keys, *sorted(found)))
            lines = [_line(key, found[key]) for key in every if key in found]
            if lines or self._path.exists():
                write_if_changed(self._path, "".join(lines).encode())

    def _records(self) -> dict[str, Record]:
        if self._found is None:
            self._found = read_records(self._path)
        return self._found


def _line(key: str, record: Record) -> str:
    return json.dumps({_KEY: key, **record}) + "\n"
