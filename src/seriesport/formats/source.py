"""What all formats of one series are made from: its DICOM files in a folder of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from seriesport.errors import SeriesportError
from seriesport.frames import BAD_DATA, quiet, read_frames, read_header
from seriesport.series import Series
from seriesport.sorting import arrange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom.dataset import FileDataset

    from seriesport.frames import Frame
    from seriesport.sorting import Arrangement

_PERSONAL = [
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientAddress",
    "OtherPatientNames",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "OperatorsName",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "StudyDate",
]
_SHORTEST = 4
"""Identifiers shorter than this occur in other text by chance."""


@dataclass
class Source:
    """The images of one series, read when first asked for and shared by the formats.

    Raises:
        SeriesportError: not-an-image where no instance holds one; instance-invalid.
    """

    files: Sequence[Path]
    scratch: Path
    """An empty folder for temporary files."""
    images: int = 0
    """Instances that hold an image."""
    slices: int = 0
    """Frames of all of them."""
    identifiers: frozenset[str] = frozenset()
    """Identifying text of the first instance, in lower case: what no sidecar may repeat."""
    notes: list[str] = field(default_factory=list[str])
    """What the formats have to say about their work, without identifiers."""

    def __post_init__(self) -> None:
        self.folder.mkdir()
        for i, path in enumerate(self.files, 1):
            try:
                with quiet():
                    header = read_header(
                        path, ["Rows", "Columns", "NumberOfFrames", *(_PERSONAL if i == 1 else [])]
                    )
                    if i == 1:
                        self.identifiers = _identifiers(header)
                    self._take(path, header, i)
            except BAD_DATA as error:
                raise SeriesportError(
                    "instance-invalid", f"instance {i} cannot be read ({type(error).__name__})"
                ) from None
        if not self.images:
            raise SeriesportError(
                "not-an-image", f"none of {len(self.files)} instances holds an image"
            )

    @property
    def folder(self) -> Path:
        """A folder with the instances that hold an image, and nothing else."""
        return self.scratch / "images"

    @cached_property
    def frames(self) -> list[Frame]:
        """Their frames."""
        return read_frames(sorted(self.folder.iterdir()))

    @cached_property
    def arrangement(self) -> Arrangement:
        """The frames in a regular grid, where there is one (else geometry-irregular)."""
        return arrange(self.frames)

    @cached_property
    def series(self) -> Series:
        """The array."""
        return Series.of(self.arrangement)

    def _take(self, path: Path, header: FileDataset, number: int) -> None:
        if not (header.get("Rows") and header.get("Columns")):
            return
        self.images += 1
        self.slices += int(header.get("NumberOfFrames") or 1)
        target = self.folder / f"{number:06d}.dcm"
        if header.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            _inflate(path, target)
        else:
            target.symlink_to(path.absolute())


def _inflate(path: Path, target: Path) -> None:
    """Neither dcm2niix nor pydicom's frame reader takes a deflated data set."""
    dataset = pydicom.dcmread(path)  # pyright: ignore[reportUnknownMemberType] partly typed
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(target)


def _identifiers(header: FileDataset) -> frozenset[str]:
    found: set[str] = set()
    for keyword in _PERSONAL:
        text = str(header.get(keyword) or "").lower()
        found.update((text, *text.replace("^", " ").replace("=", " ").split()))
    return frozenset(t for t in found if len(t) >= _SHORTEST)
