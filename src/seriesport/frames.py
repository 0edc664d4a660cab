"""What the headers of a series say about its frames: one Frame per slice, pixels not read.

Classic instances and the functional groups of Enhanced multi-frame ones (PS3.3 section C.7.6.16)
come out as the same records.
"""

from __future__ import annotations

import math
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue

from seriesport.errors import SeriesportError
from seriesport.geometry import Plane

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset, FileDataset

BAD_DATA = (
    InvalidDicomError,
    BytesLengthException,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
)
"""What pydicom and its decoders raise on data sets that are not as they should be."""

# A tag: macro of the functional groups, its attribute, the attribute of classic instances.
TAGS = {
    "echo": ("MREchoSequence", "EffectiveEchoTime", "EchoTime"),
    "b": ("MRDiffusionSequence", "DiffusionBValue", "DiffusionBValue"),
    "segment": ("SegmentIdentificationSequence", "ReferencedSegmentNumber", ""),
    "temporal": ("FrameContentSequence", "TemporalPositionIndex", "TemporalPositionIdentifier"),
    "trigger": (
        "CardiacSynchronizationSequence",
        "NominalCardiacTriggerDelayTime",
        "TriggerTime",
    ),
    "time": ("FrameContentSequence", "FrameAcquisitionDateTime", "AcquisitionTime"),
    "acquisition": ("FrameContentSequence", "FrameAcquisitionNumber", "AcquisitionNumber"),
    "fa": ("MRTimingAndRelatedParametersSequence", "FlipAngle", "FlipAngle"),
}
"""What may tell frames at one position apart, in the order of preference."""

_KEYWORDS = [
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "ImageType",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    "PixelAspectRatio",
    "SliceThickness",
    "GridFrameOffsetVector",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "InstanceNumber",
    "AcquisitionDate",
    "AcquisitionDateTime",
    "PixelRepresentation",
    *(classic for _, _, classic in TAGS.values() if classic),
]


@dataclass(frozen=True, slots=True)
class Window:
    """How values become grey (PS3.3 section C.11.2): a centre and width, or a table."""

    center: float
    width: float
    function: str = "LINEAR"
    """LINEAR, LINEAR_EXACT or SIGMOID."""
    table: tuple[float, tuple[int, ...]] | None = None
    """Of a VOI LUT Sequence: the first value mapped, and the output for it and those after."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of one instance."""

    path: Path
    instance: int
    """Place of the file in the series, from 1, for messages."""
    index: int
    """Frame in the file, from 0."""
    number: int | None
    """Instance Number."""
    rows: int
    columns: int
    samples: int
    photometric: str
    plane: Plane | None
    spacing: tuple[float, float] | None
    """Between rows, between columns, in mm; the ratio alone counts where there is no plane."""
    slope: float
    intercept: float
    has_modality_lut: bool
    mosaic: bool
    """A Siemens mosaic: many slices tiled in one picture."""
    window: Window | None
    tags: dict[str, float] = field(default_factory=dict[str, float])
    """Values by the names of `TAGS`."""
    direction: tuple[float, float, float] | None = None
    """Diffusion gradient direction, a unit vector in LPS; zeros where there is none (b = 0,
    isotropic)."""
    dimensions: dict[str, int] = field(default_factory=dict[str, int])
    """Dimension Index Values of a multi-frame image by the keyword that each points to."""
    tile: tuple[int, int] | None = None
    """First row and column in the stored picture, where it is a mosaic of slices."""


@contextmanager
def quiet() -> Generator[None]:
    """Keep pydicom's warnings, which quote values, out of logs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_header(path: Path, keywords: list[str] | None = None) -> FileDataset:
    """A file's data set without pixels, or just some of its attributes. Raises `BAD_DATA`."""
    return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=keywords)  # pyright: ignore[reportUnknownMemberType] partly typed


