"""What all formats of one series are made from: its DICOM files in a folder of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
from pydicom.uid import ExplicitVRLittleEndian

from seriesport.counts import counted
from seriesport.dicom.elements import Syntax
from seriesport.errors import SeriesportError
from seriesport.images.frames import BAD_DATA, holds_pixels, quiet, read_frames, read_header
from seriesport.images.headers import quick_header
from seriesport.images.image import Image
from seriesport.images.sorting import arrange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom.dataset import FileDataset

    from seriesport.images.frames import Frame
    from seriesport.images.sorting import Arrangement

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

_TILES = ("MOSAIC", "VFRAME")
"""In Image Type, where one frame holds the slices of a volume: Siemens and UIH."""


@dataclass
class Source:
    """The images of one series, read when first asked for and shared by the formats.

    Raises:
        SeriesportError: instance-invalid.
    """

    files: Sequence[Path]
    scratch: Path
    """An empty folder for temporary files."""
    images: int = 0
    """Instances that hold an image."""
    slices: int = 0
    """Frames of all of them."""
    tiled: int = 0
    """Instances that hold the slices of a volume side by side in one frame."""
    identifiers: frozenset[str] = frozenset()
    """Identifying text of the first instance, in lower case: what no sidecar may repeat."""
    notes: list[str] = field(default_factory=list[str])
    """What the formats have to say about their work, without identifiers."""
    software: dict[str, str] = field(default_factory=dict[str, str])
    """The program that made a format, where that is not Seriesport itself."""
    input_order: str = "auto"
    """What tells the images at one position apart, see `images.orders`."""

    def __post_init__(self) -> None:
        self.folder.mkdir()
        for i, path in enumerate(self.files, 1):
            try:
                with quiet():
                    if i == 1:
                        self.identifiers = _identifiers(read_header(path, _PERSONAL))
                    self._take(path, i, _quick_look(path) or _look(path))
            except BAD_DATA as error:
                raise SeriesportError(
                    "instance-invalid", f"instance {i} cannot be read ({type(error).__name__})"
                ) from None
        if 0 < self.images < len(self.files):
            count = len(self.files) - self.images
            self.notes.append(f"passed over {count} of {len(self.files)} instances, without pixels")

    def require_images(self) -> None:
        """Refuse a series of which nothing can be shown.

        Raises:
            SeriesportError: not-an-image.
        """
        if not self.images:
            raise SeriesportError(
                "not-an-image", f"none of {counted(len(self.files), 'instance')} holds an image"
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
        """The frames in a regular grid; raises what `arrange` does where there is none."""
        return arrange(self.frames, self.input_order)

    @cached_property
    def image(self) -> Image:
        """The array."""
        return Image.of(self.arrangement)

    def _take(self, path: Path, number: int, look: _Look) -> None:
        if not look.frames:
            return
        self.images += 1
        self.slices += look.frames
        self.tiled += look.tiled
        target = self.folder / f"{number:06d}.dcm"
        if Syntax.of(look.syntax).deflated:
            inflate(path, target)
        else:
            target.symlink_to(path.absolute())


@dataclass(frozen=True, slots=True)
class _Look:
    """What the header of an instance tells about its image."""

    frames: int
    """0 where it is no image."""
    syntax: str
    """Its transfer syntax."""
    tiled: bool
    """True where its Image Type says that a frame holds the slices of a volume."""


def _look(path: Path) -> _Look:
    header = read_header(path, ["Rows", "Columns", "NumberOfFrames", "ImageType"])
    image = header.get("Rows") and header.get("Columns") and holds_pixels(path)
    frames = int(header.get("NumberOfFrames") or 1) if image else 0
    syntax = str(header.file_meta.get("TransferSyntaxUID") or "")
    return _Look(frames, syntax, _is_tiled(str(header.get("ImageType") or "")))


def _is_tiled(image_type: str) -> bool:
    return any(mark in image_type for mark in _TILES)


def _quick_look(path: Path) -> _Look | None:
    """Look at a plain header, forty times faster; None where it is anything but plain."""
    header = quick_header(path)
    if header is None:
        return None
    image = header.top.pixels and header.get("Rows") and header.get("Columns")
    frames = int(header.get("NumberOfFrames") or 1) if image else 0
    tiled = _is_tiled(str(header.get("ImageType") or ""))
    return _Look(frames, header.top.transfer_syntax_uid, tiled)


def inflate(path: Path, target: Path) -> None:
    """Copy a file with a deflated data set for those who take none: dcm2niix, pydicom's frames."""
    dataset = pydicom.dcmread(path)  # pyright: ignore[reportUnknownMemberType] partly typed
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(target)


def _identifiers(header: FileDataset) -> frozenset[str]:
    found: set[str] = set()
    for keyword in _PERSONAL:
        text = str(header.get(keyword) or "").lower()
        found.update((text, *text.replace("^", " ").replace("=", " ").split()))
    return frozenset(t for t in found if len(t) >= _SHORTEST)
