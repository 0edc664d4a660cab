"""Images that come from no file, for what formats write and read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st

from seriesport.images.geometry import spacing_of
from seriesport.images.image import Image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TAG_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "time": st.floats(0, 1e4, width=32),
    "echo": st.floats(0, 1e3, width=32),
    "b": st.integers(0, 5000).map(float),
    "InversionTime": st.floats(0, 1e3),
    "name": st.text("a b\u00e9,\"'\\", min_size=1, max_size=5),
    "dti": st.tuples(st.just(1000.0), st.tuples(*[st.floats(-1, 1)] * 3)),
}


def rotation(angles: Sequence[float]) -> np.ndarray[Any, Any]:
    """Around x, then y, then z."""
    (a, b, c), (sa, sb, sc) = np.cos(angles), np.sin(angles)
    x = np.array([[1, 0, 0], [0, a, -sa], [0, sa, a]])
    y = np.array([[b, 0, sb], [0, 1, 0], [-sb, 0, b]])
    z = np.array([[c, -sc, 0], [sc, c, 0], [0, 0, 1]])
    return z @ y @ x


def affine(
    angles: Sequence[float] = (0.3, -0.5, 0.2),
    spacing: Sequence[float] = (3.0, 1.5, 1.25),
    origin: Sequence[float] = (-90.0, 20.0, 33.0),
    *,
    mirrored: bool = False,
) -> np.ndarray[Any, Any]:
    """From (slice, row, column, 1) to LPS; mirrored where slices run against the normal."""
    found = np.eye(4)
    # Columns first: an axial stack has rising columns to the left, rows to the back.
    axes = rotation(angles)[:, [2, 1, 0]]
    found[:3, :3] = axes * [spacing[0] * (-1 if mirrored else 1), spacing[1], spacing[2]]
    found[:3, 3] = origin
    return found


def image(
    array: np.ndarray[Any, Any],
    tags: Mapping[str, tuple[Any, ...]] | None = None,
    place: np.ndarray[Any, Any] | None = None,
    **more: Any,
) -> Image:
    """An image with tag axes first; colour where the last axis is 3 bytes and `colour` is set."""
    tags = tags or {}
    colour = more.pop("colour", False)
    count = array.ndim - len(tags) - colour
    axes = (*tags, *("slice", "row", "column")[3 - count :], *(["rgb"] if colour else []))
    more.setdefault("window", None)
    return Image(
        array=array,
        axes=axes,
        tags=tags,
        affine_lps=place,
        spacing=None if place is None else spacing_of(place),
        photometric="RGB" if colour else "MONOCHROME2",
        **more,
    )


DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")


@st.composite
def images(draw: st.DrawFn) -> Image:
    """Of every type, orientation and spacing, with up to two tags, 2-D or 3-D, grey or RGB."""
    names = draw(st.lists(st.sampled_from(sorted(TAG_VALUES)), max_size=2, unique=True))
    colour = draw(st.booleans())
    dtype = np.dtype("u1" if colour else draw(st.sampled_from(DTYPES)))
    tags = {n: tuple(draw(st.lists(TAG_VALUES[n], min_size=2, max_size=3))) for n in names}
    volume = [draw(st.integers(2, 4)) for _ in range(draw(st.integers(2, 3)))]
    shape = [*(len(v) for v in tags.values()), *volume, *([3] if colour else [])]
    random = np.random.default_rng(draw(st.integers(0, 99)))
    bits = random.integers(0, 256, (*shape, dtype.itemsize), np.uint8)
    array = bits.reshape(-1).view(dtype).reshape(shape)
    array = np.nan_to_num(array) if dtype.kind == "f" else array
    angle, step = st.floats(-3, 3), st.floats(0.1, 10)
    place = affine(
        draw(st.tuples(angle, angle, angle)),
        draw(st.tuples(step, step, step)),
        draw(st.tuples(*[st.floats(-500, 500)] * 3)),
        mirrored=draw(st.booleans()),
    )
    return image(array, tags, draw(st.sampled_from([place, None])), colour=colour)
