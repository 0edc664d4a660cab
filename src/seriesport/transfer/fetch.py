"""Fetch one series to this machine."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from seriesport.access import make_folder
from seriesport.cohort.choice import check_scope, choose
from seriesport.config.settings import Settings
from seriesport.errors import SeriesportError
from seriesport.model.instance import FileSlice
from seriesport.model.series import SeriesReference
from seriesport.privacy import reasoned
from seriesport.store.bundle import is_bundle, manifest_path, read_bundle, read_files
from seriesport.store.files import locked
from seriesport.store.keys import load_secret
from seriesport.store.staging import belongs
from seriesport.transfer.cache import cache, cached, fetch_bundle
from seriesport.transfer.find import look
from seriesport.transfer.watch import Watch
from seriesport.transports.given import address_of, settings_for
from seriesport.transports.listing import key_of
from seriesport.transports.registry import open_transport, path_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seriesport.model.address import Address
    from seriesport.transports.contract import Transport


@reasoned()
def fetch(
    source: str | Path | Address | SeriesReference,
    target: str | Path,
    settings: Settings | None = None,
    *,
    series: str | int | None = None,
    watch: Watch | None = None,
) -> list[Path]:
    """Fetch one series into a folder or a bundle, proven complete or not there.

    What the source lists before and after must have come, each instance whole and of this series.
    What an earlier, killed call received is verified and kept. Instances have the bytes that the
    source gave.

        >>> from seriesport import fetch, find
        >>> paths = fetch("images", "ct", series=1)
        >>> [path.name for path in paths]
        ['000001.dcm', '000002.dcm', '000003.dcm', '000004.dcm', '000005.dcm']
        >>> mr = find("images")[1]
        >>> [path.name for path in fetch(mr, "mr.zip")]  # mr.json lists sizes and SHA-256
        ['mr.zip']

    Args:
        source: An address or path of one series, or a reference that `find` returned.
        target: A folder, which gets a file per instance, or the path of a bundle that ends in
            `.zip`, which gets its manifest beside it.
        settings: Servers and limits; by default those of `config/config.yaml` in the working
            directory.
        series: Series number or UID, where the address means several.
        watch: Told how it goes.

    Returns:
        The files of the folder that are the series, by name; or the bundle.

    Raises:
        SeriesportError: not-found; ambiguous, with a list; incomplete, with the missing instances
            by number; changed-during-fetch; destination-conflict, where the target has something
            else; what the source raises.
    """
    watch, path = watch or Watch(), Path(target).absolute()
    place = source.address if isinstance(source, SeriesReference) else address_of(source)
    known = settings_for([place], settings)
    check_scope(place)
    bundled = path.suffix.lower() == ".zip"
    with (
        open_transport(place.root, known, watch.moved) as reader,
        open_transport(path_address(path.parent), known) as files,
    ):
        if not bundled:
            files.check_destination(path_address(path))
        one = source if isinstance(source, SeriesReference) else _one(reader, place, series, watch)
        watch.found([one])
        bundle = path if bundled else cached(load_secret(cache() / "secret"), one)
        staging = bundle.with_name(f".{path.name}.staging" if bundled else "staging")
        make_folder(bundle.parent, private=not bundled)
        with locked(bundle.with_name(f".{bundle.name}.lock")):
            if bundled:
                _check_ours(bundle, one)
            fetch_bundle(reader, one, bundle, staging)
            paths = [bundle] if bundled else _unpack(bundle, one, path, files)
            shutil.rmtree(staging, ignore_errors=True)  # what was quarantined
            if not bundled:
                bundle.unlink()
                manifest_path(bundle).unlink()
    if not bundled:
        with suppress(OSError):  # another call is at work there
            bundle.parent.rmdir()
    return paths


def _one(
    reader: Transport, address: Address, wanted: str | int | None, watch: Watch
) -> SeriesReference:
    found, failures = look(reader, address, watch)
    for error in failures:
        watch.failed(error)
    one = choose(found, address, wanted, option="series=NUMBER or UID")
    assert one is not None
    return one


def _check_ours(bundle: Path, series: SeriesReference) -> None:
    """Check that nothing but an earlier fetch of a series would be replaced.

    Raises:
        SeriesportError: destination-conflict.
    """
    if not bundle.exists():
        return
    if is_bundle(bundle):
        try:
            items = read_files(bundle) if series.plain else read_bundle(bundle)
        except SeriesportError:
            return  # it is damaged, and fetched again
        if all(belongs(item, series) for item in items):
            return
    raise SeriesportError("destination-conflict", "the ZIP holds something else")


def _unpack(bundle: Path, series: SeriesReference, folder: Path, files: Transport) -> list[Path]:
    """Write the instances of a bundle into a folder; return the paths of the series there."""
    place = path_address(folder)
    if series.plain:
        items = read_files(bundle)
        files.store_files(items, place, "", series).require_complete()
        return [folder / item.name for item in items]
    instances = read_bundle(bundle)
    files.store(instances, path_address(folder.parent), folder.name).require_complete()
    return _paths(files, folder, series)


def _paths(files: Transport, folder: Path, series: SeriesReference) -> list[Path]:
    found: Sequence[SeriesReference] = files.find(path_address(folder))
    items = [
        item
        for one in found
        if key_of(one) == key_of(series)
        for item in files.fetch(one, files.expect(one), (), folder)
    ]
    return sorted(Path(item.payload.path) for item in items if isinstance(item.payload, FileSlice))
