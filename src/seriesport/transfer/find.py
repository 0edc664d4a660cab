"""Find the series below an address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seriesport.errors import SeriesportError
from seriesport.model.series import Harm
from seriesport.privacy import reasoned
from seriesport.transfer.watch import Watch
from seriesport.transports.given import address_of, settings_for
from seriesport.transports.registry import open_transport

if TYPE_CHECKING:
    from pathlib import Path

    from seriesport.config.settings import Settings
    from seriesport.model.address import Address
    from seriesport.model.series import SeriesReference
    from seriesport.transports.contract import Transport

NOTHING = "no series below this address"


@reasoned()
def find(
    address: str | Path | Address, settings: Settings | None = None, *, watch: Watch | None = None
) -> list[SeriesReference]:
    """Find the series below an address.

    A reference names a series by its identifiers and its full address, and can be given to
    `fetch` and `Series`. It is as private as the patient.

        >>> from seriesport import Series, find
        >>> for series in find("images"):
        ...     print(series.modality, series.series_number, series.instances)
        CT 1 5
        MR 2 6
        >>> Series(find("images")[0]).shape
        (5, 64, 64)

    Args:
        address: A path, or an address such as `dicom://pacs/ARCHIVE/0012345`.
        settings: Servers and limits; by default those of `config/config.yaml` in the working
            directory.
        watch: Told of files that belong to no series, and of what may be missing from the list.

    Returns:
        At least one reference, in a stable order.

    Raises:
        SeriesportError: not-found, where there is no series; address-invalid; server-unknown;
            what keeps the source from being listed, wholly or in part.
    """
    watch, place = watch or Watch(), address_of(address)
    with open_transport(place.root, settings_for([place], settings)) as transport:
        found, failures = look(transport, place, watch)
    for error in failures:
        watch.failed(error)
    return found


def look(
    transport: Transport, address: Address, watch: Watch
) -> tuple[list[SeriesReference], list[SeriesportError]]:
    """Return the series below an address, and what may be a part of them and was left out.

    Raises:
        SeriesportError: not-found, where there are none; why, where they cannot be listed.
    """
    found, failures = transport.find(address), left_out(transport, watch)
    if not found:
        raise failures[0] if failures else SeriesportError("not-found", NOTHING)
    return found, failures


def left_out(transport: Transport, watch: Watch) -> list[SeriesportError]:
    """Report what the last search passed over; return what a series may lack for that."""
    every = transport.left_out()
    for one in every:
        if one.harm is Harm.NONE:
            watch.passed_over(one.error)
    return [one.error for one in every if one.harm is not Harm.NONE]
