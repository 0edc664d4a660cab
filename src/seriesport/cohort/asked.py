"""When the sources were last asked what the cohort's entries mean: `plan/asked.tsv`.

It holds fingerprints of identifiers, and is readable by its owner alone.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seriesport.counts import counted
from seriesport.errors import SeriesportError
from seriesport.store.sealed import read_sealed, write_sealed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

NEVER = 0
_MOST_LINES = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """The last time that one entry of the cohort was asked for."""

    time: int
    """In seconds since 1970; NEVER where the last question has no answer yet."""
    open_ended: bool
    """True for an entry that names no series, so that it can come to mean more of them."""
    line: int
    """Line of the entry in the cohort file."""
    entry: str
    """Fingerprint of the entry."""


def write_asked(path: Path, asked: Iterable[Asked]) -> None:
    """Write the file, the oldest open-ended entry first."""
    rows = sorted(asked, key=lambda one: (not one.open_ended, one.time, one.line))
    lines = [f"{one.time}\t{int(one.open_ended)}\t{one.line}\t{one.entry}\n" for one in rows]
    write_sealed(path, lambda: (line.encode() for line in lines), private=True)


def read_asked(path: Path) -> list[Asked]:
    """Read the file; what is missing or damaged counts as never asked."""
    with suppress(SeriesportError):
        return read_sealed(path, _parse)
    return []


def is_due(path: Path, replan_after: float) -> bool:
    """Return True if an open-ended entry was last asked for `replan_after` seconds ago.

    Also where there is no such file, as beside the plan of an earlier version.
    """
    asked = read_asked(path)
    return not asked or (asked[0].open_ended and is_older(asked[0].time, replan_after))


def is_older(asked: int, seconds: float) -> bool:
    """Return True if a time is that long ago, or lies in the future by a clock set since."""
    now = time.time()
    return now - asked >= seconds or asked > now + 1


def _parse(lines: Iterable[str]) -> list[Asked]:
    rows = (line.rstrip("\n").split("\t") for line in lines)
    return [Asked(int(when), ended == "1", int(line), entry) for when, ended, line, entry in rows]


def describe(asked: Iterable[Asked]) -> Iterator[str]:
    """Say how old the answers are, and how to ask again, in lines for the terminal."""
    rows = sorted(asked, key=lambda one: one.line)
    for age, lines in _by_age(one for one in rows if not one.open_ended).items():
        yield f"planned {age}: {_listed(lines)}"
    for age, lines in _by_age(one for one in rows if one.open_ended).items():
        again = "ask again with: snakemake --config refresh=true"
        yield f"planned {age}, naming no series: {_listed(lines)}; {again}"


def _by_age(asked: Iterable[Asked]) -> dict[str, list[int]]:
    """Lines by age, oldest first; what was never answered is left out."""
    ages: dict[str, list[int]] = {}
    for one in sorted(asked, key=lambda one: one.time):
        if one.time != NEVER:
            ages.setdefault(_age(time.time() - one.time), []).append(one.line)
    return ages


def _age(seconds: float) -> str:
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // size)
        if count > 0:
            return f"{counted(count, unit)} ago"
    return "just now"


def _listed(lines: Sequence[int]) -> str:
    shown = ", ".join(map(str, sorted(lines)[:_MOST_LINES]))
    more = len(lines) - _MOST_LINES
    return (
        f"line {shown}" if len(lines) == 1 else f"lines {shown}" + f" and {more} more" * (more > 0)
    )
