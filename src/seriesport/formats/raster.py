"""PNG, JPEG and TIFF pictures, by Pillow. They lie nowhere in the patient: no affine.

Reading: the pages of a TIFF, or several files in the order given, become slices; they have to be
of one size and type. Grey values come as they are (uint8, uint16, int32, float32), black-and-white
as 0 and 255, everything coloured as RGB of 8 bits: palettes, CMYK, YCbCr. What is transparent shows
white behind it. EXIF's orientation is applied. Colours of 16 bits are refused: Pillow would halve
them.

Writing: a file for each slice (STEM_0001.png ...), one where there is one slice, and one file with
all pages for TIFF; slices of several volumes follow each other. uint8 and uint16 are written as
they are, unless the image has a window; all else becomes 8 bits by the window, or from the 1st to
the 99.5th percentile. `opts`: "values" ("window" or "stored": as they are, or refused; TIFF holds
int16, int32 and float32 too), "suffix".
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps

from seriesport.errors import SeriesportError, unreadable
from seriesport.formats.axes import Axes, spatial_axes
from seriesport.formats.guard import damaged, unfit
from seriesport.formats.preview import percentiles, to_grey
from seriesport.formats.values import image_of, storable
from seriesport.images.decoders import DecoderError, decode
from seriesport.images.decoding import limit_memory
from seriesport.images.frames import BAD_DATA, quiet
from seriesport.images.room import check_room, room

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from seriesport.images.image import Array, Image

_BAD_PICTURE = (*BAD_DATA, SyntaxError)
_FORMATS = ("PNG", "JPEG", "TIFF")
_MAX_PAGES = 20_000
_GREY = {"L": "u1", "I;16": "u2", "I;16L": "u2", "I;16B": "u2", "I;16N": "u2", "I": "i4", "F": "f4"}
_CONVERTED = {"1": "L", "LA": "L", "La": "L"}
"""Other modes than these become RGB."""
_BITS_PER_SAMPLE = 258
_SUFFIXES = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "TIFF": (".tif", ".tiff"),
}
_STORED = {"PNG": ("u1", "u2"), "JPEG": ("u1",), "TIFF": ("u1", "u2", "i2", "i4", "f4")}
_QUALITY = 95
_DECODE = "seriesport.formats.raster:decoded"


def read(paths: Sequence[Path], opts: Mapping[str, Any]) -> Image:
    """Read pictures as slices. Memory: the array and one picture.

    Raises:
        SeriesportError: image-invalid, image-unsupported, image-too-large, geometry-irregular
            where they differ, file-unreadable.
    """
    limits = {name: opts[name] for name in ("max_bytes",) if name in opts}
    array = _stacked(decode(_DECODE, [os.fspath(path) for path in paths], limits))
    colour = array.ndim == 4
    if len(array) == 1:
        return image_of(array[0], Axes(spatial_axes(2, colour=colour), {}), None)
    return image_of(array, Axes(spatial_axes(3, colour=colour), {}), None)


def _stacked(pictures: Iterator[Any]) -> Array:
    """The pictures that `decoded` gives, in one array."""
    array: Array | None = None
    try:
        count = next(pictures)
        for i, page in enumerate(pictures):
            if array is None:
                array = room((count, *page.shape), page.dtype)
            if page.shape != array.shape[1:] or page.dtype != array.dtype:
                raise SeriesportError("geometry-irregular", "the pictures differ in size or type")
            array[i] = page
    except DecoderError as error:
        raise damaged(f"a picture cannot be read ({error})") from None
    if array is None:
        raise damaged("there is no picture")
    return array


def decoded(paths: Sequence[str], opts: Mapping[str, Any]) -> Iterator[int | Array]:
    """How many pictures there are in files, and then each; runs in the decoders' worker.

    Raises:
        SeriesportError: As `read`.
    """
    files = [Path(path) for path in paths]
    sizes = [size for path in files for size in _sizes(path, opts)]
    if len(sizes) > _MAX_PAGES:
        raise SeriesportError("image-too-large", f"{len(sizes)} pictures in one series")
    yield len(sizes)
    limit_memory(max(sizes, default=0))
    stored = sum(path.stat().st_size for path in files)
    for path in files:
        for page in _pages(path):
            check_room(page.nbytes * len(sizes), stored, opts)
            yield page


@contextmanager
def _decoding() -> Generator[None]:
    """Pillow's exceptions as reasons."""
    try:
        with quiet():
            yield
    except Pillow.DecompressionBombError:
        raise SeriesportError("image-too-large", "a picture of too many pixels") from None
    except _BAD_PICTURE as error:
        if isinstance(error, OSError) and error.errno:
            raise unreadable(error) from error
        raise damaged(f"a picture cannot be read ({type(error).__name__})") from None


@contextmanager
def _open(path: Path) -> Generator[Pillow.Image]:
    # By a stream: given a path, Pillow 13 maps plain TIFFs and mixes up the rows of turned ones.
    with _decoding():
        stream = path.open("rb")
    with stream:
        with _decoding():
            picture = Pillow.open(stream, formats=_FORMATS)
        yield picture


