"""What a file of another format breaks, and affines that lead nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from seriesport.images.geometry import Affine

_FARTHEST, _SHORTEST = 1e12, 1e-12
"""In mm: beyond these an affine is nonsense, and would overflow."""


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
