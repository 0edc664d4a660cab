"""Which module serves which scheme. Each is imported only when it is needed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from seriesport.address import DicomAddress, FileAddress, XnatAddress, ZipAddress
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Callable

    from seriesport.address import Address
    from seriesport.settings import Settings
    from seriesport.transports.protocol import Transport

_TRANSPORTS: dict[type, tuple[str, str]] = {
    FileAddress: ("file", "FileTransport"),
    ZipAddress: ("zip", "ZipTransport"),
    DicomAddress: ("dicom", "DicomTransport"),
    XnatAddress: ("xnat", "XnatTransport"),
}


def open_transport(address: Address, settings: Settings) -> Transport:
    """The transport that serves an address; the caller closes it.

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
