"""Sends the requests that were recorded on real XNATs, and compares the answers.

`recorded/exchanges.jsonl` (1.6.4) begins on a server with a project P1;
`recorded/permissions.jsonl` goes on where it ends, as user `viewer`, who becomes a collaborator on
the way. `recorded/exchanges_165.jsonl` (1.6.5) is in project PR1 and has only the requests of
interest: `prepared` has those between them. It has the lengths of the bodies that were sent, and
of files that came the first bytes (`begins`).
"""

from __future__ import annotations

import base64
import io
import json
import re
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from peers.xnat.prepared import BOUNDARY, STEPS
from peers.xnat.wire import Answer, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECORDED = Path(__file__).with_name("recorded")
STAMP = re.compile(r"\d{8}_\d{9}")
VOLATILE = (
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{1,3}"), "TIME"),
    (re.compile(r"\w{3} \w{3} \d\d \d\d:\d\d:\d\d UTC \d{4}"), "DATE"),
    (re.compile(r"/data/xnat/archive/[^\"<]*"), "CATALOG"),
    (STAMP, "STAMP"),
)
OF_NO_USE = {
    "create_event_id", "modified_event_id", "xnat_abstractDemographicData_id",
    "xnat_abstractdemographicdata_id", "file_size",
}  # fmt: skip
DIGEST = re.compile(r'(?<=digest=")[0-9a-f]{32}')
OTHER_PASSWORDS = {"wrong password": "nope"}
"""A user's password is the name, else."""


class Digests:
    """Digests by the order in which they were first seen: what was sent then is not recorded."""

    def __init__(self) -> None:
        self._given: dict[str, str] = {}
        self._recorded: dict[str, str] = {}

    def given(self, text: str) -> str:
        return DIGEST.sub(lambda found: _numbered(found[0], self._given), text)

    def recorded(self, text: str) -> str:
        return DIGEST.sub(lambda found: _numbered(found[0], self._recorded), text)


def _numbered(digest: str, known: dict[str, str]) -> str:
    return known.setdefault(digest, f"digest {len(known) + 1}")


class Player:
    """Plays recorded requests, each user with cookies of its own."""

    def __init__(self, url: str, count: Callable[[dict[str, int]], None]) -> None:
        parts = urlsplit(url)
        self._host, self._context = parts.netloc, parts.path
        self._count = count
        self._cookies: dict[str, str] = {}
        self._stamps: list[str] = []

    def play(self, file: str) -> Iterator[tuple[dict[str, Any], Answer]]:
        """Every recorded exchange with the answer of today."""
        steps = dict(STEPS)
        for line in (RECORDED / file).read_text().splitlines():
            exchange = json.loads(line)
            before = steps.pop(exchange["label"], None)
            if before is not None:
                self._count(before.counters)
                for path, body in before.puts:
                    self._prepare(path, body)
            answer = self._send(exchange)
            if exchange["label"] == "prearchive: list":
                self._stamps = STAMP.findall(answer.body.decode())
            yield exchange, answer

    def _prepare(self, path: str, body: bytes) -> None:
        kind = "application/octet-stream"
        if "inbody" not in path:
            kind = f"multipart/form-data; boundary={BOUNDARY}"
        step = {"as": "admin", "method": "PUT", "path": path, "request_headers": {}}
        step["request_headers"] = {"Content-Type": kind} if body else {}
        answer = self._send({**step, "request_base64": base64.b64encode(body).decode()})
        assert answer.status in (200, 201), (path, answer.status)

    def _send(self, exchange: dict[str, Any]) -> Answer:
        who, headers = exchange["as"], dict(exchange.get("request_headers", {}))
        if who != "stranger":
            user = "admin" if who == "wrong password" else who
            pair = f"{user}:{OTHER_PASSWORDS.get(who, user)}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        if who in self._cookies:
            headers["Cookie"] = self._cookies[who]
        body = exchange.get("request", "").encode()
        body = body or base64.b64decode(exchange.get("request_base64", ""))
        body = body or bytes(exchange.get("request_length", 0))
        path = exchange["path"]
        if self._stamps and "XNAT_E" not in path:
            path = STAMP.sub(self._stamps[0], path)
            body = STAMP.sub(self._stamps[0], body.decode("latin-1")).encode("latin-1")
        expected = exchange["bytes"] if exchange.get("waits") else 1 << 30
        headers = {"Accept": "*/*", **headers}
        answer = ask(self._host, exchange["method"], self._context + path, body, headers, expected)
        for text in answer.cookies:
            if text.startswith("JSESSIONID") and who != "wrong password":
                self._cookies[who] = text.partition(";")[0]
        return answer


