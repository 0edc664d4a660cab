"""From an address to the files of one series, whole: the way in of a Series.

Files of this machine are read where they are, by the rules of the file transport: every file of
the folder is looked at, each instance is whole, none has two contents. What lies elsewhere passes
through `fetch.fetch_series` into a private temporary folder. Of members of a ZIP, and of a bundle,
the headers are written out; their pixels are read where they are, if they are stored as they are.
"""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from seriesport.cohort.resolve import kind, word
from seriesport.config.config_yaml import CONFIG, load_config
from seriesport.config.settings import Settings
from seriesport.counts import counted
from seriesport.dicom.part10 import load_instance, read_path
from seriesport.errors import SeriesportError
from seriesport.model.instance import FileSlice
from seriesport.series.laidout import LaidOut, write_file
from seriesport.store.bundle import read_bundle, unpack
from seriesport.store.scratch import scratch
from seriesport.store.zipfiles.safe import read_directory
from seriesport.transports.fetch import fetch_series
from seriesport.transports.listing import Listed, Listing
from seriesport.transports.registry import open_transport, path_address

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from seriesport.model.address import Address
    from seriesport.model.instance import Instance, PlainFile
    from seriesport.model.series import Expected, SeriesReference
    from seriesport.transports.contract import Transport

_LISTED = 10
_log = logging.getLogger("seriesport")


def settings_for(address: Address, given: Settings | None) -> Settings:
    """What was given; else what config/config.yaml in the working directory says, if it is there
    and the address needs more than files.

    Raises:
        SeriesportError: config-invalid.
    """
    usual = given or Settings()
    if given is not None or address.file is not None or not CONFIG.exists():
        return usual
    if address.local is not None and _within_limits(address.local, usual):
        return usual
    return load_config(CONFIG).settings


def _within_limits(path: Path, settings: Settings) -> bool:
    """Whether a ZIP needs no higher limits; the config takes longer to read than most ZIPs."""
    try:
        with path.open("rb") as stream:
            read_directory(stream.fileno(), settings.zip_limits)
    except FileNotFoundError:
        return True
    except (OSError, SeriesportError):
        return False
    return True


@contextmanager
def opened(
    address: Address, given: Settings | None, opts: Mapping[str, Any], *, plain: bool = False
) -> Generator[LaidOut]:
    """The files of the one series that an address means.

    Args:
        address: Of a series, a folder, a file, or what is in a ZIP.
        given: Servers and limits, see `settings_for`.
        opts: `series` chooses by series number or UID where the address means several.
        plain: Look for files of other formats alone, and pass over DICOM.

    Raises:
        SeriesportError: not-found; ambiguous, with a list; incomplete and the other reasons of
            `fetch_series`; changed-during-fetch where instances come or go while they are read.
    """
    if address.is_unbounded:
        raise SeriesportError("ambiguous", "the address is a whole archive; add a patient or study")
    settings = settings_for(address, given)
    with ExitStack() as stack:
        room = stack.enter_context(scratch())
        if plain and address.is_local:
            yield LaidOut(_plain_files(address, settings, room))
            return
        transport = stack.enter_context(open_transport(address.root, settings))
        found = transport.find(address)
        for one in transport.left_out():
            _log.warning("passed over %s [%s]", one.error.message, one.error.code)
        series = _one(found, address, opts, plain=plain)
        if series is None:
            yield LaidOut(_plain_files(address, settings, room))
        elif address.is_local:
            yield from _local(transport, series, room)
        else:
            yield _fetched(transport, series, room)


@contextmanager
def opened_files(paths: Sequence[Path]) -> Generator[LaidOut]:
    """The series that a list of files is; of other formats, the files that belong together.

    Raises:
        SeriesportError: not-found for an empty list; ambiguous where they are several series;
            instance-conflict; what a file raises that cannot be read.
    """
    if not paths:
        raise SeriesportError("not-found", "the list of files is empty")
    if read_path(paths[0]) is None:
        yield LaidOut(list(paths))
        return
    listing = Listing("file", total=len(paths))
    for number, path in enumerate(paths, 1):
        try:
            one = load_instance(path)
            listing.add(Listed(number, "", one.header, one.transfer_syntax_uid, one.payload))
        except SeriesportError as error:
            listing.problems[number] = error
    address = path_address(Path(paths[0]))
    series = _one(listing.references(address), address, {}, plain=False)
    assert series is not None
    instances = [one.instance for one in listing.whole(series).values()]
    with scratch() as room:
        yield LaidOut(instances=instances, room=room)


def _one(
    references: Sequence[SeriesReference],
    address: Address,
    opts: Mapping[str, Any],
    *,
    plain: bool,
) -> SeriesReference | None:
    """The series that is meant; None where files of other formats may be."""
    images = [r for r in references if r.plain == plain] or list(references)
    wanted = opts.get("series")
    if wanted is not None:
        chosen = str(wanted)
        images = [r for r in images if chosen in (r.series_number, r.series_instance_uid)]
    if len(images) == 1:
        return images[0]
    if not images:
        if wanted is None and address.is_local:
            return None
        problem = "no series matches" if wanted is None else "no series has this number or UID"
        raise SeriesportError("not-found", problem)
    rows = [
        f"series {word(r.series_number)} ({kind(r)}"
        + (")" if r.instances is None else f", {counted(r.instances, 'instance')})")
        for r in images[:_LISTED]
    ]
    more = f" and {len(images) - _LISTED} more" if len(images) > _LISTED else ""
    how = f"{address.advice}, or choose with opts={{'series': number or UID}}"
    problem = f"{len(images)} series are there: {'; '.join(rows)}{more}; {how}"
    raise SeriesportError("ambiguous", problem)


def _fetched(transport: Transport, series: SeriesReference, room: Path) -> LaidOut:
    bundle = room / "bundle.zip"
    manifest = fetch_series(transport, series, bundle, room / "staging")
    if manifest.plain:
        return LaidOut(unpack(bundle, room / "files"))
    return LaidOut(instances=read_bundle(bundle), room=room, checked=True)


def _local(transport: Transport, series: SeriesReference, room: Path) -> Generator[LaidOut]:
    before = transport.expect(series)
    instances = cast("list[Instance]", list(transport.fetch(series, before, (), room)))
    states = _states(instances)
    yield LaidOut(instances=instances, room=room)
    _require_same(before, transport.expect(series))
    if _states(instances) != states:
        raise SeriesportError("source-changed", "a file changed while it was read")


def _states(instances: Sequence[Instance]) -> dict[str, tuple[int, int, int]]:
    """Of the files that the instances lie in; those that are gone are left out."""
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
    """A file, the files of a folder, or members of a ZIP, which are written out."""
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
