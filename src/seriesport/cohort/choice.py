"""The one series that an address means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seriesport.cohort.resolve import kind, word
from seriesport.counts import counted
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seriesport.model.address import Address
    from seriesport.model.series import SeriesReference

_LISTED = 10


def check_scope(address: Address) -> None:
    """Refuse to look for one series in a whole archive.

    Raises:
        SeriesportError: ambiguous.
    """
    if address.is_unbounded:
        raise SeriesportError("ambiguous", "the address is a whole archive; add a patient or study")


def choose(
    references: Sequence[SeriesReference],
    address: Address,
    wanted: object = None,
    *,
    plain: bool = False,
    option: str = "opts={'series': number or UID}",
) -> SeriesReference | None:
    """Choose the one series that is meant; None where there is none, nor one that was asked for.

    Args:
        references: What was found below the address.
        address: As the user gave it.
        wanted: Series number or UID, where the address means several.
        plain: Prefer sets of plain files to DICOM.
        option: How the caller lets a user say `wanted`, for the message.

    Raises:
        SeriesportError: not-found, where none is the one wanted; ambiguous, with a list.
    """
    found = [r for r in references if r.plain == plain] or list(references)
    if wanted is not None:
        found = [r for r in found if str(wanted) in (r.series_number, r.series_instance_uid)]
        if not found:
            raise SeriesportError("not-found", "no series has this number or UID")
    if not found:
        return None
    if len(found) == 1:
        return found[0]
    rows = [
        f"series {word(r.series_number)} ({kind(r)}"
        + (")" if r.instances is None else f", {counted(r.instances, 'instance')})")
        for r in found[:_LISTED]
    ]
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    how = f"{address.advice}, or choose with {option}"
    problem = f"{len(found)} series are there: {'; '.join(rows)}{more}; {how}"
    raise SeriesportError("ambiguous", problem)
