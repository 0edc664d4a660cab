"""Identifiers of C-FIND and C-GET as the archive reads and answers them (PS3.4 section C.4)."""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack
from typing import TYPE_CHECKING

from seriesport.dicom.elements import EXPLICIT_LITTLE, Syntax
from seriesport.dicom.writing import element
from seriesport.dimse import attributes
from seriesport.serve.catalog import ATTRIBUTES, Key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

CHARACTER_SET, LEVEL, RETRIEVE_AET = 0x00080005, 0x00080052, 0x00080054
FAILED_UIDS = 0x00080058
UTF_8 = "ISO_IR 192"


@dataclass(frozen=True, slots=True)
class Identifier:
    """What a request asks for: its level, and the keys that the archive supports."""

    level: str
    keys: tuple[Key, ...]

    @staticmethod
    def decode(data: bytes, transfer_syntax_uid: str) -> Identifier:
        """Read a request's identifier. Keys that are not supported are passed over.

        Raises:
            SeriesportError: protocol-error.
        """
        asked = attributes.decode(data, transfer_syntax_uid)
        keys = tuple(
            Key(ATTRIBUTES[tag].keyword, ATTRIBUTES[tag].vr, asked.text_at(tag))
            for tag in sorted(asked.values)
            if tag in ATTRIBUTES
        )
        return Identifier(asked.text_at(LEVEL), keys)

    def answer(self, values: Mapping[str, str], aet: str, transfer_syntax_uid: str) -> bytes:
        """Encode a C-FIND response with the values of the keys that were asked for."""
        asked = {key.keyword for key in self.keys}
        elements = [(CHARACTER_SET, "CS", UTF_8), (LEVEL, "CS", self.level)]
        elements.append((RETRIEVE_AET, "AE", aet))
        elements += [
            (tag, one.vr, values.get(one.keyword, ""))
            for tag, one in ATTRIBUTES.items()
            if one.keyword in asked
        ]
        return _encode(elements, transfer_syntax_uid)


def encode_failed_list(uids: Sequence[str], transfer_syntax_uid: str) -> bytes:
    """The identifier of a C-GET response with failures (PS3.4 section C.4.3.1.3.2)."""
    return _encode([(FAILED_UIDS, "UI", "\\".join(uids))], transfer_syntax_uid)


def _encode(elements: Iterable[tuple[int, str, str]], transfer_syntax_uid: str) -> bytes:
    syntax = Syntax(explicit=transfer_syntax_uid == EXPLICIT_LITTLE)
    return b"".join(
        element(tag, vr.encode(), _value(vr, text), syntax) for tag, vr, text in sorted(elements)
    )


def _value(vr: str, text: str) -> bytes:
    if vr == "US":
        return b"".join(pack("<H", int(n)) for n in text.split("\\") if _is_us(n))
    return text.encode()


def _is_us(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) <= 0xFFFF
