"""What the headers of a series say about its frames: one Frame per slice, pixels not read.

Classic instances, the functional groups of Enhanced multi-frame ones (PS3.3 section C.7.6.16) and
the tiles of Siemens mosaics and UIH volumes come out as the same records.
"""

from __future__ import annotations

import logging
import math
import struct
import warnings
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from pydicom.datadict import keyword_for_tag
from pydicom.errors import BytesLengthException, InvalidDicomError

from seriesport.counts import counted
from seriesport.dicom.part10 import load_instance
from seriesport.dicom.whole import pixels_length
from seriesport.errors import SeriesportError
from seriesport.images import mosaic, vframe
from seriesport.images.diffusion import diffusion_of, maybe_unweighted
from seriesport.images.geometry import Plane
from seriesport.images.headers import Header, quick_header
from seriesport.images.lookup import Lookup, number, numbers
from seriesport.images.mosaic import TILED
from seriesport.images.native import Native, native_of
from seriesport.images.tags import tags_of
from seriesport.images.window import Window, window_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from pydicom.dataset import Dataset, FileDataset

    from seriesport.images.mosaic import Tile

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
    MemoryError,
    AssertionError,
    struct.error,
    zlib.error,
)
"""What pydicom and its decoders raise on data sets that are not as they should be."""

_NESTED = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
"""Sequences of which so much is needed that pydicom has to read the header."""
_PLACES = ("StackID", "InStackPositionNumber", "ImagePositionPatient", "FrameNumber")
"""Dimensions that are places, not tags."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of one instance, or one tile of a mosaic."""

    path: Path
    """A file that pydicom can read; where pixels are native, any file that they lie in."""
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
    window: Window | None
    tags: dict[str, float] = field(default_factory=dict[str, float])
    """Values by the names of `tags.TAGS`."""
    direction: tuple[float, float, float] | None = None
    """Diffusion gradient direction, a unit vector in LPS; zeros where there is none (b = 0,
    isotropic)."""
    maybe_unweighted: bool = False
    """Of a vendor that writes no b-value at b = 0: it has none, and others may have one."""
    dimensions: dict[str, int] = field(default_factory=dict[str, int])
    """Dimension Index Values of a multi-frame image by the keyword that each points to."""
    tile: tuple[int, int] | None = None
    """First row and column in the stored picture, where it is one of many slices."""
    native: Native | None = None
    """Of the whole picture; None where a decoder has to read it."""
    problem: str | None = None
    """Why it can be shown but not put in its place: a mosaic that does not tell its slices."""


@dataclass(frozen=True, slots=True)
class _Origin:
    """What the frames of one instance have in common."""

    path: Path
    instance: int
    native: Native | None
    """Of the first frame."""


@contextmanager
def quiet() -> Generator[None]:
    """Keep pydicom's warnings and log lines, which quote values, off every screen."""
    log = logging.getLogger("pydicom")
    before, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.disabled = before


def read_header(path: Path, keywords: list[str] | None = None) -> FileDataset:
    """A file's data set without pixels, or just some of its attributes. Raises `BAD_DATA`."""
    return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=keywords)  # pyright: ignore[reportUnknownMemberType] partly typed


def holds_pixels(path: Path) -> bool:
    """Return False if a DICOM file is a whole instance without pixels. Raises OSError."""
    try:
        instance = load_instance(path)
        with instance.payload.open() as stream:
            length = pixels_length(stream, instance.payload.size, instance.transfer_syntax_uid)
    except SeriesportError:  # for pydicom to judge
        return True
    return length is not None


def read_frames(files: Sequence[Path]) -> list[Frame]:
    """The frames of all files that hold an image, in the order of the files.

    Instances without pixels (reports, plans, presentation states) are passed over.

    Raises:
        SeriesportError: not-an-image where none has pixels; instance-invalid;
            geometry-irregular where an orientation or spacing is none.
    """
    frames: list[Frame] = []
    with quiet():
        for i, path in enumerate(files, 1):
            with readable_header(i):
                frames += frames_of(quick_header(path), partial(_same, path), i)
    return require_images(frames, len(files))


