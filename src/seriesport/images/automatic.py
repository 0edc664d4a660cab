"""The input order `auto`: what explains the images at one position, by the header alone.

Explanations are tried from the most to the least telling:

1. one thing that the scan varied: echo, b, segment, fa, ti;
2. several of them, temporal positions and trigger times, in every combination;
3. such a combination, taken again and again: a clock (trigger, time, acquisition, instance, timer)
   and within it echo, b (unless directions vary, which are one list in the order of their times),
   segment, fa, ti;
4. a clock alone: temporal, trigger, time; acquisition;
5. dti, alone or in combination with what 2. has;
6. instance; timer; the dimensions of a multi-frame image, in every combination or as one list.

Two explanations of one rank that put the images into different orders are refused.
"""

from __future__ import annotations

from itertools import chain, combinations
from math import prod
from typing import TYPE_CHECKING, Any

from seriesport.errors import SeriesportError
from seriesport.images.grids import fit
from seriesport.images.orders import (
    ACQUISITION,
    BVECTOR,
    DIMENSIONS,
    DTI,
    INSTANCE,
    MEASURED,
    TEMPORAL,
    TIME,
    TIMER,
    TRIGGER,
    B,
    Key,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seriesport.images.grids import Grid, Group, Tagged

Keys = tuple[Key, ...]
_CLOCKS = ((TRIGGER, TIME), (ACQUISITION,), (INSTANCE,), (TIMER,))


def explain(positions: Sequence[Group]) -> Tagged:
    """Put the frames of each position on the grid that the header explains best.

    Args:
        positions: The frames at each slice position, as many at each.

    Raises:
        SeriesportError: order-ambiguous where two explanations fit and differ;
            geometry-irregular where none fits.
    """
    for rank in _ranks(positions[0]):
        fitting = [(keys, found) for keys in rank if (found := fit(positions, keys))]
        for keys, found in fitting[1:]:
            if not _same(fitting[0][1][0], found[0]):
                one, other = _name(fitting[0][0]), _name(keys)
                problem = (
                    f"the images at one position may be ordered by {one} or by {other}, which"
                    " differ; say which by input_order"
                )
                raise SeriesportError("order-ambiguous", problem)
        if fitting:
            return fitting[0][1]
    raise SeriesportError("geometry-irregular", _unexplained(positions[0]))


def _ranks(group: Group) -> Iterator[Sequence[Keys]]:
    """The explanations to try; those of one rank exclude each other."""
    directed = len(set(map(BVECTOR.value, group)) - {None, (0.0, 0.0, 0.0)}) > 1
    varied = [k for k in MEASURED if _count(k, group) > 1 and not (directed and k is B)]
    steps = [k for k in (TEMPORAL, TRIGGER, *varied) if _count(k, group) > 1]
    yield [(key,) for key in MEASURED]
    yield [keys for keys in _subsets(steps) if _size(keys, group) == len(group)]
    for subsets in _larger_first(varied, group):
        for clocks in _CLOCKS:
            yield [(clock, *keys) for keys in subsets for clock in clocks]
    yield [(TEMPORAL,), (TRIGGER,), (TIME,)]
    yield [(ACQUISITION,)]
    if directed:
        yield [(DTI,)]
        yield [keys for keys in _subsets([*steps, DTI]) if _size(keys, group) == len(group)]
    yield [(INSTANCE,)]
    yield [(TIMER,)]
    names = dict.fromkeys(name for frame in group for name in frame.dimensions)
    yield [tuple(k for k in map(Key.dimension, names) if _count(k, group) > 1)]
    yield [(DIMENSIONS,)]


def _subsets(keys: Sequence[Key], least: int = 2) -> Iterator[Keys]:
    sizes = range(least, len(keys) + 1)
    return chain.from_iterable(combinations(keys, size) for size in sizes)


def _larger_first(keys: Sequence[Key], group: Group) -> Iterator[Sequence[Keys]]:
    """Combinations that may be there several times, those of most keys first."""
    for size in range(len(keys), 0, -1):
        yield [
            subset
            for subset in combinations(keys, size)
            if len(group) % _size(subset, group) == 0 and len(group) > _size(subset, group)
        ]


def _count(key: Key, group: Group) -> int:
    """Return how many values the frames have; 0 where one has none."""
    values: set[Any] = {key.value(frame) for frame in group}
    return 0 if None in values else len(values)


def _size(keys: Keys, group: Group) -> int:
    return prod(_count(key, group) for key in keys)


def _same(one: Grid, other: Grid) -> bool:
    return one.shape == other.shape and all(
        a is b for a, b in zip(one.flat, other.flat, strict=True)
    )


def _name(keys: Keys) -> str:
    return ",".join(key.name for key in keys)


def _unexplained(group: Group) -> str:
    counts = {key.name: _count(key, group) for key in (TEMPORAL, TRIGGER, *MEASURED, DTI)}
    varying = ", ".join(f"{name} ({n} values)" for name, n in counts.items() if n > 1)
    return f"nothing in the header tells the {len(group)} images at one position apart" + (
        f"; what varies is {varying}" if varying else ""
    )
