"""Open the one series that a source means, whole: the way in of a Series.

Files of this machine are read where they are, by the rules of the file transport: every file of
the folder is looked at, each instance is whole, none has two contents. What lies elsewhere passes
through `fetch.fetch_series` into a private temporary folder. Of members of a ZIP, and of a bundle,
the headers are written out; their pixels are read where they are, if they are stored as they are.
"""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from seriesport.cohort.choice import check_scope, choose
from seriesport.dicom.part10 import load_instance, read_path
from seriesport.errors import SeriesportError
from seriesport.model.instance import FileSlice
from seriesport.model.series import SeriesReference
from seriesport.series.files import SeriesFiles, write_file
from seriesport.store.bundle import read_bundle, unpack
from seriesport.store.scratch import scratch
from seriesport.transports.fetch import fetch_series
from seriesport.transports.given import address_of, settings_for
from seriesport.transports.listing import Listed, Listing
from seriesport.transports.registry import open_transport, path_address

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from seriesport.config.settings import Settings
    from seriesport.model.address import Address
    from seriesport.model.instance import Instance, PlainFile
    from seriesport.model.series import Expected
    from seriesport.transports.contract import Transport

_log = logging.getLogger("seriesport")


@contextmanager
def opened(
    source: Any, given: Settings | None, opts: Mapping[str, Any], *, plain: bool = False
) -> Generator[SeriesFiles]:
    """Open the one series that an address, a path, a reference or a list of paths means.

    Args:
        source: An address of a series, a folder, a file, or what is in a ZIP; a reference that
            `find` returned; or a list of files.
        given: Servers and limits, see `settings_for`.
        opts: `series` chooses by series number or UID where the address means several.
        plain: Look for files of other formats alone, and pass over DICOM.

    Raises:
        SeriesportError: not-found; ambiguous, with a list; incomplete and the other reasons of
            `fetch_series`; changed-during-fetch where instances come or go while they are read.
    """
    with scratch() as room:
        if isinstance(source, (list, tuple)):
            yield _of_list(cast("Sequence[Any]", source), room)
            return
        wanted = opts.get("series")
        if isinstance(source, SeriesReference):
            plain, wanted = source.plain, source.series_instance_uid or None
            source = source.address
        address = address_of(source)
        check_scope(address)
        settings = settings_for([address], given)
        if plain and address.is_local:
            yield SeriesFiles(_plain_files(address, settings, room))
            return
        with open_transport(address.root, settings) as transport:
            found = transport.find(address)
            for one in transport.left_out():
                _log.warning("passed over %s [%s]", one.error.message, one.error.code)
            series = choose(found, address, wanted, plain=plain)
            if not address.is_local:
                yield _fetched(transport, _required(series), room)
            elif series is None:
                yield SeriesFiles(_plain_files(address, settings, room))
            else:
                yield from _local(transport, series, room)


def _of_list(sources: Sequence[Any], room: Path) -> SeriesFiles:
    """Return the series that a list of files is; of other formats, the files themselves.

    Raises:
        SeriesportError: not-found for an empty list; ambiguous where they are several series;
            instance-conflict; what a file raises that cannot be read.
    """
    paths = [_local_path(source) for source in sources]
    if not paths:
        raise SeriesportError("not-found", "the list of files is empty")
    if read_path(paths[0]) is None:
        return SeriesFiles(paths)
    listing = Listing("file", total=len(paths))
    for number, path in enumerate(paths, 1):
        try:
            one = load_instance(path)
            listing.add(Listed(number, "", one.header, one.transfer_syntax_uid, one.payload))
        except SeriesportError as error:
            listing.problems[number] = error
    address = path_address(paths[0])
    series = _required(choose(listing.references(address), address))
    instances = [one.instance for one in listing.whole(series).values()]
    return SeriesFiles(instances=instances, room=room)


def _local_path(source: Any) -> Path:
    address = address_of(source)
    if address.file is None:
        raise SeriesportError("address-invalid", "a list is of paths of files")
    return address.file


def _required(found: SeriesReference | None) -> SeriesReference:
    if found is None:
        raise SeriesportError("not-found", "no series matches")
    return found


def _fetched(transport: Transport, series: SeriesReference, room: Path) -> SeriesFiles:
    bundle = room / "bundle.zip"
    manifest = fetch_series(transport, series, bundle, room / "staging")
    if manifest.plain:
        return SeriesFiles(unpack(bundle, room / "files"))
    return SeriesFiles(instances=read_bundle(bundle), room=room, checked=True)


def _local(transport: Transport, series: SeriesReference, room: Path) -> Generator[SeriesFiles]:
    before = transport.expect(series)
    instances = cast("list[Instance]", list(transport.fetch(series, before, (), room)))
    states = _states(instances)
    yield SeriesFiles(instances=instances, room=room)
    _require_same(before, transport.expect(series))
    if _states(instances) != states:
        raise SeriesportError("source-changed", "a file changed while it was read")


def _states(instances: Sequence[Instance]) -> dict[str, tuple[int, int, int]]:
    """Return inode, size and time of the files that the instances lie in and that are there."""
    paths = {str(i.payload.path) for i in instances if isinstance(i.payload, FileSlice)}
    found: dict[str, tuple[int, int, int]] = {}
    for path in paths:
        with suppress(OSError):
            status = os.stat(path)  # noqa: PTH116 - twice for each file of a series
            found[path] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def _require_same(before: Mapping[str, Expected], after: Mapping[str, Expected]) -> None:
    if before.keys() != after.keys():
        raise SeriesportError(
            "changed-during-fetch",
            f"there were {len(before)} instances when the series was listed, and {len(after)} when"
            " it was read",
        )


# Files of other formats


def _plain_files(address: Address, settings: Settings, room: Path) -> list[Path]:
    """Return a file, the files of a folder, or members of a ZIP, which are written out."""
    path = address.file
    if path is not None:
        files = [path] if not path.is_dir() else sorted(p for p in path.rglob("*") if p.is_file())
        if not files:
            raise SeriesportError("not-found", "there are no files")
        return files
    members: list[Path] = []
    with open_transport(address, settings) as transport:
        series = transport.find_files(address)
        for item in transport.fetch(series, transport.expect(series), (), room):
            members.append(room / "members" / cast("PlainFile", item).name)
            write_file(members[-1], b"", item.payload)
    return sorted(members, key=str)
