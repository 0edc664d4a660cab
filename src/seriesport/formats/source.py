"""What all formats of one series are made from: its DICOM files in a folder of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
from pydicom.uid import ExplicitVRLittleEndian

from seriesport.errors import SeriesportError
from seriesport.imaging.frames import BAD_DATA, quiet, read_frames, read_header
from seriesport.imaging.image import Image
from seriesport.imaging.sorting import arrange
from seriesport.part10.elements import Syntax
from seriesport.part10.quickscan import scan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom.dataset import FileDataset

    from seriesport.imaging.frames import Frame
    from seriesport.imaging.sorting import Arrangement

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

_SYNTAX, _FRAMES, _ROWS, _COLUMNS = 0x00020010, 0x00280008, 0x00280010, 0x00280011
_QUICK = 1 << 16
"""Most plain headers end before this many bytes."""


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
    identifiers: frozenset[str] = frozenset()
    """Identifying text of the first instance, in lower case: what no sidecar may repeat."""
    notes: list[str] = field(default_factory=list[str])
    """What the formats have to say about their work, without identifiers."""
    input_order: str = "auto"
    """What tells the images at one position apart, see `imaging.orders`."""

    def __post_init__(self) -> None:
        self.folder.mkdir()
        for i, path in enumerate(self.files, 1):
            try:
                with quiet():
                    if i == 1:
                        self.identifiers = _identifiers(read_header(path, _PERSONAL))
                    slices, syntax = _quick_look(path) or _look(path)
                    self._take(path, i, slices, syntax)
            except BAD_DATA as error:
                raise SeriesportError(
                    "instance-invalid", f"instance {i} cannot be read ({type(error).__name__})"
                ) from None

    def require_images(self) -> None:
        """Refuse a series of which nothing can be shown.

        Raises:
            SeriesportError: not-an-image.
        """
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
        """The frames in a regular grid; raises what `arrange` does where there is none."""
        return arrange(self.frames, self.input_order)

    @cached_property
    def image(self) -> Image:
        """The array."""
        return Image.of(self.arrangement)

    def _take(self, path: Path, number: int, slices: int, syntax: str) -> None:
        if not slices:
            return
        self.images += 1
        self.slices += slices
        target = self.folder / f"{number:06d}.dcm"
        if Syntax.of(syntax).deflated:
            inflate(path, target)
        else:
            target.symlink_to(path.absolute())


def _look(path: Path) -> tuple[int, str]:
    """How many frames an instance has, none where it is no image, and its transfer syntax."""
    header = read_header(path, ["Rows", "Columns", "NumberOfFrames"])
    image = header.get("Rows") and header.get("Columns")
    frames = int(header.get("NumberOfFrames") or 1) if image else 0
    return frames, str(header.file_meta.get("TransferSyntaxUID") or "")


def _quick_look(path: Path) -> tuple[int, str] | None:
    """The same for a plain header, forty times faster; None where it is anything but plain."""
    with path.open("rb") as stream:
        start = stream.read(_QUICK)
    meta = scan(start, 132, (_SYNTAX,), 2)
    if start[128:132] != b"DICM" or meta is None or _SYNTAX not in meta[0]:
        return None
    uid = meta[0][_SYNTAX].decode("ascii").rstrip("\0 ")
    syntax = Syntax.of(uid)
    if syntax.deflated or not syntax.little:
        return None
    found = scan(start, meta[1], (_ROWS, _COLUMNS, _FRAMES), 0x28, explicit=syntax.explicit)
    if found is None:
        return None
    rows, columns = (found[0].get(tag, b"").strip(b"\0") for tag in (_ROWS, _COLUMNS))
    frames = int(found[0].get(_FRAMES, b"").strip(b"\0 ") or 1)
    return (frames if rows and columns else 0), uid


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
