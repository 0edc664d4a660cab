"""The demo: real DICOM images that the pydicom wheel carries, as three sources, and a cohort."""

from __future__ import annotations

import shutil
import sys
import zipfile
from importlib.resources import as_file, files
from pathlib import Path

from seriesport.store.files import write_text, writing

_ARCHIVE = (
    "dicomdirtests/77654033",
    "dicomdirtests/98892001",
    "dicomdirtests/98892003",
    "693_J2KI.dcm",
    "examples_overlay.dcm",
)
_FOLDER = ("MR_small.dcm", "rtplan.dump")
_ZIP = ("CT_small.dcm", "examples_ybr_color.dcm", "rtplan.dump")
_CONFIG = """\
# How the demo runs; `seriesport serve FOLDER --name demo -- COMMAND` stands in for host and port.
cohort: config/cohort.yaml
formats: [nifti, preview]
servers:
  demo: {host: 127.0.0.1, port: 11112}
"""
_COHORT = """\
# The demo's cohort: public test images that the pydicom package carries, laid out in this folder.
# `make demo` serves archive/ as the server `demo`. config/README.md has every key. Your own cohort
# file holds identifiers: chmod 0600, and leave out `demo: true`.
demo: true

defaults:
  source: dicom://demo/ARCHIVE
  destinations: [delivered]

cohort:
  # By patient, study UID and series UID.
  - label: angio
    patient: "98890234"
    study: "1.3.6.1.4.1.5962.1.1.0.0.0.1196533885.18148.0.1"
    series: "1.3.6.1.4.1.5962.1.1.0.0.0.1196533885.18148.0.118"

  # By accession number and series number. Quotes keep the leading zero.
  - label: lesion
    patient: "021234567"
    accession: "8000000000330109"
    series_number: "18"
    formats: [nifti, npz, preview]

  # Every CT series of a study that has at least 3 images.
  - label: heart
    patient: "98890234"
    study: "1.3.6.1.4.1.5962.1.1.0.0.0.1194734704.16302.0.1"
    modality: [CT]
    min_instances: 3

  # By description, in a study that is named by its accession number.
  - label: spine
    patient: "77654033"
    study: "1.3.6.1.4.1.5962.1.1.0.0.0.1196527414.5534.0.1"
    description: "Cervical OBLI*"

  # JPEG 2000 from the archive, packed into a ZIP.
  - label: head
    patient: "CQ500-CT-310"
    study: "1.2.276.0.7230010.3.1.2.296485376.1.1521713414.1800996"
    series_number: "2"
    destinations: [delivered.zip]

  # A member of a ZIP, sent to the archive and a folder.
  - label: thorax
    source: images.zip?scans/CT_small.dcm
    destinations: [dicom://demo/ARCHIVE, delivered]

  # A cine of a ZIP.
  - label: ultrasound
    source: images.zip?examples_ybr_color.dcm
    formats: [preview]

  # A folder, sent to the archive.
  - label: phantom
    source: folder
    destinations: [dicom://demo/ARCHIVE, delivered.zip]
"""


def lay_out(folder: Path) -> None:
    """Make a working directory of a folder, with `config/`, and with its sources in it.

    They are `archive/`, for the embedded archive, `folder/` and `images.zip`. What is there
    already stays as it is.
    """
    for name, text in (("config.yaml", _CONFIG), ("cohort.yaml", _COHORT)):
        if not (folder / "config" / name).exists():
            write_text(folder / "config" / name, text)
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
        with source.open("rb") as reader, writing(target) as writer:
            shutil.copyfileobj(reader, writer)


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]))