def read_frames(files: Sequence[Path]) -> list[Frame]:
    """The frames of all files that hold an image, in the order of the files.

    Instances without pixels (reports, plans, presentation states) are passed over.

    Raises:
        SeriesportError: not-an-image where none has pixels; instance-invalid;
            geometry-irregular where an orientation or spacing is none.
    """
    frames: list[Frame] = []
    for i, path in enumerate(files, 1):
        try:
            with quiet():
                header = read_header(path, _KEYWORDS)
                if header.get("Rows") and header.get("Columns"):
                    frames.extend(_frames(header, path, i))
        except BAD_DATA as error:
            kind = type(error).__name__
            raise SeriesportError(
                "instance-invalid", f"the header of instance {i} cannot be read ({kind})"
            ) from None
    if not frames:
        raise SeriesportError("not-an-image", f"none of {len(files)} instances holds an image")
    return frames


def _frames(header: Dataset, path: Path, instance: int) -> list[Frame]:
    count = int(header.get("NumberOfFrames") or 1)
    shared = list(header.get("SharedFunctionalGroupsSequence") or [])[:1]
    per_frame = list(header.get("PerFrameFunctionalGroupsSequence") or [])
    offsets = _numbers(header.get("GridFrameOffsetVector"))
    if per_frame and len(per_frame) != count:
        raise SeriesportError(
            "instance-invalid",
            f"instance {instance} has {count} frames and functional groups for {len(per_frame)}",
        )
    if count > path.stat().st_size:  # no frame takes less than a byte
        raise SeriesportError(
            "instance-invalid", f"instance {instance} declares more frames than it can hold"
        )
    frames: list[Frame] = []
    window: Window | None = None
    for k in range(count):
        look = _Lookup(header, [*per_frame[k : k + 1], *shared])
        plane = _plane(look)
        if count > 1 and not per_frame:
            plane = _offset(plane, offsets[k]) if plane and len(offsets) == count else None
        if k == 0 or per_frame:
            window = _window(look)
        slope = _number(look.get("PixelValueTransformationSequence", "RescaleSlope"))
        number = header.get("InstanceNumber")
        frames.append(
            Frame(
                path=path,
                instance=instance,
                index=k,
                number=None if number in (None, "") else int(number),
                rows=int(header.Rows),
                columns=int(header.Columns),
                samples=int(header.get("SamplesPerPixel") or 1),
                photometric=str(header.get("PhotometricInterpretation") or "MONOCHROME2"),
                plane=plane,
                spacing=plane.spacing if plane else _flat_spacing(look),
                slope=1.0 if slope is None else slope,
                intercept=_number(look.get("PixelValueTransformationSequence", "RescaleIntercept"))
                or 0.0,
                has_modality_lut=bool(header.get("ModalityLUTSequence")),
                mosaic="MOSAIC" in (header.get("ImageType") or []),
                window=window,
                tags=_tags(look),
            )
        )
    return frames


@dataclass(frozen=True, slots=True)
class _Lookup:
    """Attributes of one frame: its own functional groups, the shared ones, the data set."""

    header: Dataset
    groups: list[Dataset]

    def get(self, macro: str, keyword: str, classic: str | None = None) -> Any:
        """An attribute of a macro, or of the data set itself where no group has it."""
        for group in self.groups:
            items = group.get(macro)
            if items and items[0].get(keyword) is not None:
                return items[0].get(keyword)
        name = keyword if classic is None else classic
        return self.header.get(name) if name else None


def _numbers(value: Any) -> tuple[float, ...]:
    """A value of any multiplicity as numbers."""
    if value is None or value == "":
        return ()
    values = list(value) if isinstance(value, (MultiValue, list)) else [value]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] pydicom's values are untyped
    return tuple(float(v) for v in values)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] as above


def _number(value: Any) -> float | None:
    """The first number of a value."""
    values = _numbers(value)
    return values[0] if values and math.isfinite(values[0]) else None


def _plane(look: _Lookup) -> Plane | None:
    position = _numbers(look.get("PlanePositionSequence", "ImagePositionPatient"))
    orientation = _numbers(look.get("PlaneOrientationSequence", "ImageOrientationPatient"))
    spacing = _numbers(look.get("PixelMeasuresSequence", "PixelSpacing"))
    if len(position) != 3 or len(orientation) != 6 or len(spacing) != 2:
        return None
    thickness = _number(look.get("PixelMeasuresSequence", "SliceThickness"))
    plane = Plane(
        (position[0], position[1], position[2]),
        (*orientation[:3], *orientation[3:]),  # pyright: ignore[reportArgumentType] six, as checked
        (spacing[0], spacing[1]),
        thickness if thickness and thickness > 0 else None,
    )
    plane.check()
    return plane


