"""A request to an XNAT, and its body as the HTTP library wants it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

    from seriesport.instance import Payload


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of the server; it can be sent again."""

    method: str
    url: str
    params: Mapping[str, str] | None = None
    """Of the query, not encoded yet."""
    headers: Mapping[str, str] | None = None
    body: bytes | Payload | None = None


class Body:
    """A payload with its length: XNAT takes no chunked uploads."""

    def __init__(self, size: int, stream: BinaryIO) -> None:
        self._size = size
        self._stream = stream

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self._stream.read(_BLOCK):
            yield chunk

    def read(self, size: int = -1) -> bytes:
        """The next piece; larger than asked for, since the library asks for 16 kB at a time."""
        return self._stream.read(max(size, _BLOCK) if size > 0 else size)


_BLOCK = 1 << 18
