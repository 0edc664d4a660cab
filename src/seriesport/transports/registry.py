"""Which transport serves which address: a line per scheme."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from seriesport.address import DicomAddress, FileAddress, ZipAddress
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Callable

    from seriesport.address import Address
    from seriesport.settings import Settings
    from seriesport.transports.protocol import Transport

_TRANSPORTS = {
    FileAddress: ("file", "FileTransport"),
    ZipAddress: ("zip", "ZipTransport"),
    DicomAddress: ("dicom", "DicomTransport"),
}


def open_transport(address: Address, settings: Settings) -> Transport:
    """The transport for an address. Nothing is connected before its first use.

    Raises:
        SeriesportError: scheme-unsupported, server-unknown.
    """
    if type(address) not in _TRANSPORTS:
        scheme = address.url.partition(":")[0]
        raise SeriesportError("scheme-unsupported", f"no transport serves {scheme}:// addresses")
    module, name = _TRANSPORTS[type(address)]
    # Imported when needed: a folder does not need the network's libraries.
    transport = getattr(import_module(f"seriesport.transports.{module}"), name)
    return cast("Callable[[Address, Settings], Transport]", transport)(address, settings)
