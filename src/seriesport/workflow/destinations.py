"""Destinations, before anything is fetched for them: a typo must not show hours later."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seriesport.config.hours import is_closed
from seriesport.errors import SeriesportError
from seriesport.transports.registry import open_transport, parse, server_of
from seriesport.transports.served import REFUSALS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seriesport.cohort import Entry
    from seriesport.cohort.plan import Plan
    from seriesport.config.schema import Problems
    from seriesport.config.settings import Settings
    from seriesport.model.address import Address

_log = logging.getLogger("seriesport")


@dataclass(slots=True)
class _Use:
    """Where in the cohort a destination stands first."""

    address: Address
    line: int
    number: int
    """Among the destinations of that line's entry, from 1."""
    entries: int = 0

    def __str__(self) -> str:
        more = f" (in {self.entries} entries)" if self.entries > 1 else ""
        return f"destination {self.number}{more}"


def check_destinations(
    entries: Iterable[Entry], settings: Settings, previous: Plan | None, problems: Problems
) -> None:
    """Check each folder, ZIP, archive and XNAT project that entries name as a destination, once.

    One that an earlier plan has may be out of reach for a while: that is said, and no problem.
    A server is not asked outside of its `window`.

    Args:
        entries: Of the cohort.
        settings: Of the servers.
        previous: The earlier plan.
        problems: Takes what is wrong, with a line of the cohort file for each destination.

    Raises:
        SeriesportError: what is wrong, with the code of the first problem.
    """
    urls = {url for row in previous.series for url in row.destinations} if previous else set[str]()
    known = {parse(url).root.identity for url in urls}
    first = ""
    for place, use in _uses(entries).items():
        try:
            _check(use.address, settings)
        except SeriesportError as error:
            if error.code in REFUSALS or (error.transient and place.identity in known):
                _warn(f"cohort line {use.line}: {use} is out of reach now: {error}")
                continue
            first = first or error.code
            told = error.message if error.code == first else str(error)
            problems.add(error.code, use.line, f"{use}: {told}")
    problems.check()


def _warn(text: str) -> None:
    _log.warning(text)
    print(f"seriesport: {text}", file=sys.stderr)  # noqa: T201 - the person at the terminal


def _uses(entries: Iterable[Entry]) -> dict[Address, _Use]:
    """The places to check, by where they first stand; entries that repeat are counted."""
    uses: dict[Address, _Use] = {}
    places: dict[Address, Address] = {}
    for entry in entries:
        for number, address in enumerate(entry.destinations, 1):
            place = places.get(address) or places.setdefault(address, address.root)
            uses.setdefault(place, _Use(address, entry.line, number)).entries += 1
    return uses


def _check(address: Address, settings: Settings) -> None:
    server = server_of(address, settings)
    if server is not None and is_closed(server.window):
        _log.info("server %s is not asked outside of its window", server.name)
        return
    with open_transport(address.root, settings) as transport:
        transport.check_destination(address)
