"""Whether an encoded data set is all there, told without decoding it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seriesport.dicom.elements import UNDEFINED, Syntax
from seriesport.dicom.readers import Reader, bytes_reader, stream_reader
from seriesport.dicom.reading import inflated
from seriesport.dicom.walker import Found, Walker
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from typing import BinaryIO

_SOP_CLASS = 0x00080016
_SAMPLES, _PHOTOMETRIC, _FRAMES = 0x00280002, 0x00280004, 0x00280008
_ROWS, _COLUMNS, _BITS_ALLOCATED = 0x00280010, 0x00280011, 0x00280100
_PIXEL_URL, _SPECTROSCOPY = 0x00287FE0, 0x56000020
_FLOAT_PIXELS, _DOUBLE_PIXELS, _PIXELS = 0x7FE00008, 0x7FE00009, 0x7FE00010
_PIXEL_DATA = (_FLOAT_PIXELS, _DOUBLE_PIXELS, _PIXELS)
VALUES = frozenset({_SOP_CLASS, _SAMPLES, _PHOTOMETRIC, _FRAMES, _ROWS, _COLUMNS, _BITS_ALLOCATED})
CONTENT = frozenset({_PIXEL_URL, _SPECTROSCOPY, _FLOAT_PIXELS, _DOUBLE_PIXELS, _PIXELS})

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_IMAGE_SUFFIXES = (
    "1 1.1 1.1.1 1.2 1.2.1 1.3 1.3.1 2 2.1 2.2 3 3.1 4 4.1 4.3 4.4 5 6 6.1 6.3 7 7.1 7.2 7.3 7.4 "
    "12.1 12.1.1 12.2 12.2.1 12.3 13.1.1 13.1.2 13.1.3 13.1.4 13.1.5 14.1 14.2 20 "
    "77.1.1 77.1.1.1 77.1.2 77.1.2.1 77.1.3 77.1.4 77.1.4.1 77.1.5.1 77.1.5.2 77.1.5.4 "
    "77.1.5.5 77.1.5.6 77.1.5.7 77.1.6 77.1.7 77.1.8 77.1.9 128 128.1 130 481.1 481.23 "
    "481.24 501.1 501.2.1 501.2.2 601.1 601.2"
)
IMAGE_CLASSES = frozenset(_STORAGE + suffix for suffix in _IMAGE_SUFFIXES.split())
"""The SOP classes named "… Image Storage" (PS3.6 annex A): each instance has pixels."""

# JPEG, JPEG-LS, JPEG 2000, HTJ2K, JPEG XL and RLE: at least one fragment for each frame.
_FRAMED = "4.50 4.51 4.57 4.70 4.80 4.81 4.90 4.91 4.110 4.111 4.112 4.201 4.202 4.203 5"
FRAME_PER_FRAGMENT = frozenset("1.2.840.10008.1.2." + suffix for suffix in _FRAMED.split())
NATIVE = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.113619.5.2",
)
"""Transfer syntaxes whose pixel data are not compressed."""
_ENCAPSULATED = ("1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.5")
"""How transfer syntaxes begin whose pixel data are compressed (PS3.5 annex A.4)."""


def check_whole(source: BinaryIO | bytes | memoryview, size: int, transfer_syntax_uid: str) -> None:
    """Go over every element of an encoded data set, without reading the values.

    Lengths stay within what holds them, sequences and encapsulated pixel data are closed, a
    deflated stream ends, an image has pixels, as many as its rows, columns and frames ask for,
    compressed or not as the transfer syntax says. What cannot be told is a cut between two
    elements of an object that has no pixels.

    Args:
        source: The data set, or a stream that stands at its beginning.
        size: Length of the data set in bytes.
        transfer_syntax_uid: How it is encoded.

    Raises:
        SeriesportError: instance-truncated, instance-invalid, pixels-mislabelled.
    """
    if check_elements(source, size, transfer_syntax_uid) is None:
        raise _truncated("the image has no pixel data")


def check_elements(
    source: BinaryIO | bytes | memoryview, size: int, transfer_syntax_uid: str
) -> bool | None:
    """Do the same, but leave it to the caller what an image is that has neither size nor pixels.

    It was cut, or its source keeps no more of it than this.

    Returns:
        True if there are pixels, of any kind, or spectroscopy data; False if none are due; None
        if they are due and there is no size either.

    Raises:
        SeriesportError: as `check_whole`.
    """
    syntax = Syntax.of(transfer_syntax_uid)
    read, size = inflated(_reader(source), size, syntax)
    found = Walker(read, size, syntax, descend=True).walk(VALUES, CONTENT)
    check_pixels(found, transfer_syntax_uid, little=syntax.little)
    if found.lengths:
        return True
    return None if _sop_class(found) in IMAGE_CLASSES else False


def pixels_length(stream: BinaryIO, size: int, transfer_syntax_uid: str) -> int | None:
    """Return the length of a data set's pixels of any kind; None without pixels.

    Raises:
        SeriesportError: instance-truncated, instance-invalid.
    """
    syntax = Syntax.of(transfer_syntax_uid)
    read, size = inflated(_reader(stream), size, syntax)
    found = Walker(read, size, syntax, descend=False).walk(lengths=_PIXEL_DATA, stop=_PIXELS)
    return next(iter(found.lengths.values()), None)


def is_mislabelled(length: int, transfer_syntax_uid: str) -> bool:
    """Return True if the length of Pixel Data contradicts the transfer syntax (PS3.5 annex A)."""
    if length == UNDEFINED:
        return transfer_syntax_uid in NATIVE
    return length > 0 and transfer_syntax_uid.startswith(_ENCAPSULATED)


def _reader(source: BinaryIO | bytes | memoryview) -> Reader:
    if isinstance(source, (bytes, memoryview)):
        return bytes_reader(source)
    return _seeking_reader(source)


def _seeking_reader(stream: BinaryIO) -> Reader:
    if not stream.seekable():
        return stream_reader(stream)
    start = stream.tell()

    def read(at: int, count: int) -> bytes:
        stream.seek(start + at)
        return stream.read(count)

    return read


def check_pixels(found: Found, transfer_syntax_uid: str, *, little: bool) -> None:
    """Refuse pixels that are fewer than rows, columns and frames ask for, or mislabelled.

    Whether pixels are due follows from the SOP class: Rows and Columns stand in raw data, too.

    Args:
        found: With the attributes in `VALUES`, and the lengths of those in `CONTENT`.
        transfer_syntax_uid: How the pixels are encoded.
        little: Whether values are.

    Raises:
        SeriesportError: instance-truncated, pixels-mislabelled.
    """

    def number(tag: int) -> int:
        return int.from_bytes(found.values.get(tag, b"")[:2], "little" if little else "big")

    pixels = number(_ROWS) * number(_COLUMNS)
    if not _sop_class(found):
        raise _truncated("the data set has no SOP Class UID")
    if pixels and not found.lengths and _sop_class(found) in IMAGE_CLASSES:
        raise _truncated("the image has no pixel data")
    length = found.lengths.get(_PIXELS)
    if length is not None and is_mislabelled(length, transfer_syntax_uid):
        raise SeriesportError("pixels-mislabelled", _MISLABELLED[length == UNDEFINED])
    if length is None or not pixels:
        return
    frames = _frames(found.values.get(_FRAMES, b""))
    if length == UNDEFINED:
        fragments = (found.fragments or 0) - 1
        if transfer_syntax_uid in FRAME_PER_FRAGMENT and fragments < frames:
            raise _truncated(f"the pixel data hold {max(0, fragments)} of {frames} frames")
    elif transfer_syntax_uid in NATIVE:
        bits = pixels * frames * (number(_BITS_ALLOCATED) or 8) * _samples(found, number(_SAMPLES))
        if length < (bits + 7) // 8:
            raise _truncated(f"the pixel data have {length} of {(bits + 7) // 8} bytes")


_MISLABELLED = (
    "the pixel data are not compressed, but the transfer syntax says that they are",
    "the pixel data are compressed, but the transfer syntax says that they are not",
)


def _sop_class(found: Found) -> str:
    return found.values.get(_SOP_CLASS, b"").decode("latin-1").strip(" \0")


def _frames(value: bytes) -> int:
    text = value.strip(b" \0")
    return int(text) if text.isdigit() and len(text) <= 12 else 1


def _samples(found: Found, samples: int) -> int:
    """Stored samples per pixel; YBR_FULL_422 subsamples chrominance (PS3.3 C.7.6.3.1.2)."""
    photometric = found.values.get(_PHOTOMETRIC, b"").strip(b" \0")
    if photometric in (b"YBR_FULL_422", b"YBR_PARTIAL_422"):
        return 2
    return samples or 1


def _truncated(problem: str) -> SeriesportError:
    return SeriesportError("instance-truncated", problem)
