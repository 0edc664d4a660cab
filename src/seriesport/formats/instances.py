"""The DICOM instances of a series as one ZIP: STEM.zip, with stored members 000001.dcm and on.

One file a series, since many small ones are what shared disks suffer from.
"""

from __future__ import annotations

import shutil
import zipfile
from typing import TYPE_CHECKING

from seriesport.store.files import COPY_CHUNK

if TYPE_CHECKING:
    from pathlib import Path

    from seriesport.formats.source import Source

_TIMESTAMP = (1980, 1, 1, 0, 0, 0)


def write(source: Source, folder: Path, stem: str) -> None:
    """Make STEM.zip of all instances, those without pixels too."""
    with zipfile.ZipFile(folder / f"{stem}.zip", "w", zipfile.ZIP_STORED) as archive:
        for number, path in enumerate(source.files, 1):
            info = zipfile.ZipInfo(f"{number:06d}.dcm", _TIMESTAMP)
            info.external_attr = 0o644 << 16
            with path.open("rb") as stream, archive.open(info, "w", force_zip64=True) as member:
                shutil.copyfileobj(stream, member, COPY_CHUNK)
