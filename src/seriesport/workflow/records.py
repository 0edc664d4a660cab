"""What a step keeps of its series beside the ledger: one file for a shard, a line for a series.

While a job is at work it adds a line to a journal for each series that is done, so that the next
one knows after a kill what need not be done again; at its end the file is written anew, sealed, in
the order of the shard, and the journal goes. A line that a kill cut short is passed over.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from seriesport.access import file_mode, set_mode
from seriesport.errors import SeriesportError
from seriesport.store.sealed import NO_CONTENT, parse_json, read_sealed, write_sealed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

Record = dict[str, Any]
_KEY = "key"
_log = logging.getLogger("seriesport")


def read_records(path: Path) -> dict[str, Record]:
    """The last record of each series by its key; empty where there is no file.

    Raises:
        SeriesportError: file-damaged.
    """
    found = read_sealed(path, _parse) if path.exists() else {}
    return found | dict(_journal(path))


class Records:
    """The records of a shard, for the one job that is at work on it. Threads may share it.

    A file that is damaged is not believed: it is as if there were none.
    """

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
            line = _line(key, kept)
            # Not synced: a record that a crash loses costs work, and nothing else.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            fd = os.open(_journal_of(self._path), flags, file_mode())
            try:
                set_mode(fd, file_mode())
                # Begins anew, since the line before may be one that a kill cut short.
                os.write(fd, b"\n" + _digest(line.rstrip(b"\n")) + line)
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
                write_sealed(self._path, lambda: lines)
            _journal_of(self._path).unlink(missing_ok=True)

    def _records(self) -> dict[str, Record]:
        if self._found is None:
            try:
                self._found = read_records(self._path)
            except SeriesportError as error:
                _log.warning("%s: it is not believed", error)
                self._found = dict(_journal(self._path))
        return self._found


def _parse(lines: Iterable[str]) -> dict[str, Record]:
    return dict(map(_record, lines))


def _record(line: str) -> tuple[str, Record]:
    record = cast("Record", parse_json(line))
    return str(record.pop(_KEY)), record


def _line(key: str, record: Record) -> bytes:
    return f"{json.dumps({_KEY: key, **record})}\n".encode()


def _journal_of(path: Path) -> Path:
    return path.with_suffix(".journal")


def _journal(path: Path) -> Iterator[tuple[str, Record]]:
    with suppress(FileNotFoundError), _journal_of(path).open("rb") as stream:
        for row in stream:
            digest, line = row[:_DIGEST], row[_DIGEST:]
            if digest == _digest(line.rstrip(b"\n")):
                with suppress(*NO_CONTENT):
                    yield _record(line.decode())


_DIGEST = 65
"""Length in bytes of a digest and the space after it."""


def _digest(line: bytes) -> bytes:
    return f"{hashlib.sha256(line).hexdigest()} ".encode()
