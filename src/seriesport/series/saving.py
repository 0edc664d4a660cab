"""Save an image with its header at an address: the way out of a Series."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seriesport import formats as files
from seriesport.counts import counted
from seriesport.errors import SeriesportError
from seriesport.formats import dicom
from seriesport.images.sealing import Seal
from seriesport.model.instance import FileSlice, PlainFile
from seriesport.model.series import Receipt, SeriesReference
from seriesport.privacy import reasoned
from seriesport.series.loading import DICOM
from seriesport.store.scratch import scratch
from seriesport.transports.file.transport import write_instance
from seriesport.transports.given import address_of, settings_for
from seriesport.transports.placing import PACKED
from seriesport.transports.registry import open_transport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from seriesport.config.settings import Settings
    from seriesport.images.image import Image
    from seriesport.images.template import Header
    from seriesport.model.address import Address
    from seriesport.model.instance import Instance
    from seriesport.model.series import ReceiptEntry
    from seriesport.transports.contract import Transport

_FORMAT = re.compile("%p(?![0-9A-Za-z])")
"""Stands for the name of the format in a path."""
_DICOM_SUFFIXES = (".dcm", ".dicom")
_NOT_WRITTEN = (
    ".nrrd", ".nhdr", ".hdr", ".img", ".mgz", ".mgh", ".mnc", ".npy", ".bmp", ".gif", *PACKED,
)  # fmt: skip
"""Formats that a name may mean and that nothing here writes: no folder is called so."""


@reasoned()
def save(
    image: Image,
    header: Header,
    url: str | Path,
    *,
    formats: Sequence[str],
    opts: Mapping[str, Any],
    keep_uid: bool,
    given: Settings | None,
) -> Receipt:
    """Save an image with its header at an address. See `Series.write`."""
    entries: list[ReceiptEntry] = []
    for address, names in _destinations(str(url), formats):
        settings = settings_for([address], given)
        instances: list[Instance] = []
        if DICOM in names:
            instances = _instances(image, header, address, opts, keep_uid=keep_uid)
        series = _reference(header, instances, address)
        for name in names:
            if name == DICOM:
                receipt = _store(instances, address, settings)
                if keep_uid and address.lists_only:
                    _require_same(image, header, receipt)
                entries += receipt.entries
            elif address.file is not None:
                files.write(image, address.file, name, opts)
            else:
                entries += _store_files(image, series, name, opts, settings).entries
    return Receipt(tuple(entries))


def _destinations(url: str, formats: Sequence[str]) -> list[tuple[Address, list[str]]]:
    """Return the addresses to write to, each with the formats that go there.

    Raises:
        SeriesportError: address-invalid, format-unknown, files-unsupported.
    """
    several = _FORMAT.search(url) and "://" not in url and not Path(url).exists()
    if several:  # a path of its own for each format
        pairs = [(_FORMAT.sub(name, url), [name]) for name in formats or (DICOM,)]
    else:
        pairs = [(url, list(dict.fromkeys(formats)))]
    found: list[tuple[Address, list[str]]] = []
    for text, given in pairs:
        address = address_of(text)
        names = given or [_by_suffix(address)]
        for name in names:
            if name not in (DICOM, *files.FORMATS):
                known = ", ".join((DICOM, *files.FORMATS))
                problem = f"no format is called {name!r} (known: {known})"
                raise SeriesportError("format-unknown", problem)
        if set(names) != {DICOM} and not address.takes_files:
            raise SeriesportError("files-unsupported", "archives and ZIPs take DICOM alone")
        found.append((address, names))
    return found


def _by_suffix(address: Address) -> str:
    if address.file is None or address.file.is_dir():
        return DICOM
    name = address.file.name.lower()
    fitting = [f.name for f in files.FORMATS.values() if name.endswith(f.suffixes)]
    if not fitting and name.endswith(_NOT_WRITTEN):
        suffix = Path(name).suffix
        problem = f"{suffix} is not written; for a folder of that name, say formats=['dicom']"
        raise SeriesportError("format-unknown", problem)
    return fitting[0] if fitting else DICOM


def _instances(
    image: Image, header: Header, address: Address, opts: Mapping[str, Any], *, keep_uid: bool
) -> list[Instance]:
    target = "" if address.is_local else address.root.url
    made = dicom.write(
        image,
        header,
        keep_uid=keep_uid,
        target=target,
        modality=opts.get("modality"),
        nan=opts.get("nan"),
        opts=opts,
    )
    return list(made)


def _store(instances: Sequence[Instance], address: Address, settings: Settings) -> Receipt:
    if address.file is not None and address.file.suffix.lower() in _DICOM_SUFFIXES:
        return _single(instances, address.file)
    return _delivered(
        address,
        settings,
        lambda transport: transport.store(instances, address),
    )


def _single(instances: Sequence[Instance], path: Path) -> Receipt:
    """A file of a name of its own, for a series of one instance."""
    if len(instances) != 1:
        problem = f"{len(instances)} instances need a folder or a ZIP, not one file"
        raise SeriesportError("format-unfit", problem)
    return Receipt((write_instance(path, instances[0]),)).require_complete()


def _require_same(image: Image, header: Header, receipt: Receipt) -> None:
    """An archive that lists the old UIDs tells nothing of what it has under them.

    Raises:
        SeriesportError: destination-conflict where it may be something else.
    """
    there = sum(not entry.sent for entry in receipt.entries)
    if there and (header.changes or header.seal != Seal.of(image)):
        problem = (
            f"the archive has {there} of {counted(len(receipt.entries), 'instance')} by their old"
            " UIDs, and what is written differs from what was read"
        )
        raise SeriesportError("destination-conflict", problem)


def _store_files(
    image: Image,
    series: SeriesReference,
    name: str,
    opts: Mapping[str, Any],
    settings: Settings,
) -> Receipt:
    """Other formats go to a resource of their scan."""
    with scratch() as room:
        made = files.write(image, room / "files", name, {"stem": "image", **opts})
        plain = [PlainFile(p.name, FileSlice(p, 0, p.stat().st_size)) for p in made]
        resource = str(opts.get("resource") or name.upper())
        return _delivered(
            series.address,
            settings,
            lambda transport: transport.store_files(plain, series.address, resource, series),
        )


def _reference(header: Header, instances: Sequence[Instance], address: Address) -> SeriesReference:
    """The series that files belong to: that of the instances beside them, else what was read."""
    if instances:
        return SeriesReference.of(instances[0].header, address)

    def text(keyword: str) -> str:
        return str(header.get(keyword, ""))

    return SeriesReference(
        address,
        text("PatientID"),
        text("StudyInstanceUID"),
        text("SeriesInstanceUID"),
        text("AccessionNumber"),
        text("Modality"),
        text("SeriesNumber"),
        text("SeriesDescription"),
    )


def _delivered(
    address: Address, settings: Settings, store: Callable[[Transport], Receipt]
) -> Receipt:
    """Store, and require all to have arrived."""
    with open_transport(address.root, settings) as transport:
        return transport.persist(lambda: store(transport).require_complete())
