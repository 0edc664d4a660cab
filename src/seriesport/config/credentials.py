"""Who the user is to an XNAT: from the environment or a netrc file, never from config or URL."""

from __future__ import annotations

import netrc
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from seriesport.config.config_yaml import environment_name
from seriesport.errors import SeriesportError, unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seriesport.transports.xnat.server import XnatServer


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name and a password, or the two halves of an alias token."""

    user: str
    password: str = field(repr=False)


class NoCredentialsError(SeriesportError):
    """Nobody said who the user is: a guest, where the server has them."""


def find_credentials(server: XnatServer, environ: Mapping[str, str] | None = None) -> Credentials:
    """The first that there are: `SERIESPORT_USER_NAME` and `SERIESPORT_PASSWORD_NAME`, then netrc.

    In the netrc file (`NETRC`, else `~/.netrc`) host:port comes before the host alone. Its
    `default` entry is not used: it would send a password to a server that nobody named.

    Raises:
        SeriesportError: credentials-missing, credentials-exposed, file-unreadable.
    """
    env = os.environ if environ is None else environ
    names = [environment_name(server.name, what) for what in ("USER", "PASSWORD")]
    user, password = (env.get(name, "") for name in names)
    if user and password:
        return Credentials(user, password)
    if user or password:
        given, lacking = names if user else names[::-1]
        what = f"the environment has {given} without {lacking}"
        raise SeriesportError("credentials-missing", what)
    path = Path(env["NETRC"]) if env.get("NETRC") else _home(env) / ".netrc"
    found = _from_netrc(path, server)
    if found is None:
        what = f"{names[0]} and {names[1]} are not set, and {path} has no entry for the server"
        raise NoCredentialsError("credentials-missing", what)
    return found


def _home(env: Mapping[str, str]) -> Path:
    return Path(env["HOME"]) if env.get("HOME") else Path.home()


def _from_netrc(path: Path, server: XnatServer) -> Credentials | None:
    try:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            what = f"{path} can be read by others; run: chmod 0600 {path}"
            raise SeriesportError("credentials-exposed", what)
        found = netrc.netrc(path).hosts
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(error, str(path)) from None
    except UnicodeDecodeError:
        raise SeriesportError("credentials-missing", f"{path} is not in UTF-8") from None
    except netrc.NetrcParseError as error:  # its text may quote a password
        what = f"{path}, line {error.lineno}: not in the form of a netrc file"
        raise SeriesportError("credentials-missing", what) from None
    hosts = {name.lower(): entry for name, entry in found.items()}
    for name in _machines(server.url):
        if name in hosts:
            user, _, password = hosts[name]
            if not user or not password:
                what = f"the server's entry in {path} has no login or no password"
                raise SeriesportError("credentials-missing", what)
            return Credentials(user, password)
    return None


def _machines(url: str) -> tuple[str, ...]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}", host)
