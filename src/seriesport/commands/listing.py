"""`seriesport ls` and `seriesport echo`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from seriesport.address import DicomAddress, parse, source_root
from seriesport.commands.output import print_json, print_table
from seriesport.errors import SeriesportError
from seriesport.transports.registry import open_transport

if TYPE_CHECKING:
    from seriesport.address import Address
    from seriesport.settings import Settings
    from seriesport.transports.dicom import DicomTransport
    from seriesport.transports.protocol import SeriesReference, Transport

_COLUMNS = (
    "patient", "accession", "study", "series", "series_number", "modality", "instances",
    "description",
)  # fmt: skip


def find(transport: Transport, address: Address) -> list[SeriesReference]:
    """The series below an address.

    Raises:
        SeriesportError: not-found, where there are none.
    """
    found = transport.find(address)
    if not found:
        raise SeriesportError("not-found", "no series below this address")
    return found


def ls(text: str, settings: Settings, *, as_json: bool) -> None:
    """Print the series below an address with their identifiers."""
    address = parse(text)
    with open_transport(source_root(address), settings) as transport:
        found = find(transport, address)
    rows = [
        (
            r.patient_id,
            r.accession_number,
            r.study_instance_uid,
            r.series_instance_uid,
            r.series_number,
            r.modality,
            "" if r.instances is None else r.instances,
            r.series_description,
        )
        for r in found
    ]
    if as_json:
        print_json([dict(zip(_COLUMNS, row, strict=True)) for row in rows])
    else:
        print_table(_COLUMNS, rows)


def echo(text: str, settings: Settings, *, as_json: bool) -> None:
    """C-ECHO an archive.

    Raises:
        SeriesportError: what keeps the archive from answering.
    """
    address = parse(text)
    if not isinstance(address, DicomAddress):
        raise SeriesportError("scheme-unsupported", "echo is for dicom:// addresses")
    started = time.monotonic()
    with open_transport(source_root(address), settings) as transport:
        cast("DicomTransport", transport).echo()
    milliseconds = round((time.monotonic() - started) * 1000)
    if as_json:
        print_json({"ok": True, "milliseconds": milliseconds})
    else:
        print(f"{address.aet} answers in {milliseconds} ms")
