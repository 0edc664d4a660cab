"""Settings of an XNAT: how to reach it, what it can bear, and what may be written to it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from seriesport.config.keys import Key
from seriesport.config.settings import Server
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seriesport.model.address import ServerAddress


@dataclass(frozen=True, slots=True)
class XnatServer(Server):
    """One XNAT.

    Raises:
        SeriesportError: config-invalid, where the URL would carry a password in clear text to
            another machine, or is none.
    """

    scheme: ClassVar[str] = "xnat"
    shares_a_series: ClassVar[bool] = True

    url: Annotated[
        str,
        Key(
            "Where an XNAT is, with its port and the path that it runs under, if it has them. Plain"
            " http is for a server on this machine alone.",
            "https://xnat.hospital.example:8443/xnat",
            {
                "pattern": r"^https?://[^\x00-\x20@?#]{1,2000}$",
                "x-expected": "a URL such as https://host:8443/xnat, without user name or password",
            },
        ),
    ]
    """Kept without a slash at its end."""
    connections: Annotated[
        int,
        Key(
            "The most requests to an XNAT at one time, over all jobs of a run together.",
            8,
            {"minimum": 1, "maximum": 64},
        ),
    ] = 4
    create: Annotated[
        bool,
        Key(
            "Whether an upload may create a subject or an experiment that the XNAT project lacks."
            " Projects are never created.",
            example=False,
        ),
    ] = True
    refresh_catalogs: Annotated[
        bool,
        Key(
            "Whether an XNAT that lists files without digests may be asked to compute them (it"
            " writes them into its catalogue). Otherwise, or where it cannot, sizes alone are"
            " compared.",
            example=True,
        ),
    ] = False
    event_reason: Annotated[
        str,
        Key(
            "The reason that is given with each change, for an XNAT that demands one. It is"
            " recorded there.",
            "import of study 1",
            {"minLength": 1, "maxLength": 255},
        ),
    ] = ""
    session: Any = field(default=None, repr=False)
    """Connected session of xnatpy to use instead of a log-in; it stays open."""

    def __post_init__(self) -> None:
        problem = url_problem(self.url)
        if problem:
            raise SeriesportError("config-invalid", f"the URL of server {self.name} {problem}")
        object.__setattr__(self, "url", self.url.rstrip("/"))

    @classmethod
    def unnamed(cls, address: ServerAddress) -> Self | None:
        """See Server. It is https://, also without a port."""
        return cls(address.authority, f"https://{address.authority}")

    @classmethod
    def problem(cls, values: Mapping[str, Any]) -> tuple[str, str] | None:
        """See Server."""
        problem = url_problem(values["url"])
        return ("url", problem) if problem else None

    def moved(self, place: str) -> Self:
        """See Server."""
        problem = url_problem(place)
        if problem:
            raise ValueError(problem)
        return replace(self, url=place, configured=self.place)

    @property
    def at_once(self) -> int:
        """The connections."""
        return self.connections

    def within(self, most: int) -> Self:
        """See Server."""
        return replace(self, connections=min(self.connections, most))

    @property
    def _here(self) -> str:
        return self.url


def url_problem(url: str) -> str | None:
    """Return what is wrong with the base URL of an XNAT; None where nothing is."""
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
