"""What config.yaml says about servers and limits: what an address cannot carry."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Mapping

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS of one server. The peer is always verified, host name included."""

    ca: Path | None = None
    """PEM file of the authorities to trust instead of the system's."""
    certificate: Path | None = None
    """PEM file of the client certificate, where the server wants one."""
    key: Path | None = None
    """PEM file of the client's private key."""
    server_name: str | None = None
    """Name that the server's certificate carries, where it is not the host."""


@dataclass(frozen=True, slots=True)
class Server:
    """One DICOM archive: how to reach it, and what it can bear. Times in seconds."""

    name: str
    host: str
    port: int
    calling_aet: str = "SERIESPORT"
    tls: Tls | None = None
    associations: int = 4
    """Most associations at one time."""
    connect_timeout: float = 15.0
    timeout: float = 60.0
    """Longest silence of the peer within an association."""
    wall_clock: float = 3600.0
    """Longest time for one retrieval or upload of a series, data flowing or not."""
    instances_per_second: float | None = None
    attempts: int = 3
    """How often a series is asked for before it is a failure."""
    backoff: float = 1.0
    """Wait before the second attempt; doubled for each further one."""
    configured: str = ""
    """Host and port that config.yaml has, where the environment gives others."""

    @property
    def place(self) -> str:
        """Host and port by config.yaml: which archive this is."""
        return self.configured or f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ZipLimits:
    """What a ZIP may hold before it is taken for a bomb."""

    members: int = 1_000_000
    bytes: int = 1024 * 1024 * MIB
    """Sum of the members' expanded sizes."""
    member_bytes: int = 8 * 1024 * MIB
    ratio: float = 200.0
    """Expanded to compressed size of any member above 1 MiB."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a transport may need beside an address."""

    servers: Mapping[str, Server] = field(default_factory=lambda: MappingProxyType({}))
    zip_limits: ZipLimits = ZipLimits()

    def server(self, name: str, port: int | None) -> Server:
        """The server of an address: a name from the config, or a host and a port.

        Raises:
            SeriesportError: server-unknown, where there is neither.
        """
        if name in self.servers and port is None:
            return self.servers[name]
        if port is None:
            known = ", ".join(sorted(self.servers)) or "none"
            what = f"no server {name!r} in the config (it has: {known}), and no port given"
            raise SeriesportError("server-unknown", what)
        return Server(name=f"{name}:{port}", host=name, port=port)