def _sizes(path: Path, opts: Mapping[str, Any]) -> list[int]:
    """Bytes that each page takes; refuses too many before the first is decoded."""
    sizes: list[int] = []
    with _open(path) as picture:
        for page in _walk(picture):
            depth = 4 if page.mode in ("I", "F", "CMYK", "RGBA") else 3
            sizes.append(page.width * page.height * depth)
            check_room(sum(sizes), path.stat().st_size, opts)
            _check_depth(page, path)
    return sizes


def _walk(picture: Pillow.Image) -> Iterator[Pillow.Image]:
    """The pages of a TIFF; the one picture of the others."""
    for number in range(_MAX_PAGES):
        with _decoding():
            try:
                picture.seek(number)
            except EOFError:
                return
        yield picture
        if picture.format != "TIFF":
            return
    raise SeriesportError("image-too-large", f"a TIFF of {_MAX_PAGES} pages or more")


def _check_depth(page: Pillow.Image, path: Path) -> None:
    """Refuse colours of more than 8 bits, which Pillow reduces to 8 without a word."""
    bits: tuple[int, ...] = (8,)
    if page.format == "PNG" and page.mode not in _GREY:
        with path.open("rb") as stream:
            bits = (stream.read(25)[24],)
    elif page.format == "TIFF" and page.mode not in _GREY:
        tags = cast("Mapping[int, Any]", getattr(page, "tag_v2", {}))
        bits = tuple(np.atleast_1d(tags.get(_BITS_PER_SAMPLE, 8)).tolist())
    if max(bits) > 8:
        raise SeriesportError("image-unsupported", "colours of more than 8 bits are not read")


def _pages(path: Path) -> Iterator[Array]:
    with _open(path) as picture:
        for page in _walk(picture):
            with _decoding():
                page.load()  # turns a TIFF by itself, and takes its orientation away
                values = _values(ImageOps.exif_transpose(page))
            yield values


def _values(page: Pillow.Image) -> Array:
    if page.mode not in _GREY:
        transparent = page.mode in ("RGBA", "LA", "PA", "RGBa", "La")
        if transparent or "transparency" in page.info:
            clear = page.convert("RGBA")
            white = Pillow.new("RGBA", clear.size, "white")
            white.alpha_composite(clear)
            page = white.convert(_CONVERTED.get(page.mode, "RGB"))
        else:
            page = page.convert(_CONVERTED.get(page.mode, "RGB"))
    dtype = np.dtype(_GREY.get(page.mode, "u1"))
    return np.asarray(page).astype(dtype, copy=False)


# Writing


def write_png(image: Image, folder: Path, stem: str, opts: Mapping[str, Any]) -> None:
    """Make STEM.png, or STEM_0001.png and on.

    Raises:
        SeriesportError: format-unfit.
    """
    _write(image, folder, stem, opts, "PNG")


def write_jpeg(image: Image, folder: Path, stem: str, opts: Mapping[str, Any]) -> None:
    """Make STEM.jpg, or STEM_0001.jpg and on: 8 bits, with loss.

    Raises:
        SeriesportError: format-unfit.
    """
    _write(image, folder, stem, opts, "JPEG")


def write_tiff(image: Image, folder: Path, stem: str, opts: Mapping[str, Any]) -> None:
    """Make STEM.tif, with a page for each slice.

    Raises:
        SeriesportError: format-unfit.
    """
    _write(image, folder, stem, opts, "TIFF")


def _write(image: Image, folder: Path, stem: str, opts: Mapping[str, Any], kind: str) -> None:
    suffix = str(opts.get("suffix") or _SUFFIXES[kind][0])
    trailing = 3 if image.colour else 2
    array = storable(image.array)
    slices = array.reshape(-1, *array.shape[array.ndim - trailing :])
    stored = _is_stored(image, array, kind, opts)
    shown = (0.0, 1.0) if stored else percentiles(array)

    def picture(values: Array) -> Pillow.Image:
        if not stored:
            values = to_grey(values, image.window, shown, image.photometric)
        return Pillow.fromarray(np.ascontiguousarray(values))

    if kind == "TIFF":
        first, *others = slices
        more = (picture(v) for v in others)
        packed = "tiff_adobe_deflate"
        path = folder / f"{stem}{suffix}"
        picture(first).save(path, "TIFF", compression=packed, save_all=True, append_images=more)
        return
    options: dict[str, Any] = {"quality": _QUALITY} if kind == "JPEG" else {"compress_level": 6}
    for i, values in enumerate(slices, 1):
        name = f"{stem}{suffix}" if len(slices) == 1 else f"{stem}_{i:04d}{suffix}"
        picture(values).save(folder / name, kind, **options)


def _is_stored(image: Image, array: Array, kind: str, opts: Mapping[str, Any]) -> bool:
    """Whether values are written as they are."""
    holds = array.dtype.str[1:] in (("u1",) if image.colour else _STORED[kind])
    asked = opts.get("values")
    if asked not in (None, "window", "stored"):
        raise SeriesportError("config-invalid", 'values is not "window" or "stored"')
    if image.colour or asked == "stored":
        if not holds:
            raise unfit(f"{kind} cannot hold values of type {array.dtype} as they are")
        return True
    if array.dtype.kind not in "iuf":
        raise unfit(f"{kind} cannot show values of type {array.dtype}")
    plain = image.window is None and image.photometric != "MONOCHROME1"
    return asked is None and plain and array.dtype.str[1:] in ("u1", "u2") and holds
