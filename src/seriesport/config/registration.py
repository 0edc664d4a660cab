"""Registration of transports: the entry points by which a package offers one under a scheme.

    [project.entry-points."seriesport.transports"]
    memo = "memo:TRANSPORT"

`TRANSPORT` is a Registration. Seriesport's own transports are registered in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution, entry_points
from pkgutil import resolve_name
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from importlib.metadata import EntryPoint

    from seriesport.config.settings import Server, Settings
    from seriesport.model.address import Address
    from seriesport.transports.contract import Transport

_GROUP = "seriesport.transports"


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
    """Return the schemes that have a transport, Seriesport's own first."""
    return tuple(dict.fromkeys((*_own(), *_every())))


@cache
def registration(scheme: str) -> Registration | None:
    """Return the registration of a scheme; None where no transport has it.

    Another package cannot take one of Seriesport's own schemes.
    """
    found = _own().get(scheme) or _every().get(scheme)
    return cast("Registration", found.load()) if found else None


@cache
def _own() -> dict[str, EntryPoint]:
    """Return Seriesport's own, without a look at every other package that is installed."""
    return _by_scheme(distribution("seriesport").entry_points)


@cache
def _every() -> dict[str, EntryPoint]:
    return _by_scheme(entry_points(group=_GROUP))


def _by_scheme(found: Iterable[EntryPoint]) -> dict[str, EntryPoint]:
    return {one.name: one for one in found if one.group == _GROUP}
