"""A PNG to look at: at most 768 pixels wide and high, grey or RGB, without identifying text.

- A volume, unless it is thin: the three planes through its middle, coronal and sagittal
  above, axial below, on one scale and as radiologists show them: the patient's right (marked R)
  on the left of the picture, front (A) on top of the axial and on the left of the sagittal view.
  Oblique volumes are shown along the nearest axes.
- Several volumes (time, b-value, echo): a sheet of their middle slices, in the tag's order.
- Thin volumes and what is no volume (localizers, cine loops, pictures, irregular stacks): a
  sheet of up to 16 frames evenly spread over the series, each as it is stored.
- A single image: that image.

Grey values come from the header's window or VOI LUT (PS3.3 section C.11.2), MONOCHROME1
inverted; where there is none, or no value lies in it, from the 1st to the 99.5th percentile.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from seriesport.errors import SeriesportError
from seriesport.images.geometry import nearest_axes, spacing_of
from seriesport.images.pixels import pixels, rescaled
from seriesport.images.sorting import in_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from seriesport.formats.source import Source
    from seriesport.images.frames import Frame
    from seriesport.images.geometry import Affine
    from seriesport.images.pixels import Array
    from seriesport.images.window import Window

EDGE = 768
"""Largest width and height, in pixels."""
_ENLARGE = 4
_TILES = 16
_GAP = 4
_THIN = (8, 0.25)
"""A volume of fewer slices, or of less depth than this part of its width, is shown as a sheet."""
_MARK = 14
_SAMPLE = 1_000_000
"""Values that a range is taken from."""

Range = tuple[float, float]


def write(source: Source, folder: Path, stem: str) -> None:
    """Make STEM.png.

    Raises:
        SeriesportError: conversion-failed, instance-invalid.
    """
    picture = _picture(source)
    picture.save(folder / f"{stem}.png", "PNG", compress_level=6)


def _picture(source: Source) -> Image.Image:
    frames = source.frames
    if len(frames) == 1:
        return _tile(_values(frames[0]), frames[0], None, _single_box(frames[0]))
    try:
        arrangement = source.arrangement
    except SeriesportError as error:
        if error.code not in ("geometry-irregular", "order-ambiguous"):
            raise
        return _sheet(_spread(in_order(frames)))
    first, *more = arrangement.volumes
    if more:
        return _sheet(_spread([row[len(row) // 2] for row in (first, *more)]))
    affine = arrangement.affine_lps
    if affine is not None and _is_thick(first, affine):
        return _planes(first, affine)
    return _sheet(_spread(first))


def _is_thick(slices: Sequence[Frame], affine: Affine) -> bool:
    if slices[0].samples != 1:
        return False
    depth, down, across = spacing_of(affine)
    width = max(slices[0].rows * down, slices[0].columns * across)
    return len(slices) >= _THIN[0] and len(slices) * depth >= _THIN[1] * width


# Grey values


def _values(frame: Frame) -> Array:
    return rescaled(next(pixels([frame])), frame)


def percentiles(values: Array) -> Range:
    """The range from the 1st to the 99.5th percentile of values."""
    sample: Array = values.reshape(-1)[:: max(1, values.size // _SAMPLE)]
    if sample.dtype.kind == "f":
        sample = sample[np.isfinite(sample)]
    if not len(sample):
        return (0.0, 1.0)
    low, high = (float(v) for v in np.percentile(sample, (1, 99.5)))
    return (low, high) if high > low else (low, low + 1)


def to_grey(values: Array, window: Window | None, shown: Range, photometric: str) -> Array:
    """Values as uint8: by the window, or by the range shown where the window misses it."""
    if window is not None and window.table is not None:
        share = _looked_up(values, window.table)
    else:
        share = _windowed(values, window, shown)
    grey = np.clip(np.nan_to_num(share) * 255 + 0.5, 0, 255).astype(np.uint8)
    return 255 - grey if photometric == "MONOCHROME1" else grey


def _windowed(values: Array, window: Window | None, shown: Range) -> Array:
    x = values.astype(np.float32)
    if window is not None:
        low, high = window.center - window.width / 2, window.center + window.width / 2
        if high < shown[0] or low > shown[1]:
            window = None
    if window is None:
        return (x - shown[0]) / (shown[1] - shown[0])
    center, width = window.center, window.width
    if window.function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (x - center) / width, -80, 80)))
    if window.function == "LINEAR_EXACT" or width <= 1:
        return (x - center) / width + 0.5
    return (x - (center - 0.5)) / (width - 1) + 0.5


def _looked_up(values: Array, table: tuple[float, tuple[int, ...]]) -> Array:
    first, entries = table
    outputs = np.array(entries, np.float32)
    index = np.clip(np.rint(values) - first, 0, len(entries) - 1).astype(np.int64)
    return outputs[index] / max(float(outputs.max()), 1.0)


def _colour(values: Array) -> Array:
    """RGB of any depth as uint8."""
    if values.dtype == np.uint8:
        return values
    return (values >> 8 * (values.dtype.itemsize - 1)).astype(np.uint8)


# Single frames and sheets


def _single_box(frame: Frame) -> tuple[int, int]:
    edge = min(EDGE, _ENLARGE * max(frame.rows, frame.columns))
    return (edge, edge)


def _tile(values: Array, frame: Frame, shown: Range | None, box: tuple[int, int]) -> Image.Image:
    """A frame as large as fits a box, with the aspect ratio of its spacing."""
    if values.ndim == 3:
        picture = Image.fromarray(_colour(values), "RGB")
    else:
        shown = shown or percentiles(values)
        picture = Image.fromarray(to_grey(values, frame.window, shown, frame.photometric), "L")
    down, across = frame.spacing or (1.0, 1.0)
    return _scaled(picture, frame.columns * across, frame.rows * down, box)


def _scaled(picture: Image.Image, width: float, height: float, box: tuple[int, int]) -> Image.Image:
    scale = min(box[0] / width, box[1] / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return picture.resize(size, Image.Resampling.BICUBIC)


def _spread(frames: Sequence[Frame]) -> list[Frame]:
    """Up to 16 frames, evenly spread."""
    if len(frames) <= _TILES:
        return list(frames)
    return [frames[round((i + 0.5) * len(frames) / _TILES - 0.5)] for i in range(_TILES)]


def _sheet(frames: list[Frame]) -> Image.Image:
    across = math.ceil(math.sqrt(len(frames)))
    down = math.ceil(len(frames) / across)
    largest = max(max(f.rows, f.columns) for f in frames)
    edge = min((EDGE - _GAP * (across - 1)) // across, _ENLARGE * largest)
    values = [_values(f) for f in frames]
    shown = percentiles(np.concatenate([v.reshape(-1) for v in values]))
    tiles = [_tile(v, f, shown, (edge, edge)) for v, f in zip(values, frames, strict=True)]
    # Cells as large as the largest tile: sheets of wide pictures have no empty bands.
    width, height = max(t.width for t in tiles), max(t.height for t in tiles)
    mode = "RGB" if any(t.mode == "RGB" for t in tiles) else "L"
    size = (across * (width + _GAP) - _GAP, down * (height + _GAP) - _GAP)
    sheet = Image.new(mode, size)
    for i, tile in enumerate(tiles):
        left = i % across * (width + _GAP) + (width - tile.width) // 2
        top = i // across * (height + _GAP) + (height - tile.height) // 2
        sheet.paste(tile, (left, top))
    return sheet


# Three planes of a volume


def _planes(slices: Sequence[Frame], affine: Affine) -> Image.Image:
    order, backwards = nearest_axes(affine)
    shape = (len(slices), slices[0].rows, slices[0].columns)
    middle = [
        shape[a] - 1 - shape[a] // 2 if b else shape[a] // 2
        for a, b in zip(order, backwards, strict=True)
    ]
    cuts, shown = _cut(slices, [middle[order.index(a)] for a in range(3)])
    spacing = spacing_of(affine)
    z, y, x = (shape[a] * spacing[a] for a in order)
    window = slices[len(slices) // 2].window

    def view(through: int, width: float, height: float, mark: str) -> Image.Image:
        plane = cuts[order[through]].transpose(order)
        turned = plane[tuple(slice(None, None, -1 if b else 1) for b in backwards)]
        grey = to_grey(turned.squeeze(through), window, shown, slices[0].photometric)
        if through:  # head up
            grey = grey[::-1]
        scale = (EDGE - _GAP) / (max(x + y, z + y))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        picture = Image.fromarray(np.ascontiguousarray(grey), "L")
        return _marked(picture.resize(size, Image.Resampling.BICUBIC), mark)

    coronal = view(1, x, z, "R")
    sagittal = view(2, y, z, "A")
    axial = view(0, x, y, "R")
    width = coronal.width + _GAP + sagittal.width
    page = Image.new("L", (width, coronal.height + _GAP + axial.height))
    page.paste(coronal, (0, 0))
    page.paste(sagittal, (coronal.width + _GAP, 0))
    page.paste(axial, (0, coronal.height + _GAP))
    return page


def _cut(slices: Sequence[Frame], middle: Sequence[int]) -> tuple[list[Array], Range]:
    """The planes at an index of each axis of (slice, row, column), each three-dimensional, and
    the range of the values. One slice is in memory at a time.
    """
    at, row, column = middle
    axial: Array | None = None
    rows: list[Array] = []
    columns: list[Array] = []
    sample: list[Array] = []
    for number, image in enumerate(_each(slices)):
        if image.shape != (slices[0].rows, slices[0].columns):
            raise SeriesportError("geometry-irregular", "the images differ in size")
        if number == at:
            axial = image[None]
        rows.append(image[row : row + 1].copy())
        columns.append(image[:, column : column + 1].copy())
        step = max(1, image.size * len(slices) // _SAMPLE)
        sample.append(image.reshape(-1)[::step].copy())
    assert axial is not None
    return [axial, np.stack(rows), np.stack(columns)], percentiles(np.concatenate(sample))


def _each(slices: Sequence[Frame]) -> Iterator[Array]:
    """The rescaled slices in their order; neighbours in one file are read together."""
    for _, run in itertools.groupby(slices, lambda frame: frame.path):
        frames = list(run)
        yield from map(rescaled, pixels(frames), frames)


def _marked(picture: Image.Image, mark: str) -> Image.Image:
    """Write which side of the patient lies on the left."""
    if min(picture.size) >= 4 * _MARK:
        draw: Any = ImageDraw.Draw(picture)
        at = (_MARK // 2, picture.height / 2)
        font = ImageFont.load_default(_MARK)
        draw.text(at, mark, fill=255, font=font, anchor="lm", stroke_width=1, stroke_fill=0)
    return picture
