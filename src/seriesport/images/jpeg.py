"""JPEG and JPEG-LS pictures by GDCM, as a decoding plugin of pydicom.

pydicom's own plugin for GDCM passes on what the DICOM header says of a picture. This one passes on
what the picture says itself, with which GDCM also decodes 12 bits of JPEG Extended and few bits of
the lossless ones, and refuses a picture that is not of the header's size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gdcm
from pydicom.uid import JPEGLSTransferSyntaxes, JPEGTransferSyntaxes

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import DecodeRunner

_ALONE = (0x01, *range(0xD0, 0xD9))
"""Markers without a segment: TEM, the restarts and SOI (ISO/IEC 10918-1 table B.1)."""
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC3, 0xF7)
"""Markers of Huffman-coded frames: baseline, extended, progressive, lossless; JPEG-LS."""
_GDCM: Any = gdcm


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """What a JPEG or JPEG-LS stream says of its picture."""

    bits: int
    rows: int
    columns: int
    samples: int


def is_available(syntax: str) -> bool:
    """Return True for the transfer syntaxes that are decoded here; pydicom asks."""
    return syntax in JPEGTransferSyntaxes or syntax in JPEGLSTransferSyntaxes


def frame_header(stream: bytes) -> FrameHeader:
    """Read the frame header of a stream (ISO/IEC 10918-1 B.2.2; the same in 14495-1).

    Raises:
        ValueError: It has none.
    """
    at = 2
    while stream[:2] == b"\xff\xd8" and at + 10 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker in _FRAMES:
            rows = int.from_bytes(stream[at + 5 : at + 7], "big")
            columns = int.from_bytes(stream[at + 7 : at + 9], "big")
            return FrameHeader(stream[at + 4], rows, columns, stream[at + 9])
        if marker == 0xFF:  # fill
            at += 1
        elif marker in _ALONE:
            at += 2
        else:
            at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    raise ValueError("no frame header")


def decode_frame(stream: bytes, runner: DecodeRunner) -> bytes:
    """Decode one picture, colour by pixel; tell the runner how many bits each value has.

    Raises:
        ValueError: It is not the picture that the header states, or is damaged.
    """
    header = frame_header(stream)
    stated = (runner.rows, runner.columns, runner.samples_per_pixel)
    if (header.rows, header.columns, header.samples) != stated:
        raise ValueError("not of the size that the header states")
    if not 2 <= header.bits <= min(16, runner.bits_allocated):
        raise ValueError("not of the bits that the header states")
    bits = 8 if header.bits <= 8 else 16
    runner.set_option("bits_allocated", bits)
    runner.set_option("planar_configuration", 0)
    text = _image(stream, header, bits, runner.transfer_syntax).GetBuffer()
    if text is None:
        raise ValueError("GDCM cannot decode it")
    return text.encode("utf-8", "surrogateescape")  # SWIG makes a str of a char *


def _image(stream: bytes, header: FrameHeader, bits: int, syntax: str) -> Any:
    """Return GDCM's image of a stream, which it decodes when it is asked for the values."""
    fragment = _GDCM.Fragment()
    fragment.SetByteStringValue(stream)
    fragments = _GDCM.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = _GDCM.DataElement(_GDCM.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = _GDCM.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((header.columns, header.rows, 1))
    image.SetDataElement(element)
    colour = _GDCM.PhotometricInterpretation
    kind = colour.MONOCHROME2 if header.samples == 1 else colour.RGB  # no transformation
    image.SetPhotometricInterpretation(colour(kind))
    syntaxes = _GDCM.TransferSyntax
    image.SetTransferSyntax(syntaxes(syntaxes.GetTSType(str.__str__(syntax))))
    # All bits, for GDCM to mask none: to which sign they belong, pydicom knows.
    image.SetPixelFormat(_GDCM.PixelFormat(header.samples, bits, bits, bits - 1, 0))
    return image