def require_images(frames: list[Frame], instances: int) -> list[Frame]:
    """Frames, if there are any. Raises SeriesportError: not-an-image."""
    if not frames:
        raise SeriesportError(
            "not-an-image", f"none of {counted(instances, 'instance')} holds an image"
        )
    return frames


def _same(path: Path) -> Path:
    return path


@contextmanager
def readable_header(instance: int) -> Generator[None]:
    """Give what a bad header raises as SeriesportError: instance-invalid."""
    try:
        yield
    except BAD_DATA as error:
        problem = f"the header of instance {instance} cannot be read ({type(error).__name__})"
        raise SeriesportError("instance-invalid", problem) from None


def frames_of(quick: Header | None, file: Callable[[], Path], instance: int) -> list[Frame]:
    """The frames of one instance, none where it holds no image; to be called within `quiet`.

    Args:
        quick: Its header, where it is plain.
        file: Gives a file that pydicom can read; asked where the quick header does not do.
        instance: Its place in the series, from 1.

    Raises:
        SeriesportError: as `read_frames`; or one of `BAD_DATA`.
    """
    if quick is None or _is_nested(quick):
        header: Header | Dataset = read_header(file())
    else:
        header = quick
    if not header.get("Rows") or not header.get("Columns"):
        return []
    if not (holds_pixels(file()) if quick is None else quick.top.pixels):
        return []  # raw data, say, which have rows and columns all the same
    # values behind a table are not those that are stored
    native = None if quick is None or quick.get("ModalityLUTSequence") else native_of(quick)
    origin = _Origin(file() if native is None else native.path, instance, native)
    made = _frames(header, origin)
    kinds = [kind for kind in TILED if kind in (header.get("ImageType") or [])]
    if not kinds:
        return made
    cut = mosaic.tiles if kinds == ["MOSAIC"] else vframe.tiles
    return [tile for frame in made for tile in _tiles(header, frame, cut)]


def _is_nested(quick: Header) -> bool:
    """Return True for a header of which sequences have to be read."""
    return any(keyword in quick for keyword in _NESTED) or (
        "VFRAME" in (quick.get("ImageType") or [])
    )


def _tiles(header: Header | Dataset, frame: Frame, cut: Callable[..., list[Tile]]) -> list[Frame]:
    try:
        slices = cut(Lookup(header, []), frame.plane, frame.rows, frame.columns)
    except SeriesportError as error:
        return [replace(frame, problem=error.message)]
    return [
        replace(
            frame,
            rows=tile.rows,
            columns=tile.columns,
            plane=tile.plane,
            tile=(tile.top, tile.left),
        )
        for tile in slices
    ]


def _photometric(header: Header | Dataset) -> str:
    return str(header.get("PhotometricInterpretation") or "MONOCHROME2")


def _count(header: Header | Dataset) -> int:
    return int(header.get("NumberOfFrames") or 1)


def _frames(header: Header | Dataset, origin: _Origin) -> list[Frame]:
    path, instance = origin.path, origin.instance
    count = _count(header)
    shared: list[Dataset] = list(header.get("SharedFunctionalGroupsSequence") or [])[:1]
    per_frame: list[Dataset] = list(header.get("PerFrameFunctionalGroupsSequence") or [])
    offsets = numbers(header.get("GridFrameOffsetVector"))
    if per_frame and len(per_frame) != count:
        raise SeriesportError(
            "instance-invalid",
            f"instance {instance} has {counted(count, 'frame')} and functional groups for"
            f" {len(per_frame)}",
        )
    if count > 1 and count > path.stat().st_size:  # no frame takes less than a byte
        raise SeriesportError(
            "instance-invalid", f"instance {instance} declares more frames than it can hold"
        )
    dimensions = _dimensions(header) if per_frame else []
    frames: list[Frame] = []
    window: Window | None = None
    for k in range(count):
        look = Lookup(header, [*per_frame[k : k + 1], *shared])
        plane = _plane(look)
        if count > 1 and not per_frame:
            placed = plane and len(offsets) == count
            plane = _offset(plane, offsets[k] - offsets[0]) if plane and placed else None
        if k == 0 or per_frame:
            window = window_of(look)
        frames.append(_frame(look, origin, k, plane, window, dimensions))
    return frames


