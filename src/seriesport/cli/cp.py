"""`seriesport cp`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seriesport.access import make_folder
from seriesport.cli.ls import find
from seriesport.cli.output import print_json, print_table, progress
from seriesport.errors import SeriesportError
from seriesport.model.address import identity, parse, source_root
from seriesport.model.series import Proof
from seriesport.store.bundle import read_bundle, read_files
from seriesport.store.files import locked
from seriesport.store.keys import load_secret, series_key
from seriesport.transports.fetch import fetch_series
from seriesport.transports.registry import open_transport
from seriesport.transports.served import Flows, patience
from seriesport.workflow.fetch import existing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seriesport.config.settings import Settings
    from seriesport.model.address import Address
    from seriesport.model.series import Receipt, SeriesReference
    from seriesport.transports.contract import Transport

_COLUMNS = ("series", "modality", "instances", "sent", "there_already", "proof")


def cp(source_text: str, destination_text: str, settings: Settings, *, as_json: bool) -> None:
    """Copy every series below one address to another.

    What is fetched waits in a private cache folder until it is delivered, so that a killed copy
    goes on where it was.

    Raises:
        SeriesportError: the failure of the first series that failed, after all were tried.
    """
    source, destination = parse(source_text), parse(destination_text)
    failures: list[SeriesportError] = []
    rows: list[dict[str, Any]] = []
    with (
        open_transport(source_root(source), settings) as reader,
        open_transport(source_root(destination), settings) as writer,
    ):
        writer.check_destination(destination)
        found, lost = find(reader, source)
        for number, series in enumerate(found, 1):
            label = f"series {number} of {len(found)}"
            room = _room(series)
            try:
                with locked(room.with_suffix(".lock")):  # of two copies, one waits
                    rows.append(_copy(reader, writer, series, room, destination, settings, label))
            except SeriesportError as error:
                failures.append(SeriesportError(error.code, f"{label}: {error.message}"))
    _report(rows, as_json=as_json)
    told = "\n".join(error.message for error in failures)
    failures += [error for error in lost if error.message not in told]
    if failures:
        raise _summary(failures)


def _copy(
    reader: Transport,
    writer: Transport,
    series: SeriesReference,
    room: Path,
    destination: Address,
    settings: Settings,
    label: str,
) -> dict[str, Any]:
    make_folder(room, private=True)
    bundle = room / "bundle.zip"
    if not _is_cached(reader, series, bundle):
        with progress(f"{label}: fetch", series.instances) as seen:
            fetch_series(
                reader,
                series,
                bundle,
                room / "staging",
                patience=patience(series.address, settings),
                flow=Flows(settings, seen).get(series.address),
            )
    with progress(f"{label}: store", series.instances) as seen:
        flow = Flows(settings, seen).get(destination)

        def attempt() -> Receipt:
            if series.plain:
                files = flow.send(read_files(bundle))
                receipt = writer.store_files(files, destination, "", series)
            else:
                receipt = writer.store(flow.send(read_bundle(bundle)), destination)
            return receipt.require_complete()

        receipt = patience(destination, settings).retrying()(attempt)
    shutil.rmtree(room)
    return {
        "series": series.series_instance_uid,
        "modality": series.modality,
        "instances": len(receipt.entries),
        "sent": sum(entry.sent for entry in receipt.entries),
        "there_already": sum(not entry.sent for entry in receipt.entries),
        "proof": weakest(receipt),
    }


def _is_cached(reader: Transport, series: SeriesReference, bundle: Path) -> bool:
    """Whether an earlier copy left a bundle with just the instances that the source lists now."""
    if existing(bundle, series) is None:
        return False
    items = read_files(bundle) if series.plain else read_bundle(bundle)
    return {item.uid for item in items} == reader.uids(series)


def weakest(receipt: Receipt) -> str:
    """The weakest proof of any instance that arrived."""
    proofs = [entry.proof for entry in receipt.entries if entry.proof is not None]
    return str(min(proofs, key=list(Proof).index, default=""))


def _room(series: SeriesReference) -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seriesport"
    secret = load_secret(base / "secret")
    place = series.address if series.plain else source_root(series.address)
    return base / series_key(secret, identity(place), series)


def _report(rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(rows)
    elif rows:
        print_table(_COLUMNS, [[row[name] for name in _COLUMNS] for row in rows])


def _summary(failures: Sequence[SeriesportError]) -> SeriesportError:
    more = f" (and {len(failures) - 1} more series failed)" if len(failures) > 1 else ""
    return SeriesportError(failures[0].code, failures[0].message + more)
