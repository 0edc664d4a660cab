"""The order of frames: by position along the normal, and by what else tells them apart.

A frame's file name, Slice Thickness and Slice Location have no say in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from seriesport.counts import counted
from seriesport.errors import SeriesportError
from seriesport.images.automatic import explain
from seriesport.images.diffusion import NOWHERE
from seriesport.images.geometry import POSITION_ROUNDING, affine_lps, slice_step
from seriesport.images.grids import Grid, Group, Tagged, appearance, fit, objects
from seriesport.images.orders import FRAME, InputOrder, Key, Options, accepted, keys_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seriesport.images.frames import Frame
    from seriesport.images.geometry import Affine


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Frames in the order of an array."""

    frames: Grid
    """The Frame of each slice: axes (tags..., slice). Each knows its file and its place in it."""
    tags: Mapping[str, tuple[Any, ...]]
    """The tag axes in order, with the value at each index: s from the first for time, ms for echo,
    te, ti, trigger and triggertime, s/mm² for b, degrees for fa, unit vectors (LPS) for bvector,
    (b, vector) for dti, else what the header or the callable says. Empty for one volume."""
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
    return sorted(frames, key=appearance)


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
    frames = _weighted(frames)
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


def _weighted(frames: Sequence[Frame]) -> Sequence[Frame]:
    """Give b = 0 to the images of a diffusion series whose vendor leaves it out."""
    if not any("b" in frame.tags for frame in frames):
        return frames
    return [
        replace(frame, tags={**frame.tags, "b": 0.0}, direction=NOWHERE)
        if frame.maybe_unweighted
        else frame
        for frame in frames
    ]


def _irregular(problem: str) -> SeriesportError:
    return SeriesportError("geometry-irregular", problem)


def _pictures(frames: Sequence[Frame], input_order: InputOrder, opts: Options) -> Arrangement:
    if any(f.plane is not None for f in frames):
        raise _irregular("some images have a position and some have none")
    ordered = in_order(frames)
    if len(ordered) == 1:
        return Arrangement(objects(ordered, (1,)), {})
    if input_order in ("auto", "none", FRAME.name):
        numbers = tuple(float(i + 1) for i in range(len(ordered)))
        return Arrangement(objects(ordered, (len(ordered), 1)), {FRAME.name: numbers})
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


def _tagged(positions: list[Group], input_order: InputOrder, opts: Options) -> Tagged:
    """Frames in (tags..., slice), and the tags' values."""
    slices, count = len(positions), len(positions[0])
    if input_order == "none" or (input_order == "auto" and count == 1):
        if count > 1:
            raise _irregular(
                f"{count} images are at each position, and no input_order tells them apart"
            )
        return objects([p[0] for p in positions], (slices,)), {}
    if input_order == "auto":
        return explain(positions)
    keys = keys_of(input_order, opts)
    found = fit(positions, keys, doubled=accepted(opts, "accept_duplicate_tag"))
    if found is None:
        raise _irregular(_problem(positions, keys))
    return found


def _problem(positions: list[Group], keys: tuple[Key, ...]) -> str:
    for key in keys:
        if any(key.value(f) is None for p in positions for f in p):
            return f"not all images have a value to order them by ({key.name})"
    names = ", ".join(k.name for k in keys)
    return (
        f"{counted(len(positions[0]), 'image')} at each of {counted(len(positions), 'position')}"
        f" make no grid of ({names}); those of one value need another tag, or accept_duplicate_tag"
    )
