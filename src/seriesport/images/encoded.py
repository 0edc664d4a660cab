"""Encoded data sets as top-level elements: kept, patched and joined without decoding them.

Everything is explicit VR little endian (PS3.5 section 7.1.2). What nobody changes stays the bytes
that it was, nested sequences and private elements included.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

from pydicom.charset import convert_encodings
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from seriesport.dicom.elements import UNDEFINED, Syntax
from seriesport.dicom.explicit import ImplicitError, to_explicit
from seriesport.dicom.reading import elements_of, items_of
from seriesport.dicom.writing import element_head, item_head, padded
from seriesport.errors import SeriesportError
from seriesport.images.decimals import decimal_string
from seriesport.images.frames import BAD_DATA, quiet, read_header
from seriesport.images.headers import quick_header

if TYPE_CHECKING:
    from pathlib import Path

    from seriesport.images.headers import Header

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
CHARSET = 0x00080005
UTF_8 = "ISO_IR 192"
TEXT = (b"LO", b"LT", b"PN", b"SH", b"ST", b"UC", b"UT", b"SQ", b"UN")
"""VRs whose values are in the data set's character set, or may hold such values."""
_PIXELS = 0x7FE00008
"""The first tag of pixel data in any form: Float, Double Float, Pixel Data."""


class Element(NamedTuple):
    """A top-level element's VR and encoded value."""

    vr: bytes
    value: bytes
    undefined: bool = False
    """Of undefined length: the value ends with its delimiter."""


Elements = dict[int, Element]
"""Top-level elements by tag."""


def read_encoded(path: Path) -> tuple[bytes, str]:
    """A file's data set before its pixels, in explicit little endian, and its transfer syntax.

    Raises:
        One of `frames.BAD_DATA`.
    """
    quick = quick_header(path)
    encoded = None if quick is None else explicit_of(quick)
    if quick is None or encoded is None:
        return _converted(path)
    return encoded, quick.top.transfer_syntax_uid


def explicit_of(header: Header) -> bytes | None:
    """A plain data set before its pixels, in explicit little endian; None where pydicom has to
    make it so."""
    encoded = header.top.encoded
    if header.explicit:
        return encoded
    try:
        return to_explicit(encoded, signed=header.get("PixelRepresentation") == 1)
    except ImplicitError:
        return None


def _converted(path: Path) -> tuple[bytes, str]:
    with quiet():
        dataset = read_header(path)
        meta = getattr(dataset, "file_meta", None)
        syntax = str(meta.get("TransferSyntaxUID") or "") if meta is not None else ""
        return join(from_dataset(dataset)), syntax


def items(sequence: Element) -> list[Elements]:
    """The items of a sequence, each with its elements.

    Raises:
        SeriesportError: instance-invalid.
    """
    try:
        return [split(item) for item in items_of(sequence.value, Syntax())]
    except SeriesportError:
        raise SeriesportError("instance-invalid", "a sequence cannot be read") from None


def sequence(*members: Elements) -> Element:
    """A sequence of items of defined length."""
    parts = [join(m) for m in members]
    return Element(b"SQ", b"".join(item_head(len(part)) + part for part in parts))


def split(data: bytes) -> Elements:
    """The top-level elements of an encoded data set without pixels; group lengths are left out.

    Raises:
        SeriesportError: instance-invalid.
    """
    try:
        return _split(data)
    except SeriesportError:
        with quiet():
            try:
                return from_dataset(read_dataset(BytesIO(data), False, True))  # noqa: FBT003 pydicom's own
            except BAD_DATA as error:
                raise SeriesportError(
                    "instance-invalid", f"a header cannot be read ({type(error).__name__})"
                ) from None


def _split(data: bytes) -> Elements:
    return {
        tag: Element(vr or b"UN", data[start:end], length == UNDEFINED)
        for tag, vr, length, start, end in elements_of(data, Syntax())
        if tag & 0xFFFF
    }


def join(elements: Elements) -> bytes:
    """The encoded data set, in the order of tags."""
    parts: list[bytes] = []
    for tag in sorted(elements):
        parts += _parts(tag, elements[tag])
    return b"".join(parts)


def _parts(tag: int, element: Element) -> tuple[bytes, bytes]:
    vr, value, undefined = element
    return element_head(tag, vr, UNDEFINED if undefined else len(value)), value


