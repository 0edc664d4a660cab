"""What config.yaml says about servers and limits: what an address cannot carry."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Self, overload
from urllib.parse import urlsplit

from seriesport.config.hours import Hours
from seriesport.errors import SeriesportError
from seriesport.model.address import DicomAddress, XnatAddress
from seriesport.model.identifiers import NO_AET, is_aet

if TYPE_CHECKING:
    from collections.abc import Mapping

MIB = 1024 * 1024
_CALLING_AET = "SERIESPORT_CALLING_AET"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What holds for every kind of server. Times in seconds."""

    name: str = field(kw_only=False)
    tls: Tls | None = None
    connect_timeout: float = 15.0
    timeout: float = 60.0
    """Longest silence of the peer."""
    wall_clock: float = 3600.0
    """Longest time for one retrieval or upload of a series, data flowing or not."""
    instances_per_second: float | None = None
    window: Hours | None = None
    """When it may be asked for series; None for always."""
    attempts: int = 3
    """How often a series is asked for before it is a failure."""
    backoff: float = 1.0
    """Wait before the second attempt; doubled for each further one."""
    configured: str = ""
    """The place that config.yaml has, where the environment gives another."""

    @property
    def at_once(self) -> int:
        """How many connections there may be at one time."""
        raise NotImplementedError

    def within(self, most: int) -> Self:
        """The same server with at most so many connections at one time."""
        raise NotImplementedError

    @property
    def place(self) -> str:
        """Where the server is by config.yaml: which one it is."""
        return self.configured or self._here

    @property
    def _here(self) -> str:
        raise NotImplementedError


def default_calling_aet() -> str:
    """Return the calling AE title where neither config.yaml nor an address has one.

    Raises:
        SeriesportError: config-invalid, where the environment has something that is none.
    """
    title = os.environ.get(_CALLING_AET, "SERIESPORT")
    if not is_aet(title):
        raise SeriesportError("config-invalid", f"the environment's {_CALLING_AET}: {NO_AET}")
    return title


@dataclass(frozen=True, slots=True)
class DicomServer(Server):
    """One DICOM archive: how to reach it, and what it can bear."""

    host: str
    port: int
    calling_aet: str = field(default_factory=default_calling_aet)
    """By default what the environment has as `SERIESPORT_CALLING_AET`, else `SERIESPORT`."""
    associations: int = 4
    """Most associations at one time."""

    @property
    def at_once(self) -> int:
        """The associations."""
        return self.associations

    def within(self, most: int) -> DicomServer:
        """See Server."""
        return replace(self, associations=min(self.associations, most))

    @property
    def _here(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class XnatServer(Server):
    """One XNAT: how to reach it, what it can bear, and what may be written to it.

    Raises:
        SeriesportError: config-invalid, where the URL would carry a password in clear text to
            another machine, or is none.
    """

    url: str
    """Scheme, host, port and context path, without a slash at its end."""
    connections: int = 4
    """Most requests at one time."""
    create: bool = True
    """Whether an upload may create subjects and experiments that are missing."""
    refresh_catalogs: bool = False
    """Whether the server may be asked to compute digests that it lacks, which writes there."""
    event_reason: str = ""
    """Reason that the server records with each change, where it demands one."""

    def __post_init__(self) -> None:
        problem = url_problem(self.url)
        if problem:
            raise SeriesportError("config-invalid", f"the URL of server {self.name} {problem}")
        object.__setattr__(self, "url", self.url.rstrip("/"))

    @property
    def at_once(self) -> int:
        """The connections."""
        return self.connections

    def within(self, most: int) -> XnatServer:
        """See Server."""
        return replace(self, connections=min(self.connections, most))

    @property
    def _here(self) -> str:
        return self.url


def url_problem(url: str) -> str | None:
    """What is wrong with the base URL of an XNAT; None where nothing is."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "has a host or a port that cannot be read"
    if parts.scheme not in ("http", "https") or not host or port == 0:
        return "is not of the form https://host:port/path"
    if parts.username is not None or parts.password is not None:
        return "has a user name or a password in it"
    if parts.query or parts.fragment or re.search(r"[\x00-\x20\x7f\\]", url):
        return "has more than scheme, host, port and path"
    if parts.scheme == "http" and not _is_loopback(host):
        return "must begin with https://, since a password goes there; http is for this machine"
    return None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


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
        >>> from seriesport.config.settings import DicomServer
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

    @overload
    def server(self, address: DicomAddress) -> DicomServer: ...

    @overload
    def server(self, address: XnatAddress) -> XnatServer: ...

    def server(self, address: DicomAddress | XnatAddress) -> DicomServer | XnatServer:
        """The server of an address: a name from the config, or a host and a port.

        The port of an XNAT may be left out: it is https:// then.

        Raises:
            SeriesportError: server-unknown, where there is neither, or where the config has a
                server of the other kind under this name.
        """
        kind = DicomServer if isinstance(address, DicomAddress) else XnatServer
        known = self.servers.get(address.server) if address.port is None else None
        if isinstance(known, kind):
            return known
        if known is not None:
            other = "xnat" if kind is DicomServer else "dicom"
            what = f"server {address.server!r} of the config is reached by {other}://"
            raise SeriesportError("server-unknown", what)
        if isinstance(address, XnatAddress):
            place = address.server if address.port is None else f"{address.server}:{address.port}"
            xnat = XnatServer(place, f"https://{place}")
            return xnat.within(self.unnamed or xnat.at_once)
        if address.port is None:
            names = ", ".join(sorted(self.servers)) or "none"
            what = (
                f"no server {address.server!r} in the config (it has: {names}), and no port given"
            )
            raise SeriesportError("server-unknown", what)
        archive = DicomServer(
            f"{address.server}:{address.port}",
            address.server,
            address.port,
            calling_aet=address.calling or default_calling_aet(),
        )
        return archive.within(self.unnamed or archive.at_once)
