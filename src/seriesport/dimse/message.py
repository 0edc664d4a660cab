"""Command sets of DIMSE messages (PS3.7 sections 6.3.1 and 9.3, annex E)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import TYPE_CHECKING

from seriesport.dicom.elements import Syntax
from seriesport.dicom.reading import elements_of
from seriesport.dicom.writing import element
from seriesport.dimse.pdu import malformed
from seriesport.errors import SeriesportError
from seriesport.model.instance import OPAQUE_UID

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMAND_MAXIMUM = 1024 * 1024
"""Longest command set that is read, in bytes; 200 as a rule, more where Orthanc lists failures."""

NO_DATA_SET = 0x0101
PRIORITY_MEDIUM = 0x0000

_IMPLICIT = Syntax(explicit=False)
_US = Struct("<H")


class Field(IntEnum):
    """Element numbers of group 0000 (PS3.7 annex E.1)."""

    AFFECTED_SOP_CLASS_UID = 0x0002
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_RESPONDED_TO = 0x0120
    PRIORITY = 0x0700
    DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    ERROR_COMMENT = 0x0902
    AFFECTED_SOP_INSTANCE_UID = 0x1000
    REMAINING = 0x1020
    COMPLETED = 0x1021
    FAILED = 0x1022
    WARNING = 0x1023


class Kind(IntEnum):
    """Values of the command field (PS3.7 annex E.1)."""

    C_STORE_RQ = 0x0001
    C_STORE_RSP = 0x8001
    C_GET_RQ = 0x0010
    C_GET_RSP = 0x8010
    C_FIND_RQ = 0x0020
    C_FIND_RSP = 0x8020
    C_ECHO_RQ = 0x0030
    C_ECHO_RSP = 0x8030
    C_CANCEL_RQ = 0x0FFF


@dataclass(frozen=True, slots=True)
class Command:
    """A command set as received: values by element number, still encoded."""

    values: Mapping[int, bytes]

    @property
    def kind(self) -> int:
        """The command field."""
        return self.number(Field.COMMAND_FIELD)

    @property
    def status(self) -> int:
        """The status of a response."""
        return self.number(Field.STATUS)

    @property
    def has_data(self) -> bool:
        """Whether a data set follows."""
        return self.number(Field.DATA_SET_TYPE) != NO_DATA_SET

    def number(self, field: Field, default: int | None = None) -> int:
        """An unsigned short (VR US).

        Raises:
            SeriesportError: protocol-error, where it is absent without a default, or no US.
        """
        value = self.values.get(field)
        if value is None and default is not None:
            return default
        if value is None or len(value) != 2:
            raise malformed(f"the command's {field.name} is missing or not two bytes long")
        return int(_US.unpack(value)[0])

    def uid(self, field: Field) -> str:
        """A UID without its padding (VR UI).

        Raises:
            SeriesportError: protocol-error, where it is absent or cannot be a UID.
        """
        uid = self.values.get(field, b"").decode("latin-1").strip("\0 ")
        if OPAQUE_UID.fullmatch(uid) is None:
            raise malformed(f"the command's {field.name} is missing or no UID")
        return uid


def encode(values: Mapping[Field, int | str]) -> bytes:
    """Encode a command set: implicit VR little endian, ascending, with its group length.

    Numbers are written as US, texts as UI.
    """
    body = b"".join(_element(field, values[field]) for field in sorted(values))
    return element(0, b"UL", len(body).to_bytes(4, "little"), _IMPLICIT) + body


def _element(field: Field, value: int | str) -> bytes:
    if isinstance(value, int):
        return element(field, b"US", _US.pack(value), _IMPLICIT)
    return element(field, b"UI", value.encode("ascii"), _IMPLICIT)


def decode(data: bytes) -> Command:
    """Read a command set.

    The group length is not relied upon. Doubled elements and lengths that do not fit are errors.
    Elements of other groups are passed over: Orthanc 1.10 puts the list of failed instances
    (0008,0058) of a C-GET response here.

    Raises:
        SeriesportError: protocol-error.
    """
    values: dict[int, bytes] = {}
    try:
        for tag, _, _, at, end in elements_of(data, _IMPLICIT, first=0):
            if tag in values:
                raise malformed("a command set has a doubled element")
            if tag >> 16 == 0:
                values[tag] = data[at:end]
    except SeriesportError as error:
        if error.code == "protocol-error":
            raise
        raise malformed("a command set ends within an element") from None
    return Command(values)


def response(request: Command, status: int) -> bytes:
    """The response without data set to a C-STORE request (PS3.7 section 9.3.1.2)."""
    return encode(
        {
            Field.AFFECTED_SOP_CLASS_UID: request.uid(Field.AFFECTED_SOP_CLASS_UID),
            Field.COMMAND_FIELD: Kind.C_STORE_RSP,
            Field.MESSAGE_ID_RESPONDED_TO: request.number(Field.MESSAGE_ID),
            Field.DATA_SET_TYPE: NO_DATA_SET,
            Field.STATUS: status,
            Field.AFFECTED_SOP_INSTANCE_UID: request.uid(Field.AFFECTED_SOP_INSTANCE_UID),
        }
    )