def _frame(
    look: Lookup,
    origin: _Origin,
    index: int,
    plane: Plane | None,
    window: Window | None,
    dimensions: list[str],
) -> Frame:
    header, instance = look.header, origin.instance
    macro = "PixelValueTransformationSequence"
    instance_number = header.get("InstanceNumber")
    tags = tags_of(look)
    b, direction = diffusion_of(look, plane)
    if b is not None:
        tags["b"] = b
    values = numbers(look.get("FrameContentSequence", "DimensionIndexValues", ""))
    return Frame(
        path=origin.path,
        instance=instance,
        index=index,
        number=None if instance_number in (None, "") else int(instance_number),
        rows=int(header.get("Rows")),
        columns=int(header.get("Columns")),
        samples=int(header.get("SamplesPerPixel") or 1),
        photometric=_photometric(header),
        plane=plane,
        spacing=plane.spacing if plane else _flat_spacing(look),
        slope=_scale(look.get(macro, "RescaleSlope"), 1.0, instance),
        intercept=_scale(look.get(macro, "RescaleIntercept"), 0.0, instance),
        has_modality_lut=bool(header.get("ModalityLUTSequence")),
        window=window,
        tags=tags,
        direction=direction,
        maybe_unweighted=b is None and maybe_unweighted(look),
        dimensions={
            name: int(v) for name, v in zip(dimensions, values, strict=False) if name not in _PLACES
        },
        native=origin.native and origin.native.nth(index),
    )


def _scale(value: Any, missing: float, instance: int) -> float:
    found = numbers(value)
    if found and not math.isfinite(found[0]):
        problem = f"the rescale slope or intercept of instance {instance} is not finite"
        raise SeriesportError("instance-invalid", problem)
    return found[0] if found else missing


def _dimensions(header: Header | Dataset) -> list[str]:
    """What the Dimension Index Values of each frame stand for (PS3.3 section C.7.6.17)."""
    items: list[Any] = list(header.get("DimensionIndexSequence") or [])
    pointers = [int(item.get("DimensionIndexPointer") or 0) for item in items]
    return [keyword_for_tag(pointer) or f"{pointer:08X}" for pointer in pointers]


def _plane(look: Lookup) -> Plane | None:
    position = numbers(look.get("PlanePositionSequence", "ImagePositionPatient"))
    orientation = numbers(look.get("PlaneOrientationSequence", "ImageOrientationPatient"))
    spacing = numbers(look.get("PixelMeasuresSequence", "PixelSpacing"))
    if len(position) != 3 or len(orientation) != 6 or len(spacing) != 2:
        return None
    thickness = number(look.get("PixelMeasuresSequence", "SliceThickness"))
    plane = Plane(
        (position[0], position[1], position[2]),
        (*orientation[:3], *orientation[3:]),  # pyright: ignore[reportArgumentType] six, as checked
        (spacing[0], spacing[1]),
        thickness if thickness and thickness > 0 else None,
    )
    plane.check()
    return plane


def _offset(plane: Plane, offset: float) -> Plane:
    """The plane at a distance from the first one: a Grid Frame Offset, which counts from the first
    plane or from the patient's origin (PS3.3 section C.8.8.3.2), less the first offset."""
    x, y, z = (float(v) for v in np.array(plane.position) + offset * plane.normal)
    return Plane((x, y, z), plane.orientation, plane.spacing, plane.thickness)


def _flat_spacing(look: Lookup) -> tuple[float, float] | None:
    """Spacing of an image that lies nowhere: for its aspect ratio."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        values = numbers(look.get("PixelMeasuresSequence", keyword))
        if len(values) == 2 and all(0 < v < math.inf for v in values):
            return (values[0], values[1])
    aspect = numbers(look.get("", "PixelAspectRatio"))
    if len(aspect) == 2 and all(0 < v < math.inf for v in aspect):
        return (aspect[0], aspect[1])
    return None
