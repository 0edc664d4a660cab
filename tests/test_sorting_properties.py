"""Any orientation, spacing, slice order and tags: frames come out where an independent
computation puts them, or are refused where some are missing.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seriesport.errors import SeriesportError
from seriesport.images.frames import Frame
from seriesport.images.geometry import Plane
from seriesport.images.sorting import arrange

angles = st.floats(-math.pi, math.pi)
gaps = st.floats(0.2, 20)


@st.composite
def rotations(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """Rotation matrices, by three angles; exact quarter turns among them."""
    turn = np.eye(3)
    for axis in range(3):
        angle = draw(st.one_of(angles, st.sampled_from([0, math.pi / 2, math.pi])))
        c, s = math.cos(angle), math.sin(angle)
        plane = np.eye(3)
        i, j = [a for a in range(3) if a != axis]
        plane[i, i], plane[i, j], plane[j, i], plane[j, j] = c, -s, s, c
        turn = turn @ plane
    return turn


@st.composite
def stacks(draw: st.DrawFn) -> dict[str, Any]:
    """What a series is made of."""
    return {
        "turn": draw(rotations()),
        "origin": np.array(draw(st.tuples(*[st.floats(-500, 500)] * 3))),
        "gap": draw(gaps),
        "spacing": (draw(gaps), draw(gaps)),
        "slices": draw(st.integers(2, 6)),
        "times": draw(st.integers(1, 4)),
        "echoes": draw(st.integers(1, 3)),
        "backwards": draw(st.booleans()),
    }


def frames_of(stack: dict[str, Any]) -> dict[tuple[int, int, int], Frame]:
    """A frame per (time, echo, slice), as headers with six decimals tell it."""
    column, row, normal = stack["turn"].T  # directions of rising column, rising row, slice
    orientation = tuple(round(float(v), 9) for v in (*column, *row))
    made: dict[tuple[int, int, int], Frame] = {}
    for t in range(stack["times"]):
        for e in range(stack["echoes"]):
            for s in range(stack["slices"]):
                along = -s if stack["backwards"] else s
                place = stack["origin"] + along * stack["gap"] * normal
                position = tuple(round(float(v), 6) for v in place)
                made[t, e, s] = Frame(
                    path=Path(f"{t}-{e}-{s}"),
                    instance=1 + len(made),
                    index=0,
                    number=1,
                    rows=4,
                    columns=5,
                    samples=1,
                    photometric="MONOCHROME2",
                    plane=Plane(position, orientation, stack["spacing"]),  # type: ignore[arg-type]
                    spacing=stack["spacing"],
                    slope=1.0,
                    intercept=0.0,
                    has_modality_lut=False,
                    window=None,
                    tags={"temporal": float(t), "echo": 10.0 * (e + 1), "time": 3.0 * t + 0.1 * s},
                )
    return made


def shuffled(made: dict[tuple[int, int, int], Frame], seed: int) -> list[Frame]:
    frames = list(made.values())
    return [frames[i] for i in np.random.default_rng(seed).permutation(len(frames))]


@given(stacks(), st.integers(0, 2**16))
def test_voxels_lie_where_the_headers_put_them(stack: dict[str, Any], seed: int) -> None:
    made = frames_of(stack)
    arrangement = arrange(shuffled(made, seed), "temporal,echo")
    assert arrangement.frames.shape == (stack["times"], stack["echoes"], stack["slices"])
    assert arrangement.affine_lps is not None
    column, row, _ = stack["turn"].T
    for (t, e, s), frame in made.items():
        at = stack["slices"] - 1 - s if stack["backwards"] else s
        assert arrangement.frames[t, e, at] is frame
        # PS3.3 section C.7.6.2.1.1, equation C.7.6.2.1-1, for the voxel in row 3, column 2.
        assert frame.plane is not None
        expected = (
            np.array(frame.plane.position)
            + row * frame.plane.spacing[0] * 3
            + column * frame.plane.spacing[1] * 2
        )
        found = (arrangement.affine_lps @ [at, 3, 2, 1])[:3]
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.linalg.det(arrangement.affine_lps[:3, :3]) < 0  # (slice, row, column), ascending


@given(stacks(), st.integers(0, 2**16))
def test_both_orders_of_two_tags_give_the_same_frames(stack: dict[str, Any], seed: int) -> None:
    frames = shuffled(frames_of(stack), seed)
    one = arrange(frames, "time,te")
    other = arrange(frames, "te,time")
    assert (one.frames == other.frames.swapaxes(0, 1)).all()
    assert one.tags["time"] == pytest.approx([3.0 * t for t in range(stack["times"])])
    assert one.tags["te"] == tuple(10.0 * (e + 1) for e in range(stack["echoes"]))


@given(stacks(), st.integers(0, 2**16), st.data())
def test_a_missing_image_is_refused(stack: dict[str, Any], seed: int, data: st.DataObject) -> None:
    made = frames_of(stack)
    del made[data.draw(st.sampled_from(sorted(made)))]
    volumes = stack["times"] * stack["echoes"]
    if volumes == 1:  # then an inner slice has to be missing
        made = frames_of(stack | {"slices": stack["slices"] + 2})
        del made[0, 0, data.draw(st.integers(1, stack["slices"]))]
    with pytest.raises(SeriesportError, match="geometry-irregular"):
        arrange(shuffled(made, seed), "temporal,echo")


@given(stacks(), st.integers(0, 2**16), st.data())
def test_a_doubled_image_is_refused(stack: dict[str, Any], seed: int, data: st.DataObject) -> None:
    made = frames_of(stack)
    twin = data.draw(st.sampled_from(sorted(made)))
    made[-1, -1, -1] = replace(made[twin], instance=99)
    with pytest.raises(SeriesportError, match="geometry-irregular"):
        arrange(shuffled(made, seed), "temporal,echo")


@given(stacks(), st.integers(0, 2**16), st.floats(0.2, 5), st.data())
def test_a_slice_out_of_its_place_is_refused(
    stack: dict[str, Any], seed: int, by: float, data: st.DataObject
) -> None:
    stack = stack | {"times": 1, "echoes": 1, "slices": stack["slices"] + 2}
    made = frames_of(stack)
    moved = data.draw(st.integers(1, stack["slices"] - 2))
    frame = made[0, 0, moved]
    assert frame.plane is not None
    direction = data.draw(st.sampled_from(range(3)))
    shift = stack["turn"][:, direction] * by * max(stack["gap"], 1)
    position = tuple(float(v) for v in np.array(frame.plane.position) + shift)
    made[0, 0, moved] = replace(frame, plane=replace(frame.plane, position=position))
    with pytest.raises(SeriesportError, match="geometry-irregular"):
        arrange(shuffled(made, seed))
