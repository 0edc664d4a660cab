"""The order of frames: by position along the normal, and by what else tells them apart.

A frame's file name, Slice Thickness and Slice Location have no say in it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seriesport.errors import SeriesportError
from seriesport.imaging.geometry import POSITION_ROUNDING, affine_lps, slice_step
from seriesport.imaging.orders import AUTOMATIC, PAIRS, InputOrder, Key, Options, accepted, keys_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seriesport.imaging.frames import Frame
    from seriesport.imaging.geometry import Affine

_STEADY = ("instance", "time")
Grid = np.ndarray[Any, np.dtype[Any]]
"""Frames in an array of objects."""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Frames in the order of an array."""

    frames: Grid
    """The Frame of each slice: axes (tags..., slice). Each knows its file and its place in it."""
    tags: Mapping[str, tuple[Any, ...]]
    """The tag axes in order, with the value at each index: s from the first for time, ms for echo,
    te, trigger and triggertime, s/mm² for b, degrees for fa, unit vectors (LPS) for bvector, (b,
    vector) for dti, else what the header or the callable says. Empty where there is one volume."""
    affine_lps: Affine | None = None
    """From (slice, row, column, 1); None where the frames lie nowhere in the patient (pictures,
    cine loops)."""

    @property
    def flat(self) -> list[Frame]:
        """All frames, in the order of the array."""
        return self.frames.reshape(-1).tolist()

    @property
    def volumes(self) -> list[list[Frame]]:
        """The slices of each volume, the last tag running fastest."""
        return self.frames.reshape(-1, self.frames.shape[-1]).tolist()


def in_order(frames: Sequence[Frame]) -> list[Frame]:
    """Frames by instance number and frame number: for frames that geometry does not order."""
    return sorted(frames, key=_appearance)


def _appearance(frame: Frame) -> tuple[int, int, int]:
    return (2**31 if frame.number is None else frame.number, frame.instance, frame.index)


def arrange(
    frames: Sequence[Frame], input_order: InputOrder = "auto", opts: Options | None = None
) -> Arrangement:
    """Put frames into a regular grid of volumes and slices.

    Args:
        frames: Of one series, in any order.
        input_order: What tells the frames at one position apart, see `orders`.
        opts: Options, see `orders`.

    Raises:
        SeriesportError: geometry-irregular, where there is no such grid: frames differ in size or
            orientation, slices are missing, doubled, unevenly spaced or sheared, or the order
            does not tell the frames at one position apart; order-unknown.
    """
    opts = opts or {}
    first = frames[0]
    if any(
        (f.rows, f.columns, f.samples) != (first.rows, first.columns, first.samples) for f in frames
    ):
        raise _irregular("the images differ in size")
    problem = next((f.problem for f in frames if f.problem), None)
    if problem:
        raise _irregular(problem)
    if any(f.plane is None for f in frames):
        return _pictures(frames, input_order, opts)
    positions = _by_position(frames)
    planes = [p[0].plane for p in positions]
    step = slice_step(
        [p for p in planes if p is not None],
        accept_uneven_spacing=accepted(opts, "accept_uneven_spacing"),
        accept_gantry_tilt=accepted(opts, "accept_gantry_tilt"),
    )
    start = planes[0]
    assert start is not None
    counts = {len(p) for p in positions}
    if len(counts) > 1:
        raise _irregular(
            f"{len(positions)} positions have {min(counts)} to {max(counts)} images each"
        )
    grid, tags = _tagged(positions, input_order, opts)
    return Arrangement(grid, tags, affine_lps(start, step))


def _irregular(problem: str) -> SeriesportError:
    return SeriesportError("geometry-irregular", problem)


def _objects(frames: Sequence[Frame], shape: tuple[int, ...]) -> Grid:
    flat = np.empty(len(frames), dtype=object)
    flat[:] = frames
    return flat.reshape(shape)


def _pictures(frames: Sequence[Frame], input_order: InputOrder, opts: Options) -> Arrangement:
    if any(f.plane is not None for f in frames):
        raise _irregular("some images have a position and some have none")
    ordered = in_order(frames)
    if len(ordered) == 1:
        return Arrangement(_objects(ordered, (1,)), {})
    if input_order in ("auto", "none"):
        numbers = tuple(float(i + 1) for i in range(len(ordered)))
        return Arrangement(_objects(ordered, (len(ordered), 1)), {"frame": numbers})
    grid, tags = _tagged([ordered], input_order, opts)
    return Arrangement(grid, tags)


