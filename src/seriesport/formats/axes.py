"""Names and values of tag axes, as files carry them: one line of JSON, checked when it is read."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from seriesport.formats.guard import damaged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seriesport.image import Array

_AXIS = re.compile(r"[a-z][a-z0-9_]{0,31}")
_VOLUME = ("slice", "row", "column", "rgb")
MAX_TAG_BYTES = 16 << 20
"""Longest text of tag values that is read."""


def axes_of(tags: Sequence[str], dimensions: int, *, colour: bool = False) -> tuple[str, ...]:
    """Names of an array's axes, where it has `dimensions` of slice, row and column (2 or 3)."""
    return (*tags, *_VOLUME[3 - dimensions : 4 if colour else 3])


def tag_axes(axes: Sequence[str]) -> tuple[str, ...]:
    """The tag axes among an image's axes."""
    return tuple(a for a in axes if a not in _VOLUME)


def encode_tags(axes: Sequence[str], tags: Mapping[str, Sequence[Any]]) -> str:
    """Axes and tag values as one line of JSON."""
    values = {name: [_plain(v) for v in listed] for name, listed in tags.items()}
    return json.dumps({"axes": list(axes), "tags": values}, sort_keys=True)


def decode_tags(text: str | bytes) -> tuple[tuple[str, ...], dict[str, tuple[Any, ...]]]:
    """Axes and tag values from `encode_tags`; names and numbers of values are checked.

    Raises:
        SeriesportError: image-invalid.
    """
    try:
        data = cast("dict[str, Any]", json.loads(text))
        axes = tuple(cast("list[str]", data["axes"]))
        tags = {
            name: tuple(_frozen(v) for v in listed)
            for name, listed in cast("dict[str, list[Any]]", data["tags"]).items()
        }
        sound = all(_AXIS.fullmatch(a) for a in (*axes, *tags)) and len(set(axes)) == len(axes)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        sound, axes, tags = False, (), {}
    if not sound or len(axes) > 12 or not set(tag_axes(axes)) <= set(tags):
        raise damaged("the names or values of the axes cannot be read")
    return axes, tags


def checked_axes(
    axes: Sequence[str], tags: Mapping[str, Sequence[Any]], shape: Sequence[int]
) -> None:
    """Compare stated axes with an array's shape.

    Raises:
        SeriesportError: image-invalid.
    """
    spatial = tuple(a for a in axes if a in _VOLUME)
    fits = len(axes) == len(shape) and spatial in (
        ("row", "column"),
        ("slice", "row", "column"),
        ("row", "column", "rgb"),
        _VOLUME,
    )
    fits = fits and tuple(axes[: len(axes) - len(spatial)]) == tag_axes(axes)
    fits = fits and (spatial[-1:] != ("rgb",) or shape[-1] == 3)
    if not fits or any(
        len(tags[name]) != shape[i] for i, name in enumerate(axes) if name in tag_axes(axes)
    ):
        raise damaged("the names or values of the axes do not fit the array")


def numbered(count: int) -> tuple[float, ...]:
    """Values of a tag axis of which nothing is known: 1, 2, 3."""
    return tuple(float(i + 1) for i in range(count))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_plain(v) for v in cast("Array", value)]
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in cast("Sequence[Any]", value)]
    if isinstance(value, np.generic):
        return cast("Any", value).item()
    if isinstance(value, (str, int, float)) or value is None:
        return value
    return str(value)


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_frozen(v) for v in cast("list[Any]", value))
    if isinstance(value, dict):
        raise TypeError
    return value


def unnamed_axes(shape: Sequence[int]) -> tuple[str, ...]:
    """Names for an array that says nothing of its axes: tags first, then slice, row, column."""
    tags = [f"dim{i + 1}" for i in range(len(shape) - 3)]
    return axes_of(tags, min(len(shape), 3))
