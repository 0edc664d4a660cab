"""What the workflow makes of a fetched series: a writer for each name that the config uses.

A writer makes its files in a folder under names that start with a stem, and returns nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from seriesport.errors import SeriesportError, unreadable, unwritable
from seriesport.formats import dcm2niix, instances, preview
from seriesport.formats.registry import FORMATS
from seriesport.formats.source import Source
from seriesport.privacy import reasoned
from seriesport.store.files import COPY_CHUNK, write_all, writing
from seriesport.workflow.converted import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Writer = Callable[[Source, Path, str], None]


def _image_writer(name: str) -> Writer:
    def write(source: Source, folder: Path, stem: str) -> None:
        FORMATS[name].write()(source.image, folder, stem, {})

    return write


DICOM = "dicom"
_OURS = "seriesport"

CONVERSIONS: dict[str, Writer] = {
    DICOM: instances.write,
    "nifti": dcm2niix.write,
    "metaimage": _image_writer("metaimage"),
    "npz": _image_writer("npz"),
    "mat": _image_writer("mat"),
    "preview": preview.write,
}
"""Writers by the name that the config uses: (source, folder, stem)."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """What became of one series."""

    outputs: tuple[Output, ...]
    """In the order of the formats asked for, then by name."""
    notes: tuple[str, ...]
    """What the converters remarked, one line each, without identifiers: fit for a log."""


@reasoned()
def convert(
    files: Sequence[Path],
    stem: str,
    target: Path,
    formats: Sequence[str],
    scratch: Path,
    input_order: str = "auto",
) -> Conversion:
    """Make every requested format of a series; all of them, or none appears.

    The same files give the same bytes: `STEM.zip`, `STEM.nii.gz`, `STEM.json`, `STEM.mha`,
    `STEM.npz`, `STEM.mat`, `STEM.png`; where a series makes several NIfTI images, see
    `formats.dcm2niix`. Instances without pixels (reports, presentation states) are passed over,
    save in `STEM.zip`.

    Args:
        files: The DICOM files of one series, in a stable order.
        stem: Start of every name: a key, no identifier.
        target: Folder for the files, which replace older ones of the same name.
        formats: Names of `CONVERSIONS`; empty makes nothing.
        scratch: Existing folder for temporary files, up to three times the series' size.
        input_order: Of arrays and previews, see `images.orders`; NIfTI has dcm2niix's own.

    Raises:
        SeriesportError: not-an-image, instance-invalid, conversion-failed,
            conversion-incomplete, geometry-irregular, order-ambiguous, order-unknown, timeout,
            file-unwritable.
    """
    unknown = sorted(set(formats) - set(CONVERSIONS))
    if unknown:
        raise SeriesportError(
            "config-invalid", f"unknown format {unknown[0]!r} (known: {', '.join(CONVERSIONS)})"
        )
    if not formats:
        return Conversion((), ())
    try:
        with TemporaryDirectory(prefix="convert-", dir=scratch) as room:
            source = Source(files, Path(room), input_order=input_order)
            if set(formats) != {DICOM}:
                source.require_images()
            made: list[tuple[str, Path]] = []
            for name in dict.fromkeys(formats):
                folder = Path(room, name)
                folder.mkdir()
                CONVERSIONS[name](source, folder, stem)
                made += [(name, path) for path in sorted(folder.iterdir())]
            outputs = tuple(
                replace(_publish(path, target, name), software=source.software.get(name, _OURS))
                for name, path in made
            )
    except OSError as error:
        raise unwritable(error) from error
    return Conversion(outputs, tuple(source.notes))


def _publish(path: Path, folder: Path, name: str) -> Output:
    """Copy a finished file beside its final name, synced and renamed."""
    digest = hashlib.sha256()
    size = 0
    try:
        stream = path.open("rb")
    except OSError as error:
        raise unreadable(error) from error
    with stream, writing(folder / path.name) as out:
        while chunk := stream.read(COPY_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            write_all(out, chunk)
    return Output(path.name, name, size, digest.hexdigest())
