"""Memory for images, refused where a file states more than its bytes justify."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Array = np.ndarray[Any, np.dtype[Any]]

MIB = 1 << 20
FREE = 256 * MIB
"""An image of up to this size is believed whatever the size of its file."""
RATIO = 200
"""A larger one may have this many times its file's size."""


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
