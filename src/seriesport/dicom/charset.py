"""Text values of DICOM data sets, by their character sets (PS3.5 section 6.1)."""

from __future__ import annotations

from functools import lru_cache

# PS3.3 C.12.1.1.2; what is missing here, and code extensions, are left to pydicom.
_CODECS = {
    "": "latin-1",
    "ISO_IR 6": "latin-1",
    "ISO_IR 100": "latin-1",
    "ISO_IR 101": "iso8859-2",
    "ISO_IR 109": "iso8859-3",
    "ISO_IR 110": "iso8859-4",
    "ISO_IR 126": "iso8859-7",
    "ISO_IR 127": "iso8859-6",
    "ISO_IR 138": "iso8859-8",
    "ISO_IR 144": "iso8859-5",
    "ISO_IR 148": "iso8859-9",
    "ISO_IR 166": "tis-620",
    "ISO_IR 192": "utf-8",
    "GB18030": "gb18030",
    "GBK": "gbk",
}


def decode_text(value: bytes, charset: bytes) -> str:
    """A value as text, by the data set's Specific Character Set (0008,0005)."""
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii")
    names = charset.decode("latin-1").split("\\")
    codec = _CODECS.get(names[0].strip(" \0")) if len(names) == 1 else None
    if codec is not None:
        return value.decode(codec, "replace")
    return _decode_extended(value, tuple(name.strip(" \0") for name in names))


def _decode_extended(value: bytes, names: tuple[str, ...]) -> str:
    from pydicom.charset import decode_bytes  # noqa: PLC0415 - 0.2 s that few files need

    try:
        return decode_bytes(value, list(_encodings(names)), set())
    except (LookupError, ValueError):
        return value.decode("latin-1")


@lru_cache
def _encodings(names: tuple[str, ...]) -> tuple[str, ...]:
    from pydicom.charset import convert_encodings  # noqa: PLC0415 - 0.2 s that few files need

    return tuple(convert_encodings(list(names)))
