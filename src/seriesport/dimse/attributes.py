"""The attributes of questions and answers: flat data sets of a few texts (PS3.4 annex C, PS3.5).

Encoded and read by hand, since an archive's answers come by the thousand: 10 us each instead of
pydicom's 250 us.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from seriesport.dicom.charset import decode_text
from seriesport.dicom.elements import EXPLICIT_LITTLE, Syntax
from seriesport.dicom.reading import elements_of
from seriesport.dicom.writing import element
from seriesport.dimse.pdu import malformed
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Mapping

UTF_8 = "ISO_IR 192"
CODECS = {
    UTF_8: "utf-8",
    "ISO_IR 100": "latin-1",
    "ISO_IR 101": "iso8859-2",
    "ISO_IR 109": "iso8859-3",
    "ISO_IR 110": "iso8859-4",
    "ISO_IR 144": "iso8859-5",
    "ISO_IR 126": "iso8859-7",
    "ISO_IR 138": "iso8859-8",
    "ISO_IR 148": "iso8859-9",
}
"""Character sets that a question may be asked in, with Python's names for them."""


class Key(Enum):
    """The attributes that we ask for: tag and VR (PS3.6)."""

    CHARACTER_SET = (0x00080005, "CS")
    SOP_CLASS_UID = (0x00080016, "UI")
    SOP_INSTANCE_UID = (0x00080018, "UI")
    ACCESSION_NUMBER = (0x00080050, "SH")
    LEVEL = (0x00080052, "CS")
    FAILED_SOP_INSTANCE_UIDS = (0x00080058, "UI")
    MODALITY = (0x00080060, "CS")
    SOP_CLASSES_IN_STUDY = (0x00080062, "UI")
    SERIES_DESCRIPTION = (0x0008103E, "LO")
    TRANSFER_SYNTAX_UIDS = (0x00083002, "UI")
    PATIENT_ID = (0x00100020, "LO")
    STUDY_INSTANCE_UID = (0x0020000D, "UI")
    SERIES_INSTANCE_UID = (0x0020000E, "UI")
    SERIES_NUMBER = (0x00200011, "IS")
    INSTANCE_NUMBER = (0x00200013, "IS")
    STUDY_SERIES = (0x00201206, "IS")
    SERIES_INSTANCES = (0x00201209, "IS")

    @property
    def tag(self) -> int:
        """Group and element."""
        return self.value[0]

    @property
    def vr(self) -> str:
        """Value representation."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Answer:
    """An identifier as received: values by tag, still encoded."""

    values: Mapping[int, bytes]

    def read_in(self, character_set: str) -> Answer:
        """Return the same with a character set, where it names none."""
        return Answer({Key.CHARACTER_SET.tag: character_set.encode(), **self.values})

    def text(self, key: Key) -> str:
        """A value without padding, backslashes kept; empty where there is none."""
        return self.text_at(key.tag)

    def text_at(self, tag: int) -> str:
        """The same of any tag that holds text."""
        value = self.values.get(tag, b"").strip(b"\0 ")
        return decode_text(value, self.values.get(Key.CHARACTER_SET.tag, b""))

    def texts(self, key: Key) -> tuple[str, ...]:
        """The values of a multi-valued attribute."""
        parts = (part.strip(" \0") for part in self.text(key).split("\\"))
        return tuple(part for part in parts if part)

    def number(self, key: Key) -> int | None:
        """An integer string, or None where it is none."""
        return integer(self.text(key))


def integer(text: str) -> int | None:
    """The value of an integer string (VR IS, PS3.5 section 6.2), or None where it is none."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits.isascii() or not digits.isdigit() or len(digits) > 12:
        return None
    return int(text)


def encode(values: Mapping[Key, str], transfer_syntax: str, character_set: str = UTF_8) -> bytes:
    """Encode an identifier in explicit or implicit VR little endian.

    Text outside of ASCII is written in a character set of `CODECS`, which is named beside it.

    Raises:
        UnicodeEncodeError: The character set cannot write a text.
    """
    encoded = {key: text.encode(CODECS[character_set]) for key, text in values.items()}
    if not all(value.isascii() for value in encoded.values()):
        encoded[Key.CHARACTER_SET] = character_set.encode()
    syntax = Syntax(explicit=transfer_syntax == EXPLICIT_LITTLE)
    return b"".join(
        element(key.tag, key.vr.encode(), encoded[key], syntax)
        for key in sorted(encoded, key=lambda key: key.tag)
    )


def character_sets(text: str) -> list[str]:
    """Return the character sets to ask in, one after the other, each for other bytes than before.

    UTF-8 comes first. An archive may compare bytes, and hold the text in one of a single byte per
    character (PS3.3 section C.12.1.1.2).
    """
    found: dict[bytes, str] = {}
    for name, codec in CODECS.items():
        with suppress(UnicodeEncodeError):
            found.setdefault(text.encode(codec), name)
    return list(found.values())


def decode(data: bytes, transfer_syntax: str) -> Answer:
    """Read an identifier; what is nested in sequences is passed over.

    Raises:
        SeriesportError: protocol-error, where it is cut off or cannot be read.
    """
    syntax = Syntax(explicit=transfer_syntax == EXPLICIT_LITTLE)
    try:
        return Answer({tag: data[at:end] for tag, _, _, at, end in elements_of(data, syntax)})
    except SeriesportError:
        raise malformed("an identifier ends within an element, or cannot be read") from None
