"""A request to an XNAT, and its body as the HTTP library wants it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import ExitStack
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
        """The URL with its query."""
        query = urlencode(self.params or {})
        mark = "&" if "?" in self.url else "?"
        return f"{self.url}{mark}{query}" if query else self.url

    def opened(self, stack: ExitStack) -> Any:
        """Open the body for one sending of the request."""
        if isinstance(self.body, bytes | None):
            return self.body
        return Body(stack.enter_context(self.body.open()))


class Body:
    """A payload's stream, read in larger pieces than the 16 kB that the library asks for."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        """The next piece; it may be longer than asked for."""
        return self._stream.read(max(size, _BLOCK) if size > 0 else size)


_BLOCK = 1 << 18
