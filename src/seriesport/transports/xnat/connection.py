"""The session of xnatpy at an XNAT: our own over a link of ours, or one that a user has."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from xnat.session import XNATSession

from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from requests import Session

    from seriesport.transports.xnat.server import XnatServer


class Connection(XNATSession):
    """xnatpy's session over a link of ours, once the server has let us in.

    `xnat.connect` would log in over a session that it makes itself: it takes proxies and
    authorities from the environment, knows no authority of a server's own, sends the password on
    to where a redirect points, waits as long as a server drips, and takes a busy server for a
    refused password.
    """

    request_timeout: Any

    @classmethod
    def over(cls, link: Session, url: str, session_id: str) -> Connection:
        """Make the session of xnatpy that has this ID, over the link that got it."""
        made: Any = cls
        return made(server=url, logger=_Silent("xnat"), interface=link, jsession=session_id)

    def connect(self, server: Any = None, user: Any = None, password: Any = None) -> None:
        """Start no heartbeat: an ended session is renewed, and the thread dies at an error."""

    def __del__(self) -> None:
        """Send nothing when the garbage is collected."""


class _Silent(logging.Logger):
    """A logger that nobody hears: xnatpy's lines have URLs. It has the level that xnatpy adds."""

    def verbose(self, *words: object) -> None:
        """Drop a line."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's name
        """No level is."""
        del level
        return False


def cookies_of(given: Any, server: XnatServer) -> str:
    """Return the cookies by which a server knows a connected session of xnatpy.

    Raises:
        SeriesportError: config-invalid, where it is with another server; credentials-missing,
            where it is not connected.
    """
    cookies = dict(given.interface.cookies.items()) if given.interface else {}
    if given.jsession:
        cookies["JSESSIONID"] = given.jsession
    if not given.interface or "JSESSIONID" not in cookies:
        raise SeriesportError("credentials-missing", "the session of xnatpy is not connected")
    if urlsplit(given.server)[:2] != urlsplit(server.url)[:2]:
        what = f"the session of xnatpy for server {server.name} is with another server"
        raise SeriesportError("config-invalid", what)
    return cookie_header(cookies)


def cookie_header(cookies: Mapping[str, str]) -> str:
    """Return what sends cookies back: the session, and what a load balancer goes by."""
    named = {name: value for name, value in cookies.items() if name != "SESSION_EXPIRATION_TIME"}
    return "; ".join(f"{name}={value}" for name, value in named.items())
