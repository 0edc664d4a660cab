"""The ledger of a step over a shard: a line per series, the step's declared output."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING

from seriesport.store.sealed import read_sealed, write_sealed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from seriesport.errors import SeriesportError

LEDGER = "ledger.tsv"
"""Name of the file in the folder of a shard."""


class Status(StrEnum):
    """How a step ended for one series."""

    COMPLETE = "complete"
    NOTHING = "nothing"
    """There was nothing to do: no image to convert, no destination."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step did for one series, as its ledger has it. Holds no identifier."""

    key: str
    status: Status
    code: str = ""
    """Reason code of a failure; of several, each once, with spaces between."""
    detail: str = ""
    """One line for a person."""
    expected: int = 0
    """Instances expected (fetch), instances to deliver over all destinations (upload),
    formats asked for (convert)."""
    done: int = 0
    """How many of the expected are proven to be there."""
    size: int = 0
    """Size in bytes of what the step wrote or delivered."""
    files: str = ""
    """Names of the files beside the ledger, separated by spaces."""
    sha256: str = ""
    """SHA-256 of the first of the files."""

    @property
    def codes(self) -> tuple[str, ...]:
        """The reason codes."""
        return tuple(self.code.split())

    @property
    def ok(self) -> bool:
        """Whether the series may go on."""
        return self.status is not Status.FAILED


def told(failures: Sequence[SeriesportError]) -> tuple[str, str]:
    """Return `code` and `detail` of a series that failed in several ways, or in none."""
    codes = dict.fromkeys(failure.code for failure in failures)
    details = dict.fromkeys(failure.message for failure in failures)
    return " ".join(codes), "; ".join(details)


def line_of(ledger: Mapping[str, Outcome], key: str) -> Outcome:
    """The line of a series in the ledger of a step; a failed one where it has none."""
    absent = "the step has not seen this series"
    return ledger.get(key) or Outcome(key, Status.FAILED, "not-attempted", absent)


_COLUMNS = [field.name for field in fields(Outcome)]


def write_ledger(path: Path, lines: Iterable[Outcome]) -> None:
    """Write a ledger whole, in the order of the lines."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, dialect="excel-tab", lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(line) for line in lines)
    write_sealed(path, lambda: [text.getvalue().encode()])


def read_ledger(path: Path) -> dict[str, Outcome]:
    """The lines of a ledger by key.

    Raises:
        SeriesportError: file-damaged, or file-unreadable where there is none.
    """
    return read_sealed(path, _parse)


def _parse(text: Iterable[str]) -> dict[str, Outcome]:
    header, *lines = csv.reader(text, dialect="excel-tab")
    if header != _COLUMNS:
        raise ValueError
    return {row[0]: _line(row) for row in lines}


def _line(row: list[str]) -> Outcome:
    key, status, code, detail, *numbers, files, sha256 = row
    expected, done, size = map(int, numbers)
    return Outcome(key, Status(status), code, detail, expected, done, size, files, sha256)
