"""The values of frames: decoded, cut out of mosaics, rescaled; one slice in memory at a time."""

from __future__ import annotations

import itertools
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes

from seriesport.dicom.elements import Syntax
from seriesport.dicom.part10 import read_path
from seriesport.dicom.whole import NATIVE
from seriesport.errors import SeriesportError
from seriesport.images.decoders import DecoderError, decode
from seriesport.images.decoding import limit_memory
from seriesport.images.frames import BAD_DATA, quiet, read_header
from seriesport.images.headers import quick_header
from seriesport.images.room import check_room

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from seriesport.images.frames import Frame

Array = np.ndarray[Any, np.dtype[Any]]

_PALETTES = tuple(f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue"))
_MOST_WHOLE = 2**30
_FLOAT32 = (1e-25, 1e25)
"""Slopes and intercepts that float32 has room for, whatever the pixels are."""
_INTEGERS = (np.int16, np.uint16, np.int32, np.uint32)
_SIZE = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
_DECODE = "seriesport.images.pixels:decompressed"
_JPEG = ("seriesport.images.jpeg", "decode_frame")


def pixels(frames: Sequence[Frame]) -> Iterator[Array]:
    """The decoded, not rescaled, pixels of frames of one file; palettes and YBR become RGB.

    Args:
        frames: By rising index; tiles of one mosaic stand together.

    Raises:
        SeriesportError: conversion-failed.
    """
    runs = [list(run) for _, run in itertools.groupby(frames, key=lambda f: f.index)]
    for run, picture in zip(runs, _pictures([run[0] for run in runs]), strict=True):
        for frame in run:
            top, left = frame.tile or (0, 0)
            whole = frame.tile is None
            yield picture if whole else picture[top : top + frame.rows, left : left + frame.columns]


def _pictures(frames: Sequence[Frame]) -> Iterator[Array]:
    """The stored pictures of frames of one file."""
    path = frames[0].path
    try:
        if frames[0].native and all(f.native for f in frames):
            with _opened(frames[0].native.path) as fd:
                yield from (_read_native(fd, f) for f in frames)
            return
        with quiet():
            header = _table_header(frames[0])
            for array in _decoded(path, [f.index for f in frames]):
                yield _finished(array, header, frames[0])
    except DecoderError as error:
        raise _undecodable(frames[0], str(error)) from None
    except BAD_DATA as error:
        raise _undecodable(frames[0], type(error).__name__) from None


def _decoded(path: Path, indices: list[int]) -> Iterator[Array]:
    """Pictures of a file, those that need a decoder of others by the worker."""
    part10 = read_path(path)
    syntax = "" if part10 is None else part10[0].transfer_syntax_uid
    if Syntax.of(syntax).deflated:  # pydicom reads no single frames from it
        return iter_pixels(pydicom.dcmread(path), indices=indices)  # pyright: ignore[reportUnknownMemberType] partly typed
    if syntax in NATIVE:
        return iter_pixels(path, indices=indices)
    return decode(_DECODE, os.fspath(path), indices)


def decompressed(path: str, indices: list[int]) -> Iterator[Array]:
    """Pictures of a compressed file; runs in the worker.

    Raises:
        SeriesportError: image-too-large, where the header states more than its bytes justify.
    """
    header = quick_header(Path(path)) or read_header(Path(path), list(_SIZE))
    rows, columns, samples, bits = (int(header.get(keyword) or 1) for keyword in _SIZE)
    size = rows * columns * samples * ((bits + 7) // 8)
    check_room(size, Path(path).stat().st_size, {})
    limit_memory(size)
    part10 = read_path(Path(path))
    syntax = "" if part10 is None else part10[0].transfer_syntax_uid
    return iter_pixels(path, indices=indices, decoding_plugin=_plugin(syntax))


def _plugin(syntax: str) -> str:
    """Return the plugin of pydicom that decodes a transfer syntax.

    It is always the same, whatever else is installed: decoders of lossy JPEG differ in their
    values, and not all of them are right.
    """
    if syntax not in (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes):
        return "pylibjpeg"
    decoder = get_decoder(UID(syntax))
    if _JPEG[0] not in decoder.available_plugins:
        decoder.add_plugin(_JPEG[0], _JPEG)
    return _JPEG[0]


@contextmanager
def _opened(path: Path) -> Generator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _table_header(frame: Frame) -> pydicom.Dataset | None:
    """The header that holds a frame's look-up table, little endian as pydicom takes it to be."""
    if frame.photometric != "PALETTE COLOR" and not frame.has_modality_lut:
        return None
    header = read_header(frame.path)
    if header.original_encoding[1] is False:
        for element in [header[keyword] for keyword in _PALETTES if keyword in header]:
            if element.VR == "OW":
                element.value = np.frombuffer(element.value, ">u2").astype("<u2").tobytes()
    return header


def _undecodable(frame: Frame, problem: str) -> SeriesportError:
    return SeriesportError(
        "conversion-failed",
        f"the pixels of instance {frame.instance} cannot be decoded ({problem})",
    )


def _read_native(descriptor: int, frame: Frame, out: Array | None = None) -> Array:
    """Read a stored picture as it lies in the file, into an array that has room for it."""
    native = frame.native
    assert native is not None
    picture = np.empty(native.shape, native.dtype) if out is None else out
    view = memoryview(picture.data).cast("B")
    done = 0
    os.lseek(descriptor, native.offset, os.SEEK_SET)  # some Macs have no preadv
    while done < len(view):
        count = os.readv(descriptor, [view[done:]])
        if not count:
            raise EOFError
        done += count
    if native.unused:
        np.left_shift(picture, native.unused, out=picture)
        np.right_shift(picture, native.unused, out=picture)
    return picture


def _finished(array: Array, header: pydicom.Dataset | None, frame: Frame) -> Array:
    if header is None:
        return array
    if frame.photometric == "PALETTE COLOR":
        array = apply_color_lut(array, header)
        return (array >> 8).astype(np.uint8) if array.dtype == np.uint16 else array
    return apply_modality_lut(array, header)


def rescaled(array: Array, frame: Frame) -> Array:
    """One frame's values (PS3.3 section C.11.1.1), as float32 where they change."""
    if array.ndim > 2 or frame.has_modality_lut or (frame.slope, frame.intercept) == (1, 0):
        return array
    return array.astype(np.float32) * np.float32(frame.slope) + np.float32(frame.intercept)


def fill(frames: Sequence[Frame]) -> Array:
    """The rescaled values of frames of one size, along axis 0.

    Integers stay integers where slopes and intercepts are whole numbers. Memory: the array and
    one slice.

    Raises:
        SeriesportError: conversion-failed; geometry-irregular where images differ in size.
    """
    array = _stack(frames) if _is_stack(frames) else _gather(frames)
    scaled = not frames[0].has_modality_lut and frames[0].samples == 1
    return _rescale_whole(array, frames) if scaled and _whole(frames) else array


def _whole(frames: Sequence[Frame]) -> bool:
    """Whether integers stay integers, which 64 bits hold on the way."""
    scales = [number for f in frames for number in (f.slope, f.intercept)]
    return all(number.is_integer() and abs(number) < _MOST_WHOLE for number in scales)


def _is_stack(frames: Sequence[Frame]) -> bool:
    """Whether the frames can be read straight into their places."""
    first = frames[0].native
    return first is not None and all(
        f.native is not None
        and f.native.dtype == first.dtype
        and f.tile is None
        and not f.has_modality_lut
        for f in frames
    )


def _stack(frames: Sequence[Frame]) -> Array:
    first = frames[0].native
    assert first is not None
    whole = _whole(frames)
    stored = np.dtype(first.dtype)
    array = _room((len(frames), *first.shape), stored if whole else _float_for(stored, frames))
    picture = np.empty(first.shape, stored)
    for path, places in _by_native_file(frames).items():
        frame = places[0][0]
        try:
            with _opened(path) as fd:
                for frame, at in places:
                    if whole:
                        _read_native(fd, frame, array[at])
                    else:
                        _read_native(fd, frame, picture)
                        np.multiply(picture, frame.slope, out=array[at], casting="unsafe")
                        array[at] += array.dtype.type(frame.intercept)
        except BAD_DATA as error:
            raise _undecodable(frame, type(error).__name__) from None
    return array


_Places = list[tuple["Frame", int]]
"""Frames with their places in the array."""


def _by_native_file(frames: Sequence[Frame]) -> dict[Path, _Places]:
    """Frames by the file that their pixels lie in."""
    files: dict[Path, _Places] = {}
    for at, frame in enumerate(frames):
        assert frame.native is not None
        files.setdefault(frame.native.path, []).append((frame, at))
    return files


def _by_instance(frames: Sequence[Frame]) -> list[_Places]:
    """Frames of each instance, by rising index."""
    instances: dict[int, _Places] = {}
    for at, frame in enumerate(frames):
        instances.setdefault(frame.instance, []).append((frame, at))
    return [sorted(places, key=lambda p: p[0].index) for places in instances.values()]


def _gather(frames: Sequence[Frame]) -> Array:
    whole = _whole(frames)
    scaled = not frames[0].has_modality_lut and frames[0].samples == 1
    array: Array | None = None
    for places in _by_instance(frames):
        decoded = pixels([f for f, _ in places])
        for (frame, at), image in zip(places, decoded, strict=True):
            if array is None:
                dtype = image.dtype if whole or not scaled else _float_for(image.dtype, frames)
                array = _room((len(frames), *image.shape), dtype)
            if image.shape != array.shape[1:]:
                raise SeriesportError("geometry-irregular", "the images differ in size")
            if whole or not scaled:
                array = array.astype(np.result_type(array, image), copy=False)
                array[at] = image
            else:
                array[at] = image * frame.slope + frame.intercept
    assert array is not None
    return array


def _room(shape: tuple[int, ...], dtype: np.dtype[Any] | type[np.floating[Any]]) -> Array:
    try:
        return np.empty(shape, dtype)
    except MemoryError:
        raise SeriesportError(
            "conversion-failed", "the series is too large for this machine's memory"
        ) from None


def _float_for(stored: np.dtype[Any], frames: Sequence[Frame]) -> type[np.floating[Any]]:
    low, high = _FLOAT32
    scales = {abs(number) for f in frames for number in (f.slope, f.intercept)} - {0.0}
    narrow = stored.itemsize <= 2 and low < min(scales) and max(scales) < high
    return np.float32 if narrow else np.float64


def _rescale_whole(array: Array, frames: Sequence[Frame]) -> Array:
    """Apply whole-numbered slopes and intercepts, in place where the result fits."""
    if {(f.slope, f.intercept) for f in frames} == {(1.0, 0.0)} or array.dtype.kind == "f":
        return array
    ends = [
        int(end) * int(f.slope) + int(f.intercept)
        for image, f in zip(array, frames, strict=True)
        for end in (image.min(), image.max())
    ]
    low, high = min(ends), max(ends)
    fits = [d for d in (array.dtype, *map(np.dtype, _INTEGERS)) if _holds(d, low, high)]
    target = fits[0] if fits else np.dtype(np.float64)
    if target.itemsize == array.dtype.itemsize and target.kind in "iu":
        # Modulo 2^n every step is right, since the result fits.
        plain = array.view(f"u{target.itemsize}")
        kind, size = plain.dtype.type, 256**target.itemsize
        for image, frame in zip(plain, frames, strict=True):
            if frame.slope != 1:
                np.multiply(image, kind(int(frame.slope) % size), out=image)
            np.add(image, kind(int(frame.intercept) % size), out=image)
        return array.view(target)
    out = _room(array.shape, target)
    for at, frame in enumerate(frames):
        out[at] = array[at].astype(np.int64) * int(frame.slope) + int(frame.intercept)
    return out


def _holds(dtype: np.dtype[Any], low: int, high: int) -> bool:
    limits = np.iinfo(dtype)
    return limits.min <= low and high <= limits.max
