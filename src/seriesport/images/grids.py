"""Frames of the same place on a grid of what tells them apart."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seriesport.images.frames import Frame
    from seriesport.images.orders import Key

Grid = np.ndarray[Any, np.dtype[Any]]
"""Frames in an array of objects."""
Group = list["Frame"]
"""Frames of the same place."""
Tagged = tuple[Grid, dict[str, tuple[Any, ...]]]
"""Frames in axes (tags..., slice), and the values of each tag axis."""

_STEADY = ("instance", "time")


def objects(frames: Sequence[Frame], shape: tuple[int, ...]) -> Grid:
    """Put frames into an array of objects, in C order."""
    flat = np.empty(len(frames), dtype=object)
    flat[:] = frames
    return flat.reshape(shape)


def appearance(frame: Frame) -> tuple[int, int, int]:
    """Return the instance number, file and frame number, to sort by where nothing else tells."""
    return (2**31 if frame.number is None else frame.number, frame.instance, frame.index)


def fit(positions: Sequence[Group], keys: Sequence[Key], *, doubled: bool = False) -> Tagged | None:
    """Put the frames of each position on a grid of keys, the last running fastest.

    Times come within the other tags where that is what it takes: each echo, say, has times of its
    own.

    Args:
        positions: The frames at each slice position, as many at each.
        keys: What to sort by.
        doubled: Keep frames of one value apart along the last axis.

    Returns:
        The grid; None where the frames form none.
    """
    found = _grid(positions, keys, doubled=doubled)
    order = sorted(range(len(keys)), key=lambda i: keys[i].rising)
    if found is not None or order == list(range(len(keys))):
        return found
    found = _grid(positions, [keys[i] for i in order], doubled=doubled)
    if found is None:
        return None
    grid, tags = found
    back = [order.index(i) for i in range(len(keys))]
    return grid.transpose([*back, len(keys)]), {k.name: tags[k.name] for k in keys}


def _grid(positions: Sequence[Group], keys: Sequence[Key], *, doubled: bool) -> Tagged | None:
    """Sort every position by the keys, the last running fastest; None where they form no grid."""
    parts: list[list[Group]] = [[p] for p in positions]
    shape: list[int] = []
    for key in keys:
        final = key is keys[-1]
        split = [[_split(g, key, doubled=doubled and final) for g in groups] for groups in parts]
        if any(g is None for groups in split for g in groups):
            return None
        named = [[g or [] for g in groups] for groups in split]
        values = [[v for v, _ in g] for groups in named for g in groups]
        if len({len(v) for v in values}) > 1:
            return None
        if not key.rising and any(v != values[0] for v in values):
            return None
        shape.append(len(values[0]))
        parts = [[frames for g in groups for _, frames in g] for groups in named]
    if any(len(cell) != 1 for groups in parts for cell in groups):
        return None
    columns = [[cell[0] for cell in groups] for groups in parts]
    rows = [column[t] for t in range(len(columns[0])) for column in columns]
    grid = objects(rows, (*shape, len(columns)))
    if not all(_steady(grid, axis, key) for axis, key in enumerate(keys)):
        return None
    return grid, {key.name: _values(grid, axis, key) for axis, key in enumerate(keys)}


def _split(group: Group, key: Key, *, doubled: bool) -> list[tuple[Any, Group]] | None:
    """The frames of each value, by rising value; None where a frame has none."""
    values = [key.value(f) for f in group]
    if any(v is None for v in values):
        return None
    try:
        pairs = sorted(zip(values, group, strict=True), key=lambda p: (p[0], appearance(p[1])))
    except TypeError:  # text and numbers
        return None
    if doubled:
        return [(v, [f]) for v, f in pairs]
    return [(v, [f for _, f in same]) for v, same in itertools.groupby(pairs, key=lambda p: p[0])]


def _steady(grid: Grid, axis: int, key: Key) -> bool:
    """Whether values rise alike at every position: where they do not, volumes have holes.

    Times are looked at where volume follows volume, not where each position has its own turn.
    """
    if key.name not in _STEADY or grid.shape[axis] < 2:
        return True
    values = np.array([key.value(f) for f in grid.flat], float).reshape(grid.shape)
    steps = np.diff(values, axis=axis).reshape(-1, grid.shape[-1])
    if key.seconds and float(np.ptp(values, axis=-1).max()) > float(np.median(steps)):
        return True
    return bool(np.all(np.abs(steps - steps[:, :1]) < steps.max(axis=1, keepdims=True) / 2))


def _values(grid: Grid, axis: int, key: Key) -> tuple[Any, ...]:
    lines = np.moveaxis(grid, axis, 0).reshape(grid.shape[axis], -1)
    values = tuple(min(key.value(f) for f in line) for line in lines)
    if key.seconds:
        return tuple(round(v - values[0], 6) for v in values)
    return values
