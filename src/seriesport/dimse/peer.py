"""The other end of an association, as the requestor has to know it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from seriesport.config.settings import Tls


class Peer(Protocol):
    """An archive to connect to."""

    @property
    def host(self) -> str:
        """Host name or IP address."""
        ...

    @property
    def port(self) -> int:
        """TCP port."""
        ...

    @property
    def calling_aet(self) -> str:
        """AE title of this end."""
        ...

    @property
    def tls(self) -> Tls | None:
        """TLS of the connection; None for a plain one."""
        ...

    @property
    def connect_timeout(self) -> float:
        """Longest wait for a connection, in seconds."""
        ...

    @property
    def timeout(self) -> float:
        """Longest silence of the peer, in seconds."""
        ...
