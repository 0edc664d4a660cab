"""A request to an XNAT, and its body as the HTTP library wants it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

    from seriesport.model.instance import Payload


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of the server; it can be sent again."""

    method: str
    url: str
    params: Mapping[str, str] | None = None
    """Of the query, not encoded yet."""
    headers: Mapping[str, str] | None = None
    body: bytes | Payload | None = None

    @property
    def target(self) -> str:
        """The path and the query of what is asked for."""
        parts = urlsplit(self.url)
        queries = [part for part in (parts.query, urlencode(self.params or {})) if part]
        return "?".join([parts.path or "/", *(["&".join(queries)] if queries else [])])


class Body:
    """A payload's stream, read in larger pieces than the 16 kB that the library asks for."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        """The next piece; it may be longer than asked for."""
        return self._stream.read(max(size, _BLOCK) if size > 0 else size)


_BLOCK = 1 << 18
