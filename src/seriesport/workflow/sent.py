"""What a destination got from us, so that it can be taken back. No identifiers.

It is on record before the first of it is sent: what a destination had before is never in it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from seriesport.workflow.records import Record


@dataclass(frozen=True, slots=True)
class Sent:
    """What one destination got of one series in one format."""

    destination: str
    """As in Delivery."""
    kind: str
    """Scheme of the destination."""
    form: str
    """`dicom` or the format."""
    names: Sequence[str]
    """Names of files other than instances."""
    sha256: Sequence[str]
    """Of each data set, or file, in hexadecimal."""

    @property
    def place(self) -> tuple[str, str]:
        """Destination and format."""
        return self.destination, self.form


def sent_of(record: Record) -> list[Sent]:
    """Read what was sent of a series, from its record and in a stable order."""
    try:
        return [Sent(**row) for row in record["sent"]]
    except (KeyError, TypeError):
        return []


def record_sent(sent: Iterable[Sent]) -> Record:
    """Return the record of what was sent of a series; several of one place are joined."""
    found: dict[tuple[str, str], Sent] = {}
    for one in sent:
        known = found.get(one.place)
        found[one.place] = replace(
            one,
            names=sorted({*one.names, *(known.names if known else ())}),
            sha256=sorted({*one.sha256, *(known.sha256 if known else ())}),
        )
    return {"sent": [asdict(found[place]) for place in sorted(found)]}