def head_of_pixels(vr: bytes, size: int) -> bytes:
    """What stands before the bytes of Pixel Data."""
    return element_head(0x7FE00010, vr, size)


def to_dataset(elements: Elements) -> Dataset:
    """A decoded copy, by pydicom; values are converted when they are first looked at."""
    with quiet():
        return read_dataset(BytesIO(join(elements)), False, True)  # noqa: FBT003 pydicom's own


def from_dataset(dataset: Dataset) -> Elements:
    """The elements of a pydicom data set; its pixels and file meta information are left out.

    Raises:
        One of `frames.BAD_DATA`.
    """
    with quiet():
        stream = DicomBytesIO()
        stream.is_little_endian, stream.is_implicit_VR = True, False
        encodings = convert_encodings(dataset.get("SpecificCharacterSet") or "ISO_IR 6")
        write_dataset(stream, dataset[:_PIXELS], encodings)
    return _split(stream.getvalue())


def tag_of(keyword: str) -> int:
    """The tag of a keyword of PS3.6.

    Raises:
        SeriesportError: header-invalid for any other word.
    """
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise SeriesportError("header-invalid", f"{keyword!r} is no DICOM keyword")
    return int(tag)


def value_of(elements: Elements, keyword: str) -> Any:
    """The decoded value of an attribute; None where it is missing or empty.

    Raises:
        SeriesportError: header-invalid for no keyword; instance-invalid where it is damaged.
    """
    tag = tag_of(keyword)
    if tag not in elements or not elements[tag].value:
        return None
    part = {t: elements[t] for t in (CHARSET, tag) if t in elements}
    try:
        with quiet():
            found: Any = to_dataset(part).get(keyword)
    except BAD_DATA:
        raise SeriesportError("instance-invalid", f"{keyword} cannot be decoded") from None
    if found is None or found == "":
        return None
    return found


def element(keyword: str, value: Any) -> Element:
    """An element of any kind by pydicom, text in UTF-8; None is empty.

    Raises:
        SeriesportError: header-invalid where the attribute cannot have this value.
    """
    tag = tag_of(keyword)
    dataset = Dataset()
    dataset.SpecificCharacterSet = UTF_8
    try:
        with quiet():
            vr = dictionary_VR(tag).partition(" or ")[0]
            if vr == "DS" and value is not None:
                value = _decimal_strings(value)
            dataset.add(DataElement(tag, vr, value, validation_mode=RAISE))
            return from_dataset(dataset)[tag]
    except BAD_DATA:
        raise SeriesportError("header-invalid", f"{keyword} cannot have this value") from None


def _decimal_strings(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return decimal_string(float(value))
    return [v if isinstance(v, str) else decimal_string(float(v)) for v in value]


def text(vr: bytes, *values: str) -> Element:
    """An element of ASCII text, padded to an even length."""
    data = "\\".join(values).encode("ascii")
    return Element(vr, padded(vr, data))


def number(vr: bytes, *values: float) -> Element:
    """An element of binary or text numbers: US, SS, UL, FD, IS, DS."""
    if vr == b"DS":
        return text(vr, *(decimal_string(float(v)) for v in values))
    if vr == b"IS":
        return text(vr, *(str(int(v)) for v in values))
    form = {b"US": "H", b"SS": "h", b"UL": "L", b"FD": "d"}[vr]
    return Element(vr, struct.pack(f"<{len(values)}{form}", *values))


def to_utf8(elements: Elements) -> Elements:
    """The same with all text in UTF-8, nested text included.

    Raises:
        SeriesportError: instance-invalid.
    """
    if CHARSET in elements and elements[CHARSET].value.strip() == UTF_8.encode():
        return elements
    if all(e.value.isascii() and b"\x1b" not in e.value for e in elements.values() if e.vr in TEXT):
        return {**elements, CHARSET: text(b"CS", UTF_8)}
    try:
        with quiet():
            dataset = to_dataset(elements)
            dataset.decode()
            dataset.SpecificCharacterSet = UTF_8
            return from_dataset(dataset)
    except BAD_DATA as error:
        raise SeriesportError(
            "instance-invalid", f"a header's text cannot be read ({type(error).__name__})"
        ) from None
