"""Two images on one grid whose axes run in another order or direction, as NIfTI's often do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from seriesport.images.geometry import SPATIAL, spacing_of

if TYPE_CHECKING:
    from seriesport.images.geometry import Affine
    from seriesport.images.image import Image

_STEP = 1e-3
"""Largest deviation of a direction from one of the other grid's axes, in voxels."""
_START = 0.1
"""Largest distance of the first voxels, in voxels: headers are rounded."""


def aligned(image: Image, to: Image) -> Image:
    """The image with its axes as another one's, where both have the same voxels in space.

    Where they do not, or either lies nowhere, or there is nothing to turn, it is given back as it
    is. What is turned has no `frames`: its slices are no longer those that were read.
    """
    if image.affine_lps is None or to.affine_lps is None or image.axes[-3:] != SPATIAL:
        return image
    turn = np.linalg.inv(to.affine_lps) @ image.affine_lps
    whole = np.rint(turn[:3, :3])
    if not np.allclose(turn[:3, :3], whole, atol=_STEP) or not _is_permutation(whole):
        return image
    order = [int(np.flatnonzero(whole[i])[0]) for i in range(3)]  # ours along their axis i
    backwards = [bool(whole[i, order[i]] < 0) for i in range(3)]
    lengths = [image.array.shape[-3:][axis] for axis in order]
    start = [n - 1 if back else 0 for n, back in zip(lengths, backwards, strict=True)]
    if not np.allclose(turn[:3, 3], start, atol=_START):
        return image
    if order == [0, 1, 2] and not any(backwards):
        return image
    lead = image.array.ndim - 3
    array = image.array.transpose(*range(lead), *(lead + axis for axis in order))
    key = tuple(slice(None, None, -1 if back else 1) for back in backwards)
    affine = _turned(image.affine_lps, order, backwards, lengths)
    return replace(
        image,
        array=array[(..., *key)],
        affine_lps=affine,
        spacing=spacing_of(affine),
        frames=None,
    )


def _is_permutation(whole: Affine) -> bool:
    ones = np.abs(whole)
    return bool((ones.sum(axis=0) == 1).all() and (ones.sum(axis=1) == 1).all())


def _turned(affine: Affine, order: list[int], backwards: list[bool], lengths: list[int]) -> Affine:
    turned = affine.copy()
    for i in range(3):
        step = affine[:3, order[i]]
        turned[:3, i] = -step if backwards[i] else step
        turned[:3, 3] += (lengths[i] - 1) * step if backwards[i] else 0.0
    return turned