def differences(exchange: dict[str, Any], answer: Answer, digests: Digests) -> list[str]:
    """In what an answer differs from the recorded one, where a client looks."""
    found: list[str] = []
    if answer.status != exchange["status"]:
        return [f"status {answer.status}, recorded {exchange['status']}"]
    kind = answer.headers.get("Content-Type", "")
    if kind != exchange["type"]:
        found.append(f"type {kind!r}, recorded {exchange['type']!r}")
    for name, value in exchange["headers"].items():
        if answer.headers.get(name) != value:
            found.append(f"{name} {answer.headers.get(name)!r}, recorded {value!r}")
    stays = exchange["headers"].get("Connection") != "close"
    if answer.stays != stays:
        found.append(f"connection open: {answer.stays}, recorded {stays}")
    waits = exchange.get("waits", False)
    if answer.waits != waits:
        found.append(f"waits for bytes that never come: {answer.waits}, recorded {waits}")
    begins = base64.b64decode(exchange.get("begins", ""))
    if not answer.body.startswith(begins):
        found.append(f"begins {answer.body[:32]!r}, recorded {begins!r}")
    given, recorded = _content(exchange, answer, digests)
    if given != recorded:
        found.append(f"body\n  {given}\n  recorded\n  {recorded}")
    return found


def _content(exchange: dict[str, Any], answer: Answer, digests: Digests) -> tuple[Any, Any]:
    """What the answer says, and what the recorded one said, without what changes each time."""
    if "members" in exchange:
        size = exchange.get("bytes", len(answer.body))
        named = sorted(_members(answer.body)), sorted(exchange["members"])
        return [len(answer.body), *named[0]], [size, *named[1]]
    if "bytes" in exchange:
        return len(answer.body), exchange["bytes"]
    text = answer.body.decode("utf-8", "replace")
    if "message" in exchange:
        said = re.search(r"<h3>(.*?)</h3>", text, re.DOTALL)
        said = said or re.search(r"<b>Message</b> (.*?)</p>", text)
        return said[1] if said else "", exchange["message"]
    recorded = exchange["body"]
    kind = exchange["type"]
    if kind == "application/json":
        # An imported file is written anew, so its size is the server's own.
        if exchange["label"].startswith("import:"):
            text, recorded = (re.sub(r'"Size":"\d+"', '"Size":"1"', x) for x in (text, recorded))
        return _settled(json.loads(text)), _settled(json.loads(recorded))
    if kind == "text/xml" and "<ResultSet" not in recorded:
        return _tags(digests.given(text)), _tags(digests.recorded(recorded))
    return _still(text), _still(recorded)


def _members(content: bytes) -> list[str]:
    stream = io.BytesIO(content)
    if content[:2] == b"PK":
        with zipfile.ZipFile(stream) as archive:
            return archive.namelist()
    with tarfile.open(fileobj=stream) as archive:
        return archive.getnames()


def _still(text: str) -> str:
    for pattern, word in VOLATILE:
        text = pattern.sub(word, text)
    return text


def _settled(value: Any) -> Any:
    """JSON without what changes each time; the order of keys and rows is of no meaning."""
    if isinstance(value, dict):
        return {key: _settled(each) for key, each in value.items() if key not in OF_NO_USE}
    if isinstance(value, list):
        rows = [_settled(each) for each in value]
        return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))
    return _still(value) if isinstance(value, str) else value


def _tags(text: str) -> list[str]:
    """The elements of a document, and the attributes that are no name spaces.

    Of a catalog's entries their values as well, where these are not of the day.
    """
    found: list[str] = []
    for tag, attributes in re.findall(r"<([a-z]+:\w+)([^>]*)>", text):
        pairs = re.findall(r'(?<!xmlns:)\b([\w:]+)="([^"]*)"', attributes)
        if tag == "cat:entry":
            kept = [f"{x}={y}" if x in ("ID", "URI", "name", "digest") else x for x, y in pairs]
            found.append(" ".join([tag, *sorted(kept)]))
            continue
        names = [name for name, _ in pairs]
        found.append(" ".join([tag, *(x for x in names if x in ("ID", "label", "project"))]))
    return found
