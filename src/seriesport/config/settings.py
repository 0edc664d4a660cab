"""What config.yaml says about servers and limits: what an address cannot carry."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeVar

from seriesport.config.hours import Hours
from seriesport.config.keys import Key
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seriesport.model.address import ServerAddress

MIB = 1024 * 1024
_Server = TypeVar("_Server", bound="Server")


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS of one server. The peer is always verified, host name included."""

    ca: Annotated[
        Path | None,
        Key(
            "PEM file of the authorities to trust instead of the system's.",
            "/etc/ssl/hospital.pem",
            {"minLength": 1},
        ),
    ] = None
    certificate: Annotated[
        Path | None,
        Key(
            "PEM file of the client certificate, where the server wants one.",
            "/home/me/research1.pem",
            {"minLength": 1},
        ),
    ] = None
    key: Annotated[
        Path | None,
        Key(
            "PEM file of the client certificate's private key, where it is not in the same file.",
            "/home/me/research1.key",
            {"minLength": 1},
        ),
    ] = None
    server_name: Annotated[
        str | None,
        Key(
            "The name that the server's certificate carries, where it is not the host.",
            "pacs.hospital.example",
            {"minLength": 1},
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Settings of a server of any kind.

    A transport's kind adds fields of its own; those with a Key are what config.yaml may say.
    """

    scheme: ClassVar[str] = ""
    """The scheme of the addresses that name such a server."""
    shares_a_series: ClassVar[bool] = False
    """True where one series moves over several connections."""

    name: str = field(kw_only=False)
    tls: Annotated[
        Tls | None,
        Key(
            "Makes the connection to an archive a TLS one; without it, it is plain. An XNAT's is"
            " one by its url. The server's certificate is always verified. Empty braces take the"
            " system's authorities and the host's own name.",
            {"ca": "/etc/ssl/hospital.pem"},
        ),
    ] = None
    connect_timeout: Annotated[
        float,
        Key("Seconds to wait for a connection.", 5, {"exclusiveMinimum": 0, "maximum": 3600}),
    ] = 15.0
    timeout: Annotated[
        float,
        Key(
            "Seconds that the server may be silent.",
            300,
            {"exclusiveMinimum": 0, "maximum": 86400},
        ),
    ] = 60.0
    wall_clock: Annotated[
        float,
        Key(
            "Seconds that the retrieval or upload of one series may take, data flowing or not.",
            7200,
            {"exclusiveMinimum": 0, "maximum": 604800},
        ),
    ] = 3600.0
    instances_per_second: Annotated[
        float | None,
        Key(
            "The most instances a second, over all jobs of a run together. Without it, no limit.",
            50,
            {"exclusiveMinimum": 0},
        ),
    ] = None
    window: Annotated[
        Hours | None,
        Key(
            "The hours in which series may be fetched from this server, by the clock of the machine"
            " that fetches. Outside of them a run waits. A series that was begun is finished."
            " Without it, always.",
            "19:00-06:00",
            {
                "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$",
                "x-expected": 'two times of the day, as in "19:00-06:00"',
            },
        ),
    ] = None
    attempts: Annotated[
        int,
        Key(
            "How often a series is asked for before it counts as failed.",
            5,
            {"minimum": 1, "maximum": 100},
        ),
    ] = 3
    backoff: Annotated[
        float,
        Key(
            "Seconds to wait before the second attempt; doubled before each further one.",
            10,
            {"minimum": 0, "maximum": 3600},
        ),
    ] = 1.0
    configured: str = ""
    """The place that config.yaml has, where the environment gives another."""

    @classmethod
    def unnamed(cls, address: ServerAddress) -> Self | None:
        """Return the server of an address by its host and port; None where that is not enough."""
        raise NotImplementedError

    @classmethod
    def problem(cls, values: Mapping[str, Any]) -> tuple[str, str] | None:
        """Return a key of config.yaml and what is wrong with it beyond its schema, if anything."""
        del values
        return None

    def moved(self, place: str) -> Self:
        """Return the server at the place that the environment gives.

        Raises:
            ValueError: the place has another form; the text says which.
        """
        raise NotImplementedError

    @property
    def at_once(self) -> int:
        """Most connections at one time."""
        return 4

    def within(self, most: int) -> Self:
        """Return the same server with at most so many connections at one time."""
        raise NotImplementedError

    @property
    def place(self) -> str:
        """Place of the server by config.yaml, which tells it from others."""
        return self.configured or self._here

    @property
    def _here(self) -> str:
        raise NotImplementedError


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
    """Everything that a transport may need beside an address: servers and limits.

    An address names a server by its key here. All else has the default that config/README.md
    states.

        >>> from seriesport import Settings
        >>> from seriesport.transports.archive.server import DicomServer
        >>> pacs = DicomServer("pacs", "pacs.hospital.example", 104, associations=2)
        >>> settings = Settings({"pacs": pacs})
        >>> settings.servers["pacs"].at_once
        2

    `load_config(Path("config/config.yaml")).settings`, of `seriesport.config.config_yaml`, reads
    them from a file.
    """

    servers: Mapping[str, Server] = field(default_factory=lambda: MappingProxyType({}))
    zip_limits: ZipLimits = ZipLimits()
    unnamed: int | None = None
    """Most connections at one time to the servers that addresses name by host and port."""
    withheld: frozenset[str] = frozenset()
    """Servers that Snakemake granted this job no connection to, by their names in a plan."""

    def server(self, address: ServerAddress, kind: type[_Server]) -> _Server:
        """Return the server of an address: a name from the config, or a host and a port.

        Args:
            address: On a server.
            kind: The settings of such servers.

        Raises:
            SeriesportError: server-unknown, where there is neither, or where the config has a
                server of another kind under this name.
        """
        known = self.servers.get(address.server) if address.port is None else None
        if isinstance(known, kind):
            return known
        if known is not None:
            what = f"server {address.server!r} of the config is reached by {known.scheme}://"
            raise SeriesportError("server-unknown", what)
        unnamed = kind.unnamed(address)
        if unnamed is None:
            names = ", ".join(sorted(self.servers)) or "none"
            what = (
                f"no server {address.server!r} in the config (it has: {names}), and no port given"
            )
            raise SeriesportError("server-unknown", what)
        return unnamed.within(self.unnamed or unnamed.at_once)
