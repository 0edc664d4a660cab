"""The formats that a fetched series can be converted to: a module each, and a line in FORMATS.

A writer makes its files in a folder under names that start with a stem, and returns nothing; a
new format is a module with such a `write` and its line here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from seriesport.errors import SeriesportError
from seriesport.files import COPY_CHUNK, unreadable, unwritable, write_all, writing
from seriesport.formats import nifti, npz, preview
from seriesport.formats.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FORMATS: dict[str, Callable[[Source, Path, str], None]] = {
    "nifti": nifti.write,
    "npz": npz.write,
    "preview": preview.write,
}
"""Writers by the name that the config uses: (source, folder, stem)."""


@dataclass(frozen=True, slots=True)
class Output:
    """One file that was made."""

    name: str
    format: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Conversion:
    """What became of one series."""

    outputs: tuple[Output, ...]
    """In the order of the formats asked for, then by name."""
    notes: tuple[str, ...]
    """What the converters remarked, one line each, without identifiers: fit for a log."""


def convert(
    files: Sequence[Path],
    stem: str,
    target: Path,
    formats: Sequence[str],
    scratch: Path,
) -> Conversion:
    """Make every requested format of a series; all of them, or none appears.

    The same files give the same bytes: `STEM.nii.gz`, `STEM.json`, `STEM.npz`, `STEM.png`; where
    a series makes several NIfTI images, see `formats.nifti`. Instances without pixels (reports,
    presentation states) are passed over.

    Args:
        files: The DICOM files of one series, in a stable order.
        stem: Start of every name: a key, no identifier.
        target: Folder for the files, which replace older ones of the same name.
        formats: Names of `FORMATS`; empty makes nothing.
        scratch: Existing folder for temporary files, up to three times the series' size.

    Raises:
        SeriesportError: not-an-image, instance-invalid, conversion-failed,
            conversion-incomplete, geometry-irregular, timeout, file-unwritable.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise SeriesportError(
            "config-invalid", f"unknown format {unknown[0]!r} (known: {', '.join(FORMATS)})"
        )
    if not formats:
        return Conversion((), ())
    try:
        with TemporaryDirectory(prefix="convert-", dir=scratch) as room:
            source = Source(files, Path(room))
            made: list[tuple[str, Path]] = []
            for name in dict.fromkeys(formats):
                folder = Path(room, name)
                folder.mkdir()
                FORMATS[name](source, folder, stem)
                made += [(name, path) for path in sorted(folder.iterdir())]
            outputs = tuple(_publish(path, target, name) for name, path in made)
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
