"""Counts in messages."""

from __future__ import annotations

import pytest

from seriesport.counts import counted, part
from seriesport.model.series import Expected
from seriesport.transports.fetch import numbers


def test_one_is_in_the_singular() -> None:
    assert [counted(n, "entry", "entries") for n in (0, 1, 2)] == [
        "0 entries", "1 entry", "2 entries",
    ]  # fmt: skip
    assert part(1, 1, "file", "is", "are") == "1 of 1 file is"
    assert part(1, 5, "file", "is", "are") == "1 of 5 files is"
    assert part(2, 5, "file", "is", "are") == "2 of 5 files are"


@pytest.mark.parametrize(
    ("missing", "said"), [((3,), "number 3"), ((3, 4), "numbers 3-4"), ((1, 4), "numbers 1, 4")]
)
def test_missing_instances_are_named_by_number(missing: tuple[int, ...], said: str) -> None:
    assert numbers(Expected(str(n), instance_number=n) for n in missing) == said
