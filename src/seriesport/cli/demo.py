"""The demo's input: real DICOM images that the pydicom wheel carries, laid out as three sources."""

from __future__ import annotations

import shutil
import sys
import zipfile
from importlib.resources import as_file, files
from pathlib import Path

from seriesport.store.files import writing

_ARCHIVE = (
    "dicomdirtests/77654033",
    "dicomdirtests/98892001",
    "dicomdirtests/98892003",
    "693_J2KI.dcm",
    "examples_overlay.dcm",
)
_FOLDER = ("MR_small.dcm", "rtplan.dump")
_ZIP = ("CT_small.dcm", "examples_ybr_color.dcm", "rtplan.dump")


def lay_out(folder: Path) -> None:
    """Make `archive/` (for the embedded archive), `folder/` and `images.zip` below a folder.

    What is there already stays as it is.
    """
    with as_file(files("pydicom") / "data" / "test_files") as images:
        for name in _ARCHIVE:
            _copy(images / name, folder / "archive" / Path(name).name)
        for name in _FOLDER:
            _copy(images / name, folder / "folder" / name)
        if not (folder / "images.zip").exists():
            with writing(folder / "images.zip") as stream, zipfile.ZipFile(stream, "w") as archive:
                for name in _ZIP:
                    archive.write(images / name, f"scans/{name}", zipfile.ZIP_DEFLATED)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        for path in source.iterdir():
            _copy(path, target / path.name)
    elif not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as reader, writing(target) as writer:
            shutil.copyfileobj(reader, writer)


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]))
