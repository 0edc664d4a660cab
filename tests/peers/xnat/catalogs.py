"""The files of each resource, and the catalog that lists them: a line of JSON per change."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
from dataclasses import asdict, dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Entry:
    """A file that a catalog lists. `name` is its path below the resource."""

    name: str
    size: int
    digest: str = ""
    format: str = ""
    content: str = ""
    tags: str = ""
    raw: bool = False
    """Whether lists give the name as it is: it came out of an archive. Else percent-encoded."""
    stale: str = ""
    """The digest in the catalog of an older XNAT: for ever that of the first content."""
    created: Change | None = None
    modified: Change | None = None

    @property
    def shown(self) -> str:
        """The name as lists give it."""
        if self.raw:
            return self.name
        return "/".join(quote(part, safe="") for part in self.name.split("/"))


@dataclass
class Change:
    """Who made or changed a catalog's entry, and when."""

    user: str
    event: int
    time: float


class BadNameError(ValueError):
    """A name that cannot be a file below the resource."""


class Catalogs:
    """Every resource's files. Its lock is held for catalogs, never while a file is written."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._root = root
        self._lock = threading.RLock()
        self._catalogs: dict[int, dict[str, Entry]] = {}
        self._parts = count()

    def path(self, resource: int, name: str) -> Path:
        """Where a file lies, or would.

        Raises:
            BadNameError: the name climbs out or is none.
        """
        parts = name.split("/")
        if any(part in ("", ".", "..") for part in parts) or "\0" in name:
            raise BadNameError(name)
        return self._root / str(resource) / "files" / name

    def entries(self, resource: int) -> list[Entry]:
        """What a catalog lists, in order."""
        with self._lock:
            return list(self._catalog(resource).values())

    def entry(self, resource: int, name: str) -> Entry | None:
        """One listed file."""
        with self._lock:
            return self._catalog(resource).get(name)

    def write(self, resource: int, name: str, content: bytes) -> None:
        """Put a file on disk; no catalog lists it yet."""
        target = self.path(resource, name)
        part = self._root / f"part-{os.getpid()}-{next(self._parts)}"
        part.write_bytes(content)
        target.parent.mkdir(parents=True, exist_ok=True)
        part.replace(target)

    def list_file(self, resource: int, entry: Entry) -> None:
        """Make a catalog list a file; of one that it lists already it keeps the first digest."""
        with self._lock:
            old = self._catalog(resource).get(entry.name)
            if old is not None and old.created is not None and entry.modified is None:
                entry.stale, entry.created, entry.modified = old.stale, old.created, entry.created
            self._catalog(resource)[entry.name] = entry
            self._append(resource, asdict(entry))

    def remove(self, resource: int, name: str) -> bool:
        """Delete a file and its entry; False where it was not listed."""
        with self._lock:
            known = self._catalog(resource).pop(name, None)
            if known is None:
                return False
            self._append(resource, {"gone": name})
        with contextlib.suppress(OSError):
            self.path(resource, name).unlink()
        return True

    def unlist(self, resource: int, name: str) -> None:
        """Take a file out of the catalog and leave it on disk."""
        with self._lock:
            if self._catalog(resource).pop(name, None):
                self._append(resource, {"gone": name})

    def on_disk(self, resource: int) -> list[str]:
        """The files that are there, listed or not."""
        root = self._root / str(resource) / "files"
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())

    def refresh(self, resource: int, options: set[str]) -> None:
        """Bring a catalog in line with the disk: `append`, `delete`, `checksum`."""
        if "append" in options:
            for name in self.on_disk(resource):
                if self.entry(resource, name) is None:
                    size = self.path(resource, name).stat().st_size
                    self.list_file(resource, Entry(name, size))
        for entry in self.entries(resource):
            path = self.path(resource, entry.name)
            if not path.exists():
                if "delete" in options:
                    self.unlist(resource, entry.name)
                continue
            if "checksum" in options:
                content = path.read_bytes()
                self.list_file(resource, replace(entry, size=len(content), digest=md5(content)))

    def drop(self, resource: int) -> None:
        """Delete all of a resource."""
        with self._lock:
            self._catalogs.pop(resource, None)
        shutil.rmtree(self._root / str(resource), ignore_errors=True)

    def _catalog(self, resource: int) -> dict[str, Entry]:
        if resource not in self._catalogs:
            self._catalogs[resource] = self._read(resource)
        return self._catalogs[resource]

    def _file(self, resource: int) -> Path:
        return self._root / str(resource) / "catalog.jsonl"

    def _read(self, resource: int) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        file = self._file(resource)
        lines = file.read_text().split("\n") if file.exists() else [""]
        # What stands behind the last newline was being written when the server was killed.
        for line in lines[:-1]:
            row = json.loads(line)
            if "gone" in row:
                found.pop(row["gone"], None)
            else:
                found[row["name"]] = _entry(row)
        if lines[-1]:
            file.write_text("\n".join([*lines[:-1], ""]))
        return found

    def _append(self, resource: int, row: dict[str, object]) -> None:
        file = self._file(resource)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as catalog:
            catalog.write(json.dumps(row) + "\n")


def _entry(row: dict[str, Any]) -> Entry:
    for name in ("created", "modified"):
        row[name] = Change(**row[name]) if row[name] else None
    return Entry(**row)


def md5(content: bytes) -> str:
    """The digest that XNAT gives."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
