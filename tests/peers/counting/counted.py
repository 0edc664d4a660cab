"""A source of as many tiny series as one asks for: it makes each when it is asked, and counts.

Any study and series UID is there, with `INSTANCES` instances, unless the patient's ID begins with
`BAD`. It costs next to nothing, so that what is measured with it is our own.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from seriesport.dicom.part10 import encode_file_meta, load_instance
from seriesport.errors import SeriesportError
from seriesport.model.series import Expected, SeriesReference
from seriesport.transports.archive.address import DicomAddress
from seriesport.transports.contract import Transport

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from seriesport.config.settings import Settings
    from seriesport.model.address import Address
    from seriesport.model.instance import Instance
    from seriesport.model.series import Receipt

INSTANCES = 2
_MR = "1.2.840.10008.5.1.4.1.1.4"
_EXPLICIT = "1.2.840.10008.1.2.1"
_SIZE = 8


class DicomTransport(Transport):
    """See the protocol. `COUNTED` in the environment names the file of counts: a line for each
    question, with its kind."""

    def __init__(self, address: Address, settings: Settings) -> None:
        del address, settings

    def close(self) -> None:
        """Nothing is open."""

    def echo(self, address: Address) -> None:
        """It is always there."""

    def find(self, address: Address) -> list[SeriesReference]:
        """The one series that the address names."""
        assert isinstance(address, DicomAddress)
        _count("find")
        patient, study, series = address.patient or "", address.study or "", address.series or ""
        return [
            SeriesReference(
                address, patient, study, series, modality="MR", series_number="1",
                instances=INSTANCES,
            )
        ]  # fmt: skip

    def expect(self, series: SeriesReference) -> dict[str, Expected]:
        """A number behind the series' UID makes an instance's."""
        if series.patient_id.startswith("BAD"):
            raise SeriesportError("dimse-failure", "status 0xC000")
        uids = (f"{series.series_instance_uid}.{n}" for n in range(1, INSTANCES + 1))
        return {uid: Expected(uid, _MR, n) for n, uid in enumerate(uids, 1)}

    def fetch(
        self,
        series: SeriesReference,
        expected: Mapping[str, Expected],
        have: Collection[str],
        spool: Path,
    ) -> Iterator[Instance]:
        """See the protocol."""
        for number, uid in enumerate(expected, 1):
            if uid not in have:
                _count("fetch")
                path = spool / f"{number}.dcm"
                path.write_bytes(
                    encode_file_meta(_MR, uid, _EXPLICIT) + _encode(series, uid, number)
                )
                yield load_instance(path)

    def store(
        self, instances: Sequence[Instance], address: Address, name: str | None = None
    ) -> Receipt:
        """It takes nothing."""
        del instances, address, name
        raise SeriesportError("store-failed", "this source takes nothing")


def _count(kind: str) -> None:
    path = os.environ.get("COUNTED")
    if path:
        with Path(path).open("a") as stream:
            stream.write(f"{kind}\n")


def _encode(series: SeriesReference, uid: str, number: int) -> bytes:
    """An MR image in Explicit VR Little Endian (PS3.5 section 7.1.2)."""
    position = f"0\\0\\{2 * number}"
    texts = [
        (0x0008, 0x0016, "UI", _MR),
        (0x0008, 0x0018, "UI", uid),
        (0x0008, 0x0020, "DA", "20200101"),
        (0x0008, 0x0060, "CS", "MR"),
        (0x0008, 0x0070, "LO", "Maker"),
        (0x0010, 0x0010, "PN", "Made"),
        (0x0010, 0x0020, "LO", series.patient_id),
        (0x0018, 0x0050, "DS", "2"),
        (0x0018, 0x0080, "DS", "500"),
        (0x0018, 0x0081, "DS", "20"),
        (0x0020, 0x000D, "UI", series.study_instance_uid),
        (0x0020, 0x000E, "UI", series.series_instance_uid),
        (0x0020, 0x0011, "IS", "1"),
        (0x0020, 0x0013, "IS", str(number)),
        (0x0020, 0x0032, "DS", position),
        (0x0020, 0x0037, "DS", "1\\0\\0\\0\\1\\0"),
        (0x0020, 0x0052, "UI", series.study_instance_uid),
        (0x0028, 0x0002, "US", 1),
        (0x0028, 0x0004, "CS", "MONOCHROME2"),
        (0x0028, 0x0010, "US", _SIZE),
        (0x0028, 0x0011, "US", _SIZE),
        (0x0028, 0x0030, "DS", "1\\1"),
        (0x0028, 0x0100, "US", 16),
        (0x0028, 0x0101, "US", 16),
        (0x0028, 0x0102, "US", 15),
        (0x0028, 0x0103, "US", 0),
    ]
    pixels = bytes(range(2 * _SIZE * _SIZE))
    end = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, len(pixels)) + pixels
    return b"".join(_element(*one) for one in texts) + end


def _element(group: int, element: int, vr: str, value: str | int) -> bytes:
    if isinstance(value, int):
        content = struct.pack("<H", value)
    else:
        content = value.encode() + (b"" if len(value) % 2 == 0 else b"\0" if vr == "UI" else b" ")
    return struct.pack("<HH2sH", group, element, vr.encode(), len(content)) + content
