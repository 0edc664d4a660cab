"""Progress of a transfer, for whoever shows it to a person."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seriesport.errors import SeriesportError
    from seriesport.model.series import SeriesReference
    from seriesport.transfer.copy import Copied

_log = logging.getLogger("seriesport")


class Watch:
    """Told how a transfer goes. Override what you want to show; several threads call it."""

    def passed_over(self, error: SeriesportError) -> None:
        """Report a file below the address that belongs to no series; by default in the log."""
        _log.warning("passed over %s [%s]", error.message, error.code)

    def failed(self, error: SeriesportError) -> None:
        """Report what may be missing from the series that were found; by default raise it."""
        raise error

    def found(self, series: Sequence[SeriesReference]) -> None:
        """Receive the series to copy, before the first is fetched."""

    def moved(self, size: int) -> None:
        """Count an instance of `size` bytes that was fetched, or that is being stored."""

    def told(self, state: str, instances: int) -> None:
        """Receive a line about the progress, and how many instances have arrived for certain."""

    def copied(self, one: Copied) -> None:
        """Receive a series that arrived, whole and proven."""