def _by_position(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Groups of frames at the same place, from the lowest along the first frame's normal."""
    reference = frames[0].plane
    assert reference is not None
    normal = reference.normal
    checked: set[int] = set()
    groups: list[list[Frame]] = []
    last = 0.0
    placed = [(float(normal @ f.plane.position), f) for f in frames if f.plane is not None]
    for depth, frame in sorted(placed, key=lambda p: p[0]):
        plane = frame.plane
        assert plane is not None
        if id(plane) not in checked and not reference.parallel(plane):
            raise _irregular("the slices differ in orientation or pixel spacing")
        checked.add(id(plane))
        if not groups or depth - last > POSITION_ROUNDING:
            groups.append([])
            last = depth
        elif not plane.beside(groups[-1][0].plane):
            raise _irregular("images at one depth are shifted against each other")
        groups[-1].append(frame)
    return groups


# Tags


Group = list["Frame"]


def _tagged(
    positions: list[Group], input_order: InputOrder, opts: Options
) -> tuple[Grid, dict[str, tuple[Any, ...]]]:
    """Frames in (tags..., slice), and the tags' values."""
    slices, count = len(positions), len(positions[0])
    if input_order == "none" or (input_order == "auto" and count == 1):
        if count > 1:
            raise _irregular(
                f"{count} images are at each position, and no input_order tells them apart"
            )
        return _objects([p[0] for p in positions], (slices,)), {}
    doubled = accepted(opts, "accept_duplicate_tag")
    if input_order != "auto":
        keys = keys_of(input_order, opts)
        found = _grid(positions, keys, doubled=doubled) or _timed_last(
            positions, keys, doubled=doubled
        )
        if found is None:
            raise _irregular(_problem(positions, keys))
        return found
    for keys in _candidates(positions):
        found = _grid(positions, keys, doubled=False)
        if found is not None:
            return found
    raise _irregular("nothing in the header tells the images at one position apart")


def _candidates(positions: list[Group]) -> list[tuple[Key, ...]]:
    """What may order a series that nobody has given an order for, the best first."""
    single: list[tuple[Key, ...]] = [(key,) for key in AUTOMATIC]
    pairs: list[tuple[Key, ...]] = list(itertools.combinations(PAIRS, 2))
    names = dict.fromkeys(n for p in positions[:1] for f in p for n in f.dimensions)
    varying = [
        Key.dimension(name)
        for name in names
        if len({f.dimensions.get(name) for f in positions[0]}) > 1
    ]
    return [*single, *pairs, *([tuple(varying)] if varying else [])]


def _timed_last(
    positions: list[Group], keys: tuple[Key, ...], *, doubled: bool
) -> tuple[Grid, dict[str, tuple[Any, ...]]] | None:
    """Try with times within the other tags: each echo, say, has times of its own."""
    order = sorted(range(len(keys)), key=lambda i: keys[i].rising)
    if len(keys) == 1 or order == list(range(len(keys))):
        return None
    found = _grid(positions, tuple(keys[i] for i in order), doubled=doubled)
    if found is None:
        return None
    grid, tags = found
    back = [order.index(i) for i in range(len(keys))]
    return grid.transpose([*back, len(keys)]), {k.name: tags[k.name] for k in keys}


def _grid(
    positions: list[Group], keys: tuple[Key, ...], *, doubled: bool
) -> tuple[Grid, dict[str, tuple[Any, ...]]] | None:
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
    grid = _objects(rows, (*shape, len(columns)))
    if not all(_steady(grid, axis, key) for axis, key in enumerate(keys)):
        return None
    return grid, {key.name: _values(grid, axis, key) for axis, key in enumerate(keys)}


def _split(group: Group, key: Key, *, doubled: bool) -> list[tuple[Any, Group]] | None:
    """The frames of each value, by rising value; None where a frame has none."""
    values = [key.value(f) for f in group]
    if any(v is None for v in values):
        return None
    try:
        pairs = sorted(zip(values, group, strict=True), key=lambda p: (p[0], _appearance(p[1])))
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


def _problem(positions: list[Group], keys: tuple[Key, ...]) -> str:
    for key in keys:
        if any(key.value(f) is None for p in positions for f in p):
            return f"not all images have a value to order them by ({key.name})"
    names = ", ".join(k.name for k in keys)
    return (
        f"{len(positions[0])} images at each of {len(positions)} positions are no grid of"
        f" ({names}); those of one value need another tag, or accept_duplicate_tag"
    )
