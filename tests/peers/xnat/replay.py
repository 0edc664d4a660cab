"""Sends the requests that were recorded on a real XNAT 1.6.4, and compares the answers.

`recorded/exchanges.jsonl` begins on a server with a project P1; `recorded/permissions.jsonl` goes
on where it ends, as user `viewer`, who becomes a collaborator on the way.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import re
import tarfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

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
PASSWORDS = {"admin": "admin", "viewer": "viewer", "wrong password": "nope"}


@dataclass
class Answer:
    """What came back."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class Player:
    """Plays recorded requests, each user with cookies of its own."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._context = parts.netloc, parts.path
        self._cookies: dict[str, str] = {}
        self._stamps: list[str] = []

    def play(self, file: str) -> Iterator[tuple[dict[str, Any], Answer]]:
        """Every recorded exchange with the answer of today."""
        for line in (RECORDED / file).read_text().splitlines():
            exchange = json.loads(line)
            answer = self._send(exchange)
            if exchange["label"] == "prearchive: list":
                self._stamps = STAMP.findall(answer.body.decode())
            yield exchange, answer

    def _send(self, exchange: dict[str, Any]) -> Answer:
        who, headers = exchange["as"], dict(exchange.get("request_headers", {}))
        if who in PASSWORDS:
            user = "admin" if who == "wrong password" else who
            pair = f"{user}:{PASSWORDS[who]}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        if who in self._cookies:
            headers["Cookie"] = self._cookies[who]
        body = exchange.get("request", "").encode()
        body = body or base64.b64decode(exchange.get("request_base64", ""))
        path = exchange["path"]
        if self._stamps and "XNAT_E" not in path:
            path = STAMP.sub(self._stamps[0], path)
            body = STAMP.sub(self._stamps[0], body.decode("latin-1")).encode("latin-1")
        connection = http.client.HTTPConnection(self._host, timeout=30)
        try:
            connection.request(
                exchange["method"], self._context + path, body, {"Accept": "*/*", **headers}
            )
            reply = connection.getresponse()
            for text in reply.headers.get_all("Set-Cookie", []):
                if text.startswith("JSESSIONID") and who != "wrong password":
                    self._cookies[who] = text.partition(";")[0]
            return Answer(reply.status, reply.read(), dict(reply.headers))
        finally:
            connection.close()


def differences(exchange: dict[str, Any], answer: Answer) -> list[str]:
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
    given, recorded = _content(exchange, answer)
    if given != recorded:
        found.append(f"body\n  {given}\n  recorded\n  {recorded}")
    return found


def _content(exchange: dict[str, Any], answer: Answer) -> tuple[Any, Any]:
    """What the answer says, and what the recorded one said, without what changes each time."""
    if "bytes" in exchange:
        return len(answer.body), exchange["bytes"]
    if "members" in exchange:
        return sorted(_members(answer.body)), sorted(exchange["members"])
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
        return _tags(text), _tags(recorded)
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
    """The elements of a document, and the attributes that are no name spaces."""
    found: list[str] = []
    for tag, attributes in re.findall(r"<([a-z]+:\w+)([^>]*)>", text):
        names = re.findall(r'(?<!xmlns:)\b([\w:]+)="', attributes)
        found.append(" ".join([tag, *(x for x in names if x in ("ID", "label", "project"))]))
    return found
