"""`seriesport ls` and `seriesport echo`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from seriesport.cli.output import print_json, print_table, printable, say
from seriesport.errors import SeriesportError
from seriesport.model.series import Harm, SeriesReference
from seriesport.transports.registry import open_transport, parse

if TYPE_CHECKING:
    from seriesport.config.settings import Settings
    from seriesport.model.address import Address
    from seriesport.transports.contract import Check, Transport

_Column = Callable[[SeriesReference], str | int]
_SERIES: dict[str, _Column] = {
    "patient": lambda r: r.patient_id,
    "accession": lambda r: r.accession_number,
    "study": lambda r: r.study_instance_uid,
    "series": lambda r: r.series_instance_uid,
    "series_number": lambda r: r.series_number,
    "modality": lambda r: r.modality,
    "instances": lambda r: "" if r.instances is None else r.instances,
    "description": lambda r: r.series_description,
}
_SCANS: dict[str, _Column] = {"type": lambda r: r.scan_type, "quality": lambda r: r.quality}
NOTHING = "no series below this address"
_NAMED = 10


def find(
    transport: Transport, address: Address
) -> tuple[list[SeriesReference], list[SeriesportError]]:
    """Return the series below an address, and what may be a part of them and was left out.

    Raises:
        SeriesportError: not-found, where there are none; why, where they cannot be listed.
    """
    found, failures = transport.find(address), left_out(transport)
    if not found:
        raise failures[0] if failures else SeriesportError("not-found", NOTHING)
    return found, failures


def left_out(transport: Transport) -> list[SeriesportError]:
    """Name on the terminal what a transport left out; return what a series may lack for that."""
    every = transport.left_out()
    strays = [one.error for one in every if one.harm is Harm.NONE]
    for error in strays[:_NAMED]:
        say(f"passed over {error.message} [{error.code}]")
    if len(strays) > _NAMED:
        say(f"passed over {len(strays) - _NAMED} more of this kind")
    return [one.error for one in every if one.harm is not Harm.NONE]


def ls(text: str, settings: Settings, *, as_json: bool) -> None:
    """Print the series below an address with their identifiers.

    Raises:
        SeriesportError: not-found; after printing, why something was left out.
    """
    address = parse(text)
    with open_transport(address.root, settings) as transport:
        found, failures = find(transport, address)
    columns = {**(_SCANS if address.has_scans else {}), **_SERIES}
    rows = [
        {**series.address.columns, **{name: value(series) for name, value in columns.items()}}
        for series in found
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(tuple(rows[0]), [tuple(row.values()) for row in rows])
    if failures:
        raise failures[0]


def echo(text: str, settings: Settings, *, as_json: bool) -> None:
    """Try what will be needed of a server, and print how each trial went.

    Raises:
        SeriesportError: after printing, the first failure of what a source needs.
    """
    address = parse(text)
    rows: list[dict[str, Any]] = []
    failures: list[SeriesportError] = []
    with open_transport(address.root, settings) as transport:
        for check in transport.echo(address):
            rows.append(_told(check))
            if not as_json:
                print(_line(check), flush=True)
            if check.error is not None and check.needed:
                failures.append(check.error)
    if as_json:
        print_json({"ok": not failures, "checks": rows})
    if failures:
        raise failures[0]


def _told(check: Check) -> dict[str, Any]:
    error = check.error
    code, detail = (error.code, error.message) if error else ("", check.detail)
    return {"service": check.service, "ok": error is None, "code": code, "detail": detail}


def _line(check: Check) -> str:
    error = check.error
    if error is None:
        return f"{check.service:<12} ok{check.detail and ': '}{printable(check.detail)}"
    note = "" if check.needed else " (only a destination needs it)"
    return f"{check.service:<12} NO: {printable(error.message)} [{error.code}]{note}"
