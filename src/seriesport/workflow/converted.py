"""Files that were converted from a series, and their record; imports no arrays."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seriesport.workflow.records import Record

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Output:
    """One file that was made."""

    name: str
    format: str
    size: int
    sha256: str
    software: str = "seriesport"
    """The program that wrote it."""


Made = dict[str, list[Output]]
"""Outputs by format; an empty list where the series holds nothing that the format can show."""


def made_of(record: Record, content: str, input_order: str | None = None) -> Made:
    """What was made of a series, by its record; empty where nothing was.

    Args:
        record: Of the series.
        content: Of what it must have been made from.
        input_order: By which it must have been made; None for any.
    """
    try:
        if (record["record"], record["content"]) != (_FORMAT, content):
            return {}
        if input_order not in (None, record.get("input_order", "auto")):
            return {}
        return {name: [Output(**o) for o in rows] for name, rows in record["made"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def record_of(content: str, made: Made, input_order: str = "auto") -> Record:
    """The record of what was made of a series from a content, by an input order."""
    rows = {name: [asdict(output) for output in outputs] for name, outputs in made.items()}
    record: Record = {"record": _FORMAT, "content": content, "made": rows}
    return record if input_order == "auto" else {**record, "input_order": input_order}
