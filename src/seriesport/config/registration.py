"""Registration of transports: what a transport's package says of it under a scheme."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pkgutil import resolve_name
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from seriesport.config.settings import Server, Settings
    from seriesport.model.address import Address
    from seriesport.transports.contract import Transport

_OWN = {
    "file": "seriesport.transports.file:TRANSPORT",
    "zip": "seriesport.transports.zip:TRANSPORT",
    "dicom": "seriesport.transports.archive:TRANSPORT",
    "xnat": "seriesport.transports.xnat:TRANSPORT",
}


@dataclass(frozen=True, slots=True)
class Registration:
    """A transport of one scheme."""

    parse: Callable[[str, int], Address]
    """Reads what follows `scheme://` in an address, given where that begins in the text."""
    transport: str
    """The class of its transports as `module:Class`, which is imported when one is opened."""
    server: type[Server] | None = None
    """Settings of its servers; None where there are no servers."""

    def open(self, address: Address, settings: Settings) -> Transport:
        """Open a transport for an address."""
        opener = cast("Callable[[Address, Settings], Transport]", resolve_name(self.transport))
        return opener(address, settings)


def schemes() -> tuple[str, ...]:
    """Return the schemes that have a transport."""
    return tuple(_OWN)


@cache
def registration(scheme: str) -> Registration | None:
    """Return the registration of a scheme; None where no transport has it."""
    return cast("Registration", resolve_name(_OWN[scheme])) if scheme in _OWN else None
