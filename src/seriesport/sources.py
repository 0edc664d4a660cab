"""From an address to the files of one series, whole: the way in of a Series.

Files of this machine are read where they are, by the rules of the file transport: every file of
the folder is looked at, each instance is whole, none has two contents. What lies elsewhere passes
through `fetch.fetch_series`, and members of a ZIP are written out, into a private temporary folder.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from seriesport.address import DicomAddress, FileAddress, XnatAddress, ZipAddress, source_root
from seriesport.bundle import unpack
from seriesport.config import load_config
from seriesport.digest import chunks
from seriesport.elements import Syntax
from seriesport.errors import SeriesportError
from seriesport.fetch import fetch_series
from seriesport.files import copy_range, unreadable, unwritable
from seriesport.flow import Flows, patience
from seriesport.formats.source import inflate
from seriesport.instance import FileSlice
from seriesport.part10 import encode_file_meta, load_instance, read_path
from seriesport.resolve import word
from seriesport.scratch import scratch
from seriesport.settings import Settings
from seriesport.transports.listing import Listed, Listing
from seriesport.transports.registry import open_transport
from seriesport.transports.selection import select
from seriesport.whole import check_whole
from seriesport.zipread import check_stored, member_payload
from seriesport.zipsafe import read_directory

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from seriesport.address import Address
    from seriesport.instance import Instance, Payload
    from seriesport.transports.protocol import Expected, SeriesReference, Transport

_LISTED = 10
_HOW = {
    DicomAddress: "add the series number or UID to the address",
    XnatAddress: "add the scan to the address",
    ZipAddress: "add a folder of the ZIP after '?'",
    FileAddress: "give the folder of one of them",
}


@dataclass(frozen=True, slots=True)
class Source:
    """The files of one series, as long as the context lasts."""

    files: list[Path]
    dicom: bool
    """Whether they are DICOM instances."""


CONFIG = Path("config/config.yaml")


def settings_for(address: Address, given: Settings | None) -> Settings:
    """What was given; else what config/config.yaml in the working directory says, if it is there
    and the address needs more than files.

    Raises:
        SeriesportError: config-invalid.
    """
    if given is not None or isinstance(address, FileAddress) or not CONFIG.exists():
        return given or Settings()
    return load_config(CONFIG).settings


@contextmanager
def opened(
    address: Address, given: Settings | None, opts: Mapping[str, Any], *, plain: bool = False
) -> Generator[Source]:
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
    if isinstance(address, DicomAddress) and not (address.patient or address.study):
        raise SeriesportError("ambiguous", "the address is a whole archive; add a patient or study")
    settings = settings_for(address, given)
    with ExitStack() as stack:
        room = stack.enter_context(scratch())
        if plain and isinstance(address, FileAddress | ZipAddress):
            yield Source(_plain_files(address, settings, room), dicom=False)
            return
        transport = stack.enter_context(open_transport(source_root(address), settings))
        series = _one(transport.find(address), address, opts, plain=plain)
        if series is None:
            yield Source(_plain_files(address, settings, room), dicom=False)
        elif isinstance(address, FileAddress | ZipAddress):
            yield from _local(transport, series, room)
        else:
            yield _fetched(transport, series, settings, room)


@contextmanager
def opened_files(paths: Sequence[Path]) -> Generator[Source]:
    """The series that a list of files is; of other formats, the files that belong together.

    Raises:
        SeriesportError: not-found for an empty list; ambiguous where they are several series;
            instance-conflict; what a file raises that cannot be read.
    """
    if not paths:
        raise SeriesportError("not-found", "the list of files is empty")
    if read_path(paths[0]) is None:
        yield Source(list(paths), dicom=False)
        return
    listing = Listing("file", total=len(paths))
    for number, path in enumerate(paths, 1):
        try:
            one = load_instance(path)
            listing.add(Listed(number, "", one.header, one.transfer_syntax_uid, one.payload))
        except SeriesportError as error:
            listing.problems[number] = error
    address = FileAddress(Path(paths[0]).absolute())
    series = _one(listing.references(address), address, {}, plain=False)
    assert series is not None
    instances = [one.instance for one in listing.whole(series).values()]
    with scratch() as room:
        yield Source([_placed(one, n, room) for n, one in enumerate(instances, 1)], dicom=True)


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
        if wanted is None and isinstance(address, FileAddress | ZipAddress):
            return None
        problem = "no series matches" if wanted is None else "no series has this number or UID"
        raise SeriesportError("not-found", problem)
    rows = [
        f"series {word(r.series_number)} ({word(r.modality)}"
        + (")" if r.instances is None else f", {r.instances} instances)")
        for r in images[:_LISTED]
    ]
    more = f" and {len(images) - _LISTED} more" if len(images) > _LISTED else ""
    how = f"{_HOW[type(address)]}, or choose with opts={{'series': number or UID}}"
    problem = f"{len(images)} series are there: {'; '.join(rows)}{more}; {how}"
    raise SeriesportError("ambiguous", problem)


def _fetched(
    transport: Transport, series: SeriesReference, settings: Settings, room: Path
) -> Source:
    bundle = room / "bundle.zip"
    manifest = fetch_series(
        transport,
        series,
        bundle,
        room / "staging",
        patience=patience(series.address, settings),
        flow=Flows(settings).get(series.address),
    )
    files = unpack(bundle, room / "files")
    bundle.unlink()
    if manifest.plain:
        return Source(files, dicom=False)
    readable = [
        _readable(path, member.transfer_syntax_uid, room)
        for path, member in zip(files, manifest.instances, strict=True)
    ]
    return Source(readable, dicom=True)


def _local(transport: Transport, series: SeriesReference, room: Path) -> Generator[Source]:
    before = transport.expect(series)
    instances = list(transport.fetch(series, before, (), room))
    images = cast("list[Instance]", instances)
    yield Source([_placed(one, n, room) for n, one in enumerate(images, 1)], dicom=True)
    _require_same(before, transport.expect(series))


def _require_same(before: Mapping[str, Expected], after: Mapping[str, Expected]) -> None:
    if before.keys() != after.keys():
        raise SeriesportError(
            "changed-during-fetch",
            f"there were {len(before)} instances when the series was listed, and {len(after)} when"
            " it was read",
        )


def _placed(instance: Instance, number: int, room: Path) -> Path:
    """A file that holds an instance alone and that pydicom reads; where it is, if it is one."""
    _check(instance, number)
    payload = instance.payload
    path = Path(payload.path) if isinstance(payload, FileSlice) else None
    if path is None or not _is_alone(path, payload):
        path = room / f"{number:06d}.dcm"
        meta = encode_file_meta(
            instance.header.sop_class_uid, instance.uid, instance.transfer_syntax_uid
        )
        _write(path, meta, payload)
    return _readable(path, instance.transfer_syntax_uid, room)


def _is_alone(path: Path, payload: Payload) -> bool:
    """Whether a file is a DICOM file whose data set this is."""
    assert isinstance(payload, FileSlice)
    if payload.offset + payload.size != path.stat().st_size:
        return False
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _check(instance: Instance, number: int) -> None:
    try:
        with instance.payload.open() as stream:
            check_whole(stream, instance.payload.size, instance.transfer_syntax_uid)
    except SeriesportError as error:
        raise SeriesportError(error.code, f"instance {number}: {error.message}") from error


def _readable(path: Path, transfer_syntax_uid: str, room: Path) -> Path:
    if not Syntax.of(transfer_syntax_uid).deflated:
        return path
    target = room / f"inflated-{path.stem}.dcm"
    inflate(path, target)
    return target


def _write(path: Path, head: bytes, payload: Payload) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb", buffering=0) as stream:
            stream.write(head)
            if isinstance(payload, FileSlice):
                _copy(payload, stream.fileno(), len(head))
                return
            for chunk in chunks(payload):
                stream.write(chunk)
    except OSError as error:
        raise unwritable(error) from error


def _copy(part: FileSlice, target: int, position: int) -> None:
    """Copy bytes that lie in a file without taking them into memory."""
    source = os.open(part.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        copy_range(source, part.offset, target, position, part.size)
    except EOFError:
        raise SeriesportError("source-changed", "a file became shorter") from None
    finally:
        os.close(source)


# Files of other formats


def _plain_files(address: Address, settings: Settings, room: Path) -> list[Path]:
    if isinstance(address, ZipAddress):
        files = _members(address, settings, room)
    else:
        path = cast("FileAddress", address).path
        files = [path] if not path.is_dir() else sorted(p for p in path.rglob("*") if p.is_file())
    if not files:
        raise SeriesportError("not-found", "there are no files")
    return files


def _members(address: ZipAddress, settings: Settings, room: Path) -> list[Path]:
    """The members that a ZIP's selection names, written out under their own names."""
    files: list[Path] = []
    try:
        stream = address.path.open("rb")
    except OSError as error:
        raise unreadable(error, "the ZIP") from error
    with stream:
        fd = stream.fileno()
        members = {m.name: m for m in read_directory(fd, settings.zip_limits).members}
        names = select(members, address.selection) if address.selection else set(members)
        for name in sorted(names):
            member = members[name]
            if member.is_folder:
                continue
            member.require_readable()
            check_stored(fd, member)
            files.append(room / "members" / name)
            _write(files[-1], b"", member_payload(address.path, member, 0))
    return files
