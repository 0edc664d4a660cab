"""Identifiers of C-FIND and C-GET as the archive reads and answers them (PS3.4 section C.4)."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, cast

from seriesport.dimse.catalog import Key
from seriesport.dimse.pdu import malformed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydicom import Dataset

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
UTF_8 = "ISO_IR 192"

_NO_KEYS = frozenset({"QueryRetrieveLevel", "SpecificCharacterSet", "RetrieveAETitle"})


@dataclass(frozen=True, slots=True)
class Identifier:
    """What a request asks for, or what a response says."""

    level: str
    keys: tuple[Key, ...]

    @staticmethod
    def decode(data: bytes, transfer_syntax_uid: str) -> Identifier:
        """Read a request's identifier.

        Raises:
            SeriesportError: protocol-error.
        """
        from pydicom.filereader import read_dataset  # noqa: PLC0415 - 0.3 s, see `serve`

        try:
            dataset = read_dataset(
                BytesIO(data),
                is_implicit_VR=transfer_syntax_uid == IMPLICIT_LITTLE,
                is_little_endian=True,
            )
            dataset.decode()
            level = str(dataset.get("QueryRetrieveLevel", "")).strip()
            keys = tuple(
                Key(element.keyword, str(element.VR), _text(cast("object", element.value)))
                for element in dataset
                if element.keyword not in _NO_KEYS and element.VR != "SQ"
            )
        except Exception as error:  # hostile bytes bring pydicom to raise any of them
            raise malformed("an identifier cannot be read") from error
        return Identifier(level, keys)

    def answer(self, values: Mapping[str, str], aet: str, transfer_syntax_uid: str) -> bytes:
        """Encode a C-FIND response with the values of the keys that were asked for."""
        from pydicom import Dataset  # noqa: PLC0415 - 0.3 s, see `serve`

        dataset = Dataset()
        dataset.SpecificCharacterSet = UTF_8
        dataset.QueryRetrieveLevel, dataset.RetrieveAETitle = self.level, aet
        for key in self.keys:
            value = values.get(key.keyword, "")
            if key.keyword:
                setattr(dataset, key.keyword, _value(key.vr, value))
        return _encode(dataset, transfer_syntax_uid)


def encode_failed_list(uids: Sequence[str], transfer_syntax_uid: str) -> bytes:
    """The identifier of a C-GET response with failures (PS3.4 section C.4.3.1.3.2)."""
    from pydicom import Dataset  # noqa: PLC0415 - 0.3 s, see `serve`

    dataset = Dataset()
    dataset.FailedSOPInstanceUIDList = list(uids)
    return _encode(dataset, transfer_syntax_uid)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str | int | float):
        return str(value)
    if hasattr(value, "__iter__") and not hasattr(value, "components"):
        return "\\".join(str(one) for one in cast("Sequence[object]", value))
    return str(value)


def _value(vr: str, value: str) -> str | int | list[str] | list[int] | None:
    if vr == "US":
        numbers = [int(one) for one in value.split("\\") if one.isdigit()]
        return numbers or None
    return value.split("\\") if vr in ("UI", "CS") and "\\" in value else value


def _encode(dataset: Dataset, transfer_syntax_uid: str) -> bytes:
    from pydicom.filebase import DicomBytesIO  # noqa: PLC0415 - 0.3 s, see `serve`
    from pydicom.filewriter import write_dataset  # noqa: PLC0415

    stream = DicomBytesIO()
    stream.is_little_endian = True
    stream.is_implicit_VR = transfer_syntax_uid == IMPLICIT_LITTLE
    write_dataset(stream, dataset)
    return stream.getvalue()
