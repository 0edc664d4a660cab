"""The order of frames: by position along the normal, and by what else tells them apart.

A frame's file name, Slice Thickness and Slice Location have no say in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seriesport.errors import SeriesportError
from seriesport.frames import TAGS
from seriesport.geometry import POSITION_ROUNDING, affine_lps, slice_step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seriesport.frames import Frame
    from seriesport.geometry import Affine

_SHARED = ("echo", "b", "segment", "temporal")
"""Tags that have the same values at every position; the others (times, numbers) only rise."""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Frames in the order of an array."""

    frames: tuple[tuple[Frame, ...], ...]
    """By tag, then by slice."""
    tag: str | None
    """What the first axis is: a name of `frames.TAGS`, "instance", "frame"; None where there is
    one volume."""
    values: tuple[float, ...] = ()
    """The tag's value for each volume: ms for echo and trigger, s/mm² for b, s from the first
    for time, else a number."""
    affine_lps: Affine | None = None
    """None where the frames lie nowhere in the patient (pictures, cine loops)."""


def in_order(frames: Sequence[Frame]) -> list[Frame]:
    """Frames by instance number and frame number: for frames that geometry does not order."""
    return sorted(
        frames, key=lambda f: (2**31 if f.number is None else f.number, f.instance, f.index)
    )


def arrange(frames: Sequence[Frame]) -> Arrangement:
    """Put frames into a regular grid of volumes and slices.

    Raises:
        SeriesportError: geometry-irregular, where there is none: frames differ in size or
            orientation, slices are missing, doubled, unevenly spaced or sheared, or nothing
            tells the frames at one position apart; also for Siemens mosaics.
    """
    first = frames[0]
    if any(
        (f.rows, f.columns, f.samples) != (first.rows, first.columns, first.samples) for f in frames
    ):
        raise _irregular("the images differ in size")
    if first.mosaic:
        raise _irregular(
            "the slices are tiled in a Siemens mosaic; the nifti format takes it apart"
        )
    if any(f.plane is None for f in frames):
        return _pictures(frames)
    positions = _by_position(frames)
    planes = [p[0].plane for p in positions]
    step = slice_step([p for p in planes if p is not None])
    start = planes[0]
    assert start is not None
    affine = affine_lps(start, step)
    counts = {len(p) for p in positions}
    if len(counts) > 1:
        raise _irregular(
            f"{len(positions)} positions have {min(counts)} to {max(counts)} images each"
        )
    volumes = counts.pop()
    if volumes == 1:
        return Arrangement((tuple(p[0] for p in positions),), None, (), affine)
    tag, columns = _tagged(positions)
    values = tuple(min(_value(f, tag) for f in c) for c in zip(*columns, strict=True))
    if tag == "time":
        values = tuple(round(v - values[0], 6) for v in values)
    rows = tuple(tuple(column[t] for column in columns) for t in range(volumes))
    return Arrangement(rows, tag, values, affine)


def _irregular(problem: str) -> SeriesportError:
    return SeriesportError("geometry-irregular", problem)


def _pictures(frames: Sequence[Frame]) -> Arrangement:
    if any(f.plane is not None for f in frames):
        raise _irregular("some images have a position and some have none")
    ordered = in_order(frames)
    if len(ordered) == 1:
        return Arrangement((tuple(ordered),), None)
    return Arrangement(
        tuple((f,) for f in ordered), "frame", tuple(float(i + 1) for i in range(len(ordered)))
    )


def _by_position(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Groups of frames at the same place, from the lowest along the first frame's normal."""
    reference = frames[0].plane
    assert reference is not None
    normal = reference.normal

    def depth(frame: Frame) -> float:
        assert frame.plane is not None
        return float(normal @ frame.plane.position)

    groups: list[list[Frame]] = []
    last = 0.0
    for frame in sorted(frames, key=depth):
        assert frame.plane is not None
        if not reference.parallel(frame.plane):
            raise _irregular("the slices differ in orientation or pixel spacing")
        if not groups or depth(frame) - last > POSITION_ROUNDING:
            groups.append([])
            last = depth(frame)
        groups[-1].append(frame)
    return groups


def _value(frame: Frame, tag: str) -> float:
    if tag == "instance":
        return float(frame.number or 0)
    return frame.tags[tag]


def _tagged(positions: list[list[Frame]]) -> tuple[str, list[list[Frame]]]:
    """The first tag that tells the frames of each position apart, and the positions so sorted."""
    for tag in (*TAGS, "instance"):
        if not all(_has(f, tag) for p in positions for f in p):
            continue
        columns = [sorted(p, key=lambda f: _value(f, tag)) for p in positions]
        values = [[_value(f, tag) for f in c] for c in columns]
        distinct = all(len(set(v)) == len(v) for v in values)
        if distinct and (tag not in _SHARED or all(v == values[0] for v in values)):
            return tag, columns
    raise _irregular("nothing in the header tells the images at one position apart")


def _has(frame: Frame, tag: str) -> bool:
    return frame.number is not None if tag == "instance" else tag in frame.tags
