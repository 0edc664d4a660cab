"""Load an image with its header, from an address, a path, files or an array."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from seriesport import formats as files
from seriesport.errors import SeriesportError
from seriesport.formats.axes import Axes, spatial_axes, tag_axes, unnamed
from seriesport.formats.dicom_geometry import with_geometry
from seriesport.formats.guard import check_affine
from seriesport.formats.streams import is_compressed
from seriesport.formats.values import image_of
from seriesport.images.geometry import spacing_of
from seriesport.images.image import Image
from seriesport.images.orders import FRAME, needs_files
from seriesport.images.regrid import aligned
from seriesport.images.sealing import lead_of
from seriesport.images.sorting import arrange
from seriesport.images.template import Header
from seriesport.model.series import SeriesReference
from seriesport.privacy import reasoned
from seriesport.series.opening import opened
from seriesport.transports.given import address_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from seriesport.config.settings import Settings
    from seriesport.images.frames import Frame
    from seriesport.images.image import Array
    from seriesport.images.orders import InputOrder
    from seriesport.images.sorting import Grid
    from seriesport.series.files import SeriesFiles

DICOM, ARRAY = "dicom", "array"
_FRAME_OF_REFERENCE = "FrameOfReferenceUID"
_POSTSCRIPT = (".ps", ".eps", ".pdf")
_NOWHERE = Path("read")
"""In place of the paths of files that are gone when a Series has been read."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """An image with its header."""

    image: Image
    header: Header
    format: str
    """What it was read from: `dicom`, another format's name, or `array`."""


def load(
    source: Any,
    input_order: InputOrder,
    opts: Mapping[str, Any],
    formats: Sequence[str],
    settings: Settings | None,
) -> Loaded:
    """Read what a source means. `formats` are those that may be there, empty for any.

    Raises:
        SeriesportError: see `Series`.
    """
    if isinstance(source, np.ndarray):
        return _of_array(cast("Array", source))
    plain = bool(formats) and DICOM not in formats
    with reasoned(), opened(source, settings, opts, plain=plain) as there:
        if there.dicom:
            return _of_instances(there, input_order, opts)
        name = _format(there.files, formats)
        image = _named(files.read(there.files, name, _allowed(source, opts)), input_order)
        return Loaded(image, Header.empty(slice_count(image)), name or "file")


def _format(paths: Sequence[Path], formats: Sequence[str]) -> str | None:
    """Return the format to read files in; None where their suffix has to tell.

    Raises:
        SeriesportError: not-found, where they are, or have to be, DICOM; format-unknown.
    """
    others = [f for f in formats if f != DICOM]
    if formats and not others:
        raise SeriesportError("not-found", "there are no DICOM instances")
    name = others[0] if len(others) == 1 else files.detect(paths)
    if name == DICOM:
        raise SeriesportError("not-found", _no_instance(paths))
    if len(others) > 1 and name not in others:
        raise SeriesportError("format-unknown", f"the files are none of: {', '.join(others)}")
    return name


def _no_instance(paths: Sequence[Path]) -> str:
    """Say what DICOM files are of which none is an instance."""
    if any(is_compressed(path) for path in paths):
        return "DICOM within .gz is not read; expand it first, with gunzip"
    return "a DICOMDIR lists files and is no image; give the folder with the files it lists"


def _allowed(source: Any, opts: Mapping[str, Any]) -> Mapping[str, Any]:
    """A PostScript file that is named itself is meant; what lies in folders is not run unasked."""
    if not isinstance(source, (list, tuple, SeriesReference)):
        address = address_of(source)
        path = address.file
        if path and path.suffix.lower() in _POSTSCRIPT and not path.is_dir():
            return {"postscript": True, **opts}
    return opts


def _of_instances(there: SeriesFiles, input_order: InputOrder, opts: Mapping[str, Any]) -> Loaded:
    frames, records = there.scan(files=needs_files(input_order, opts))
    image = Image.of(arrange(frames, input_order, opts))
    assert image.frames is not None
    header = Header.of_frames(image.frames.ravel(), records).sealed(image)
    return Loaded(replace(image, frames=_pathless(image.frames)), header, DICOM)


def _pathless(grid: Grid) -> Grid:
    """Frames without the names of files, which may be gone and may identify."""
    made = np.empty(grid.shape, dtype=object)
    for at in np.ndindex(grid.shape):
        made[at] = replace(cast("Frame", grid[at]), path=_NOWHERE, native=None)
    return made


