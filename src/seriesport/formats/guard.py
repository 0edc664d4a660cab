"""Sizes and affines that a file states, checked before anything is allocated for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seriesport.imaging.geometry import Affine
    from seriesport.imaging.image import Array

MIB = 1 << 20
FREE = 256 * MIB
"""An image of up to this size is believed whatever the size of its file."""
RATIO = 200
"""A larger one may have this many times its file's size."""
_FARTHEST, _SHORTEST = 1e12, 1e-12
"""In mm: beyond these an affine is nonsense, and would overflow."""


def check_room(size: int, stored: int, opts: Mapping[str, Any]) -> None:
    """Refuse an image before anything is allocated for it: a bomb, or a broken header.

    Args:
        size: What the header says that the image takes in memory, in bytes.
        stored: What there is of it on disk, in bytes.
        opts: `max_bytes` is the largest image to read, in place of the rule above.

    Raises:
        SeriesportError: image-too-large.
    """
    limit = int(opts.get("max_bytes") or max(FREE, RATIO * stored))
    if size > limit:
        raise SeriesportError(
            "image-too-large", f"an image of {_rounded(size)} MB in a file of {_rounded(stored)} MB"
        )


def _rounded(size: int) -> str:
    return f"{size / 1e6:.3g}"


def room(shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
    """Memory for an array.

    Raises:
        SeriesportError: image-too-large, where there is none.
    """
    try:
        return np.empty(shape, dtype)
    except (MemoryError, ValueError):
        raise SeriesportError(
            "image-too-large", "the image is too large for this machine's memory"
        ) from None


def damaged(problem: str) -> SeriesportError:
    """The error for a file that breaks the rules of its format."""
    return SeriesportError("image-invalid", problem)


def unfit(problem: str) -> SeriesportError:
    """The error for an image that a format cannot hold."""
    return SeriesportError("format-unfit", problem)


def check_affine(affine: Affine) -> Affine:
    """Refuse an affine that leads nowhere.

    Raises:
        SeriesportError: geometry-irregular, where a number is not finite, or axes have no length
            or lie in one plane.
    """
    if not (np.abs(affine) < _FARTHEST).all():  # not a number is not smaller either
        raise SeriesportError("geometry-irregular", "the affine holds numbers that are not finite")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not (lengths > _SHORTEST).all():
        raise SeriesportError("geometry-irregular", "the affine has an axis without length")
    if abs(float(np.linalg.det(affine[:3, :3] / lengths))) < 1e-4:
        raise SeriesportError("geometry-irregular", "the affine's axes lie in one plane")
    return affine
