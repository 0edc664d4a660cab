"""Registry: from the text of an address to the transport and the server behind it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from seriesport.config.registration import Registration, registration, schemes
from seriesport.errors import SeriesportError
from seriesport.model.address import Address, ServerAddress, invalid
from seriesport.transports.file.address import of_path, parse_path
from seriesport.transports.served import serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from seriesport.config.settings import Server, Settings
    from seriesport.transports.contract import Transport

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SLIP = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*):")


def parse(text: str) -> Address:
    """Read an address.

    A plain path is taken as it stands, without percent-encoding, relative to the working
    directory; what exists under it wins over any reading of `?` in it. In a URL every part is
    percent-encoded UTF-8.

    Raises:
        SeriesportError: address-invalid, naming the part and the character where it went wrong.
    """
    if not text:
        raise invalid("it is empty", 0)
    if "\0" in text:
        raise invalid("it contains a NUL character", text.index("\0"))
    match = _SCHEME.match(text)
    if match is None:
        return _plain_path(text)
    scheme = match[1].lower()
    found = registration(scheme)
    if found is None:
        *others, last = (f"{known}://" for known in schemes())
        known = f"a path, {', '.join(others)} or {last}"
        raise invalid(f"the scheme {scheme!r} is unknown; use {known}", 0)
    return found.parse(text[match.end() :], match.end())


def _plain_path(text: str) -> Address:
    slip = _SLIP.match(text)
    scheme = slip[1].lower() if slip and not Path(text).exists() else ""
    if scheme and registration(scheme) is not None:
        raise invalid(f"write {scheme}:// with two slashes, and nothing before it", 0)
    return parse_path(text)


def path_address(path: Path) -> Address:
    """Return the address of a path, which is taken as it stands."""
    return of_path(path.absolute())


def open_transport(
    address: Address, settings: Settings, seen: Callable[[int], None] | None = None
) -> Transport:
    """Open the transport that serves an address, bound to its server's settings.

    The caller closes it. `seen` is called with the size of each instance that passes.

        >>> from seriesport import Settings, open_transport
        >>> from seriesport.transports.registry import parse
        >>> folder = parse("images/1")
        >>> with open_transport(folder, Settings()) as transport:
        ...     series = transport.find(folder)[0]
        ...     expected = transport.expect(series)
        >>> sorted(one.instance_number or 0 for one in expected.values())
        [1, 2, 3, 4, 5]

    A transport moves the instances of a series and proves nothing by itself: `fetch`, `copy` and
    `Series` do that.

    Raises:
        SeriesportError: scheme-unsupported, or what the transport raises when it is opened.
    """
    opened = _registered(address).open(address, settings)
    return serve(opened, server_of(address, settings), seen)


def server_of(address: Address, settings: Settings) -> Server | None:
    """Return the server that an address names; None for files.

    Raises:
        SeriesportError: see `Settings.server`.
    """
    kind = _registered(address).server
    if kind is None or not isinstance(address, ServerAddress):
        return None
    return settings.server(address, kind)


def _registered(address: Address) -> Registration:
    found = registration(address.scheme)
    if found is None:
        problem = f"no transport serves {address.scheme}:// addresses"
        raise SeriesportError("scheme-unsupported", problem)
    return found