def _named(image: Image, input_order: InputOrder) -> Image:
    """An image whose file does not name its tag axes, named as the input order does."""
    unnamed_tags = tag_axes(image.axes)
    names = [n.strip() for n in input_order.split(",")] if isinstance(input_order, str) else []
    if names in ([], ["auto"], ["none"]) or len(set(names)) != len(unnamed_tags):
        return image
    new = dict(zip(unnamed_tags, names, strict=True))
    return replace(
        image,
        axes=tuple(new.get(axis, axis) for axis in image.axes),
        tags={new[name]: values for name, values in image.tags.items()},
    )


def slice_count(image: Image) -> int:
    """How many slices the axes before row have together."""
    return int(np.prod(lead_of(image), dtype=np.intp))


# Arrays, templates, geometries


def _of_array(array: Array) -> Loaded:
    if array.ndim < 2 or array.dtype.kind not in "iufcb" or not array.size:
        problem = "an image is an array of numbers with at least two axes, none of them empty"
        raise SeriesportError("format-unfit", problem)
    colour = array.dtype == np.uint8 and array.ndim > 2 and array.shape[-1] == 3
    axes = unnamed(array.shape[:-1] if colour else array.shape)
    axes = replace(axes, names=(*axes.names, "rgb")) if colour else axes
    image = image_of(array, axes, None)
    return Loaded(image, Header.empty(slice_count(image)), ARRAY)


def headed(
    loaded: Loaded, template: Any, settings: Settings | None, opts: Mapping[str, Any]
) -> Loaded:
    """What came from elsewhere, with a template's header.

    An array takes the axes, tags and window of a template of its own shape, too.

    Args:
        loaded: The image.
        template: Loaded, or a source of DICOM.
        settings: Servers and limits.
        opts: Options of finding the template.

    Raises:
        SeriesportError: not-found, ambiguous, and what reading raises.
    """
    count = slice_count(loaded.image)
    if isinstance(template, Loaded):
        image, other = loaded.image, template.image
        if loaded.format == ARRAY and image.array.shape == other.array.shape:
            image = replace(image, axes=other.axes, tags=other.tags, window=other.window)
        return replace(loaded, image=image, header=template.header.as_template(count))
    with opened(template, settings, opts) as there:
        if not there.dicom:
            raise SeriesportError("not-found", "the template has no DICOM instances")
        there.check()
        return replace(loaded, header=Header.of_files([there.file(1)]).as_template(count))


def placed(
    loaded: Loaded, geometry: Any, settings: Settings | None, opts: Mapping[str, Any]
) -> Loaded:
    """An image in the place that a geometry gives it, in its frame of reference.

    Where the image lies somewhere itself, on the same grid with its axes in another order or
    direction, it is turned to that grid; its slices are others then, and share one header.

    Args:
        loaded: The image.
        geometry: An affine from (slice, row, column, 1) to LPS; loaded; or a source of DICOM.
        settings: Servers and limits.
        opts: Options of finding and sorting the geometry.

    Raises:
        SeriesportError: geometry-mismatch where slice count, matrix or handedness differ;
            geometry-irregular; what reading raises.
    """
    if isinstance(geometry, np.ndarray):
        stated = cast("Array", geometry)
        if stated.shape != (4, 4) or stated.dtype.kind not in "iuf":
            raise SeriesportError("header-invalid", "an affine has 4 x 4 numbers")
        affine = check_affine(stated.astype(np.float64))
        image = replace(loaded.image, affine_lps=affine, spacing=spacing_of(affine))
        return replace(loaded, image=image)
    there = geometry if isinstance(geometry, Loaded) else _geometry_of(geometry, settings, opts)
    image, header = aligned(loaded.image, there.image), loaded.header
    if image is not loaded.image:
        header = header.as_template(slice_count(image))
    frame = there.header.get(_FRAME_OF_REFERENCE)
    if frame is not None:
        header = header.having(_FRAME_OF_REFERENCE, frame)
    return replace(loaded, image=with_geometry(image, there.image), header=header)


def _geometry_of(source: Any, settings: Settings | None, opts: Mapping[str, Any]) -> Loaded:
    """Where a series lies, without its pixels."""
    with opened(source, settings, opts) as there:
        if not there.dicom:
            return Loaded(files.read(there.files, None, opts), Header.empty(), "file")
        frames, records = there.scan()
        arranged = arrange(frames, FRAME.name, opts)
        slices = arranged.frames.shape[-1]
        shape = (slices, frames[0].rows, frames[0].columns)
        nothing: NDArray[np.uint8] = np.broadcast_to(np.uint8(0), shape)
        affine = arranged.affine_lps
        image = image_of(nothing, Axes(spatial_axes(3), {}), affine)
        if slices == 1:
            image = replace(image, array=nothing[0], axes=image.axes[1:])
        return Loaded(image, Header.of_frames(frames[:1], records).as_template(1), DICOM)
