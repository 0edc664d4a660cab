"""Receipts on disk: what was delivered where, and how far that is proven. No identifiers."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seriesport.model.series import Receipt
    from seriesport.workflow.records import Record

_FORMAT = 1
_CLOCKS = 3600.0
"""Seconds by which the clocks of two machines may differ."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One series at one destination."""

    destination: str
    """Keyed hash of the destination's address, and of the host and port of its server."""
    kind: str
    """Scheme of the destination."""
    content: str
    """`dicom` or the format, and the SHA-256 of what was delivered: another content is delivered
    anew."""
    expected: int
    delivered: int
    items: Sequence[dict[str, Any]]
    """Per instance or file: its name with us, proof, reason code, detail. Whether this run sent it
    or an earlier one is not said, so that a run that was killed ends with the same receipts."""

    @property
    def complete(self) -> bool:
        """Whether everything is there."""
        return self.delivered == self.expected

    @property
    def codes(self) -> list[str]:
        """Reason codes of what did not arrive."""
        return [row["code"] for row in self.items if row["code"]]


def delivery(
    destination: str, kind: str, content: str, receipt: Receipt, names: Sequence[str]
) -> Delivery:
    """A receipt without identifiers: what was delivered goes by the names it has with us."""
    rows = [
        {"name": name, "proof": entry.proof, "code": entry.code, "detail": entry.detail}
        for name, entry in zip(names, receipt.entries, strict=True)
    ]
    delivered = sum(entry.arrived for entry in receipt.entries)
    return Delivery(destination, kind, content, len(rows), delivered, rows)


def deliveries(record: Record) -> dict[tuple[str, str], Delivery]:
    """The complete deliveries of a series, by destination and content; empty without any."""
    try:
        if record["format"] != _FORMAT:
            return {}
        found = [Delivery(**row) for row in record["deliveries"]]
    except (KeyError, TypeError):
        return {}
    return {(d.destination, d.content): d for d in found if d.complete}


def receipts(delivered: Sequence[Delivery]) -> Record:
    """The record of a series' deliveries."""
    return {"format": _FORMAT, "deliveries": [asdict(d) for d in delivered]}


def is_since(seen: object, moment: float) -> bool:
    """Return True if a delivery was seen at a moment, in seconds since 1970, or after it.

    `seen` is the time that a record has, in the form of ISO 8601. Anything else is never, and so
    is a time to come: a clock was wrong.
    """
    try:
        return moment <= datetime.fromisoformat(str(seen)).timestamp() <= time.time() + _CLOCKS
    except (ValueError, OverflowError):
        return False
