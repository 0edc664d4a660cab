"""A plain client for tests: one connection, one user, no retries."""

from __future__ import annotations

import base64
import http.client
import json
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl


class Talk:
    """Asks a server over one connection, as a user (basic authentication) or as nobody."""

    def __init__(
        self, url: str, user: str = "admin", password: str = "", tls: ssl.SSLContext | None = None
    ) -> None:
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else None
        host, port = str(parts.hostname), parts.port
        if kind is not None:
            self._connection: http.client.HTTPConnection = kind(host, port, timeout=30, context=tls)
        else:
            self._connection = http.client.HTTPConnection(host, port, timeout=30)
        self._context = parts.path
        self._user, self._password = user, password or user
        self.cookie = ""
        self.headers: dict[str, str] = {}

    def __call__(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes]:
        """Status and body of the answer; its headers stay in `headers`."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookie:
            sent["Cookie"] = self.cookie
        elif self._user:
            pair = f"{self._user}:{self._password}".encode()
            sent["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        try:
            self._connection.request(method, self._context + path, body, sent)
            answer = self._connection.getresponse()
            self.headers = dict(answer.headers)
            for text in answer.headers.get_all("Set-Cookie", []):
                if text.startswith("JSESSIONID="):
                    self.cookie = text.partition(";")[0]
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        return answer.status, content

    def rows(self, path: str) -> list[dict[str, Any]]:
        """The rows of a list."""
        status, body = self("GET", f"{path}{'&' if '?' in path else '?'}format=json")
        assert status == 200, (status, body[:200])
        return json.loads(body)["ResultSet"]["Result"]

    def names(self, path: str) -> list[str]:
        """The names of the files in a list, in order of name."""
        return sorted(row["Name"] for row in self.rows(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