def _offset(plane: Plane, offset: float) -> Plane:
    """The plane at a Grid Frame Offset (PS3.3 section C.8.8.3.2, relative offsets)."""
    x, y, z = (float(v) for v in np.array(plane.position) + offset * plane.normal)
    return Plane((x, y, z), plane.orientation, plane.spacing, plane.thickness)


def _flat_spacing(look: _Lookup) -> tuple[float, float] | None:
    """Spacing of an image that lies nowhere: for its aspect ratio."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        values = _numbers(look.get("PixelMeasuresSequence", keyword))
        if len(values) == 2 and all(0 < v < math.inf for v in values):
            return (values[0], values[1])
    aspect = _numbers(look.get("", "PixelAspectRatio"))
    if len(aspect) == 2 and all(0 < v < math.inf for v in aspect):
        return (aspect[0], aspect[1])
    return None


def _window(look: _Lookup) -> Window | None:
    macro = "FrameVOILUTSequence"
    items = look.get("", "VOILUTSequence")
    if items:
        descriptor = _numbers(items[0].get("LUTDescriptor"))
        table = _lut_data(items[0])
        if len(descriptor) == 3 and len(table) > 1:
            first = descriptor[1]
            if look.header.get("PixelRepresentation") == 1 and first >= 2**15:
                first -= 2**16
            return Window(0, 0, "LUT", (first, table))
    center = _number(look.get(macro, "WindowCenter"))
    width = _number(look.get(macro, "WindowWidth"))
    if center is None or width is None or width <= 0:
        return None
    function = str(look.get(macro, "VOILUTFunction") or "LINEAR")
    return Window(center, width, function)


def _lut_data(item: Dataset) -> tuple[int, ...]:
    """The entries of a look-up table; 16-bit words, or numbers that pydicom has made of them."""
    data = item.get("LUTData")
    if isinstance(data, bytes):
        words: NDArray[np.uint16] = np.frombuffer(data[: len(data) // 2 * 2], dtype="<u2")
        return tuple(int(w) for w in words)
    return tuple(int(v) for v in _numbers(data))


def _tags(look: _Lookup) -> dict[str, float]:
    tags: dict[str, float] = {}
    for name, (macro, keyword, classic) in TAGS.items():
        value = look.get(macro, keyword, classic)
        number = _seconds(str(value or ""), look) if name == "time" else _number(value)
        if number is not None:
            tags[name] = number
    return tags


_EPOCH = date(1970, 1, 1).toordinal() * 86400
"""Keeps microseconds within a float's digits."""


def _seconds(text: str, look: _Lookup) -> float | None:
    """A DT or TM value in seconds; a TM without its date counts from midnight."""
    text = text.strip()
    day = ""
    if text.partition(".")[0].isdigit() and len(text.partition(".")[0]) == 14:
        day, text = text[:8], text[8:].partition("+")[0].partition("-")[0]
    elif not text:
        stamp = str(look.header.get("AcquisitionDateTime") or "").partition("+")[0]
        day, text = stamp[:8], stamp[8:].partition("-")[0]
    else:
        day = str(look.header.get("AcquisitionDate") or "")
    clock, _, fraction = text.replace(":", "").partition(".")
    if not clock.isdigit() or len(clock) not in (2, 4, 6):
        return None
    clock = clock.ljust(6, "0")
    seconds = int(clock[:2]) * 3600 + int(clock[2:4]) * 60 + int(clock[4:6])
    part = float(f"0.{fraction}") if fraction.isdigit() else 0.0
    if len(day) == 8 and day.isdigit():
        seconds += date(int(day[:4]), int(day[4:6]), int(day[6:])).toordinal() * 86400 - _EPOCH
    return seconds + part
