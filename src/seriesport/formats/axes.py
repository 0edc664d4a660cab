"""What an image's axes are, as files carry it: one line of JSON, checked when it is read."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from seriesport.formats.guard import damaged
from seriesport.images.geometry import SPATIAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seriesport.images.image import Array, Image

MAX_TAG_BYTES = 16 << 20
"""Longest text of tag values that is read."""
_NAME = re.compile(r"[^\s\x00-\x1f/\\]{1,64}")
_VOLUME = (*SPATIAL, "rgb")
_SPATIAL = (_VOLUME, _VOLUME[:3], _VOLUME[1:], _VOLUME[1:3])
_MOST_AXES = 12


@dataclass(frozen=True, slots=True)
class Axes:
    """The axes of an array, and what is known along those of tags; as in an Image."""

    names: tuple[str, ...]
    tags: Mapping[str, tuple[Any, ...]]
    bvalues: Array | None = None
    bvectors: Array | None = None

    @classmethod
    def of(cls, image: Image) -> Axes:
        """Those of an image."""
        return cls(image.axes, image.tags, image.bvalues, image.bvectors)

    @property
    def lead(self) -> tuple[str, ...]:
        """The tag axes."""
        return tag_axes(self.names)

    @property
    def lengths(self) -> list[int]:
        """Of the tag axes."""
        return [len(self.tags[name]) for name in self.lead]

    def checked(self, shape: Sequence[int] | None = None) -> Axes:
        """The same, if names, values and an array's shape fit each other.

        Raises:
            SeriesportError: image-invalid.
        """
        lead = self.lead
        fits = len(self.names) <= _MOST_AXES and all(_NAME.fullmatch(n) for n in self.names)
        fits = fits and len(set(self.names)) == len(self.names) and set(lead) == set(self.tags)
        fits = fits and self.names[len(lead) :] in _SPATIAL and self.names[: len(lead)] == lead
        if not fits:
            raise damaged("the names of the axes cannot be read")
        lengths = self.lengths
        for table, last in ((self.bvalues, []), (self.bvectors, [3])):
            if table is not None and list(table.shape) != [*lengths, *last]:
                raise damaged("the b-values or directions do not fit the axes")
        if shape is not None:
            fits = len(shape) == len(self.names) and list(shape[: len(lead)]) == lengths
            if not fits or (self.names[-1] == "rgb" and shape[-1] != 3):
                raise damaged("the names or values of the axes do not fit the array")
        return self

    def encode(self) -> str:
        """One line of JSON, in ASCII and without spaces."""
        data: dict[str, Any] = {"axes": self.names, "tags": self.tags}
        data |= {k: v for k, v in self._diffusion().items() if v is not None}
        text = json.dumps(data, separators=(",", ":"), default=_plain)
        return text.replace(" ", "\\u0020")

    def _diffusion(self) -> dict[str, Array | None]:
        return {"bvalues": self.bvalues, "bvectors": self.bvectors}

    @classmethod
    def decode(cls, text: str | bytes) -> Axes:
        """From `encode`.

        Raises:
            SeriesportError: image-invalid.
        """
        try:
            data = cast("dict[str, Any]", json.loads(text))
            tags = {
                name: tuple(_frozen(v) for v in listed)
                for name, listed in cast("dict[str, list[Any]]", data["tags"]).items()
            }
            tables = [
                None if key not in data else np.array(data[key], np.float64)
                for key in ("bvalues", "bvectors")
            ]
            found = cls(tuple(cast("list[str]", data["axes"])), tags, *tables)
            return found.checked()
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise damaged("the names or values of the axes cannot be read") from None


def encode_values(values: Sequence[Any]) -> str:
    """Values of a tag axis as one line of JSON."""
    return json.dumps(values, separators=(",", ":"), default=_plain)


def decode_values(text: str) -> tuple[Any, ...]:
    """From `encode_values`.

    Raises:
        SeriesportError: image-invalid.
    """
    try:
        return tuple(_frozen(v) for v in cast("list[Any]", json.loads(text)))
    except (ValueError, TypeError, RecursionError):
        raise damaged("the values of an axis cannot be read") from None


def tag_axes(names: Sequence[str]) -> tuple[str, ...]:
    """The tag axes among an image's axes."""
    return tuple(name for name in names if name not in _VOLUME)


def spatial_axes(dimensions: int, *, colour: bool = False) -> tuple[str, ...]:
    """The names of the last axes, where they have 2 (row, column) or 3 dimensions."""
    return _VOLUME[3 - dimensions : 4 if colour else 3]


def numbered(count: int) -> tuple[float, ...]:
    """Values of a tag axis of which nothing is known: 1, 2, 3."""
    return tuple(float(i + 1) for i in range(count))


def unnamed(shape: Sequence[int]) -> Axes:
    """For an array that says nothing of its axes: tags first, then slice, row, column."""
    tags = {f"dim{i + 1}": numbered(n) for i, n in enumerate(shape[:-3])}
    return Axes((*tags, *spatial_axes(max(2, min(len(shape), 3)))), tags)


def table(values: Sequence[Any]) -> Array | None:
    """Tag values as numbers, one or more for each index; None where they are no such table."""
    try:
        found = np.array(values)
    except ValueError:  # ragged
        return None
    return found if found.dtype.kind in "iufb" and math.prod(found.shape) else None


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return cast("Array", value).tolist()
    return str(value)


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_frozen(v) for v in cast("list[Any]", value))
    if isinstance(value, dict):
        raise TypeError
    return value
