"""What can be made to go wrong, and how often it did."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

KINDS = {
    "status": "answer `status`, with Retry-After where `retry_after` is given; nothing is changed",
    "login-html": "answer the login page with 200; nothing is changed",
    "expire": "the session ends before the request is looked at",
    "close": "close the connection before the reply; nothing is changed",
    "cut": "end the connection after `after` bytes of the body, fewer than Content-Length says",
    "reset": "TCP reset after `after` bytes of the body",
    "zip-truncated": "a ZIP that ends after `after` bytes (default: half), well delivered",
    "zip-missing": "a valid ZIP without its first `count` members",
    "flip": "one bit of the body at byte `after` is wrong",
    "digest-wrong": "listings give another digest, for files matching `name`",
    "digest-empty": "listings give an empty digest, for files matching `name`",
    "digest-missing": "listings have no digest column",
    "size-wrong": "listings give a Size larger by `count`, for files matching `name`",
    "stall": "nothing for `seconds`, then the answer",
    "trickle": "the body at `rate` bytes a second",
    "not-stored": "a file's PUT is answered as if it were stored",
    "orphan": "a PUT's connection ends after `after` bytes; they stay on disk, unlisted",
    "lossy": "a PUT stores the file and answers 200, and the listing never has it",
    "reply-lost": "the change is made, and the connection closes without a reply",
    "redirect": "302 to `location`; nothing is changed",
}


@dataclass
class Fault:
    """A fault, where it strikes and how often."""

    kind: str
    path: str = "*"
    """A glob for the decoded path below the context; `*` crosses slashes."""
    method: str = "*"
    query: str = "*"
    """A glob for the query as sent."""
    skip: int = 0
    """How many matching requests pass first."""
    times: int | None = 1
    """How many are struck; None for all."""
    status: int = 503
    retry_after: str = ""
    after: int | None = None
    count: int = 1
    name: str = "*"
    seconds: float = 0.0
    rate: int = 1000
    location: str = ""
    seen: int = 0
    fired: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind} is none of: {', '.join(KINDS)}")

    def matches(self, method: str, path: str, query: str) -> bool:
        """Whether a request is one that this fault is for."""
        return (
            self.method in ("*", method)
            and fnmatchcase(path, self.path)
            and fnmatchcase(query, self.query)
        )


class Faults:
    """The table of faults. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._table: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """Arm a fault; what comes back counts how often it `fired`."""
        with self._lock:
            self._table.append(fault)
        return fault

    def load(self, file: Path) -> None:
        """Arm the faults of a JSON file: a list of objects with the fields of `Fault`."""
        known = {entry.name for entry in fields(Fault)}
        for entry in json.loads(file.read_text()):
            assert set(entry) <= known, f"unknown field in {file.name}"
            self.add(Fault(**entry))

    def clear(self) -> None:
        """Disarm all."""
        with self._lock:
            self._table.clear()

    def listed(self) -> list[dict[str, Any]]:
        """Every fault with how many requests it has `seen` and how often it `fired`."""
        with self._lock:
            return [asdict(fault) for fault in self._table]

    def take(self, method: str, path: str, query: str) -> list[Fault]:
        """The faults that strike this request, counted as fired."""
        struck: list[Fault] = []
        with self._lock:
            for fault in self._table:
                if not fault.matches(method, path, query):
                    continue
                fault.seen += 1
                if fault.seen > fault.skip and (fault.times is None or fault.fired < fault.times):
                    fault.fired += 1
                    struck.append(fault)
        return struck
