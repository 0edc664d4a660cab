"""Which module serves which scheme. Each is imported only when it is needed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from seriesport.errors import SeriesportError
from seriesport.model.address import DicomAddress, FileAddress, XnatAddress, ZipAddress

if TYPE_CHECKING:
    from collections.abc import Callable

    from seriesport.config.settings import Settings
    from seriesport.model.address import Address
    from seriesport.transports.contract import Transport

_TRANSPORTS: dict[type, tuple[str, str]] = {
    FileAddress: ("file.transport", "FileTransport"),
    ZipAddress: ("zip.transport", "ZipTransport"),
    DicomAddress: ("archive.transport", "DicomTransport"),
    XnatAddress: ("xnat.transport", "XnatTransport"),
}


def open_transport(address: Address, settings: Settings) -> Transport:
    """Open the transport that serves an address; the caller closes it.

        >>> from seriesport import Settings, open_transport
        >>> from seriesport.model.address import parse
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
    try:
        module, name = _TRANSPORTS[type(address)]
    except KeyError:
        scheme = address.url.partition(":")[0]
        problem = f"no transport serves {scheme}:// addresses"
        raise SeriesportError("scheme-unsupported", problem) from None
    opener = getattr(import_module(f"seriesport.transports.{module}"), name)
    return cast("Callable[[Address, Settings], Transport]", opener)(address, settings)
