"""What a Series knows about itself: patient, study, series, geometry, times and directions.

Names are those that the field's users know from DICOM and from imagedata. Lengths in mm in DICOM's
patient coordinates (LPS) unless said otherwise, times in s, b-values in s/mm².
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast, overload

import numpy as np
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VR
from pydicom.valuerep import validate_value

from seriesport.errors import SeriesportError
from seriesport.formats.axes import tag_axes
from seriesport.formats.dicom_modules import as_written
from seriesport.formats.guard import check_affine
from seriesport.images.encoded import tag_of, value_of
from seriesport.images.frames import BAD_DATA, quiet
from seriesport.images.geometry import lps_to_ras, spacing_of
from seriesport.images.uids import valid
from seriesport.images.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seriesport.images.frames import Frame
    from seriesport.images.geometry import Affine
    from seriesport.images.image import Array, Image
    from seriesport.images.template import Header

_T = TypeVar("_T")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LINES = ("LT", "ST", "UT")
"""VRs of text that may have several lines."""


def refused(problem: str) -> SeriesportError:
    """The error for a value that an attribute cannot have."""
    return SeriesportError("header-invalid", problem)


class _Attribute(Generic[_T]):
    """An attribute of the DICOM header that a user may read and set for all slices."""

    def __init__(
        self, keyword: str, read: Callable[[Any], _T], check: Callable[[Any], Any]
    ) -> None:
        self._keyword, self._read, self._check = keyword, read, check

    @overload
    def __get__(self, series: None, owner: type[Attributes]) -> Self: ...
    @overload
    def __get__(self, series: Attributes, owner: type[Attributes]) -> _T: ...
    def __get__(self, series: Attributes | None, owner: type[Attributes]) -> _T | Self:
        if series is None:
            return self
        return _decoded(series, self._keyword, self._read)

    def __set__(self, series: Attributes, value: _T) -> None:
        series.setDicomAttribute(self._keyword, self._check(value))


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


def _texts(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(map(str, value))


def _is_text(value: Any) -> str:
    if not isinstance(value, str) or "\\" in value or _CONTROL.search(value):
        raise refused("this attribute is text, without control characters and backslashes")
    return value


def _is_number(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise refused("this attribute is a whole number")
    return int(cast("int", value))


def _is_date(value: Any) -> str:
    if isinstance(value, date):
        return value.strftime("%Y%m%d")
    text = _is_text(value)
    try:
        return text and date.fromisoformat(text).strftime("%Y%m%d")
    except ValueError:
        raise refused("this attribute is a date, such as 19700102") from None


def _is_uid(value: Any) -> str:
    if not isinstance(value, str) or not valid(value):
        raise refused("this attribute is a UID: numbers with dots, at most 64 characters")
    return value


def _are_texts(value: Any) -> list[str]:
    if isinstance(value, str):
        value = value.split("\\")
    if not isinstance(value, Iterable):
        raise refused("this attribute is a list of text")
    return [_is_text(v) for v in cast("Iterable[Any]", value)]


class Attributes:
    """The attributes of a Series. What cannot be set follows from the array."""

    image: Image
    header: Header

    patientName = _Attribute("PatientName", _text, _is_text)
    """As DICOM has it: FAMILY^GIVEN."""
    patientID = _Attribute("PatientID", _text, _is_text)
    patientBirthDate = _Attribute("PatientBirthDate", _text, _is_date)
    """YYYYMMDD."""
    accessionNumber = _Attribute("AccessionNumber", _text, _is_text)
    studyInstanceUID = _Attribute("StudyInstanceUID", _text, _is_uid)
    seriesInstanceUID = _Attribute("SeriesInstanceUID", _text, _is_uid)
    """Of the series that was read. What is written gets a new one unless it is set, or kept by
    `keep_uid`."""
    seriesNumber = _Attribute("SeriesNumber", _number, _is_number)
    seriesDescription = _Attribute("SeriesDescription", _text, _is_text)
    imageType = _Attribute("ImageType", _texts, _are_texts)

    def getDicomAttribute(self, keyword: str) -> Any:
        """The first slice's value of an attribute by its keyword of PS3.6; None where it has none.

        With a template's header it is what would be written, which is less than the template has.

        Raises:
            SeriesportError: header-invalid where no attribute is called so; instance-invalid
                where the header's value is none of the attribute's kind.
        """
        return _decoded(self, keyword, lambda value: value)

    def setDicomAttribute(self, keyword: str, value: Any) -> None:
        """Set an attribute of every slice; None takes it away.

        Raises:
            SeriesportError: header-invalid where there is no such attribute, it cannot have this
                value, or it follows from the array (sizes, positions, pixel format).
        """
        _check_value(keyword, value)
        self.header = self.header.having(keyword, value)

    @property
    def modality(self) -> str:
        """Such as CT or MR; of what is no DICOM yet, that which it would be written with."""
        return _text(self.getDicomAttribute("Modality"))

    # The array

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the array's axes: tags (time, b, te, ...), then of slice, row, column, rgb."""
        return self.image.axes

    @property
    def tags(self) -> dict[str, tuple[Any, ...]]:
        """For each tag axis the value at each index: s for time, ms for echo, te and trigger."""
        return dict(self.image.tags)

    @property
    def input_order(self) -> str:
        """What tells the images at one position apart: the names of the tag axes, with commas
        between them; "none" for one volume. Reading with it gives the same axes."""
        return ",".join(tag_axes(self.image.axes)) or "none"

    @property
    def colour(self) -> bool:
        """Whether the last axis is red, green, blue."""
        return self.image.colour

    @property
    def window(self) -> tuple[float, float] | None:
        """Centre and width of the grey values to show; None where nothing says so."""
        window = self.image.window
        return None if window is None or window.table else (window.center, window.width)

    @window.setter
    def window(self, value: tuple[float, float] | None) -> None:
        if value is None:
            self._change(window=None)
            return
        center, width = _finite(value, (2,), "the window is a centre and a width")
        if width <= 0:
            raise refused("the width of a window is positive")
        self._change(window=Window(float(center), float(width)))

    # Where it lies

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """Between slices, rows and columns; None where the images lie nowhere in the patient."""
        return self.image.spacing

    @spacing.setter
    def spacing(self, value: Sequence[float]) -> None:
        wanted = _finite(value, (3,), "the spacing is three numbers: slice, row, column")
        if (wanted <= 0).any():
            raise refused("the spacing is positive")
        affine = self._affine().copy()
        affine[:3, :3] *= wanted / np.linalg.norm(affine[:3, :3], axis=0)
        self.affine_lps = affine

    @property
    def affine_lps(self) -> Affine | None:
        """From (slice, row, column, 1) to LPS; None where the images lie nowhere. A copy."""
        affine = self.image.affine_lps
        return None if affine is None else affine.copy()

    @affine_lps.setter
    def affine_lps(self, value: Affine | None) -> None:
        if value is None:
            self._change(affine_lps=None, spacing=None)
            return
        affine = check_affine(_finite(value, (4, 4), "an affine has 4 x 4 numbers"))
        if not np.array_equal(affine[3], [0, 0, 0, 1]):
            raise refused("the last row of an affine is 0 0 0 1")
        self._change(affine_lps=affine, spacing=spacing_of(affine))

    @property
    def affine_ras(self) -> Affine | None:
        """The same to RAS, as NIfTI has it."""
        return self.image.affine_ras

    @affine_ras.setter
    def affine_ras(self, value: Affine | None) -> None:
        checked = None if value is None else _finite(value, (4, 4), "an affine has 4 x 4 numbers")
        self.affine_lps = None if checked is None else lps_to_ras(checked)

    @property
    def orientation(self) -> tuple[float, ...] | None:
        """Image Orientation (Patient): direction of rising column index, then of rising row
        index. Set `affine_lps` to change it."""
        affine = self.image.affine_lps
        if affine is None:
            return None
        steps = affine[:3, [2, 1]] / np.linalg.norm(affine[:3, [2, 1]], axis=0)
        return tuple(steps.T.ravel().tolist())

    @property
    def imagePositions(self) -> Array | None:
        """Image Position (Patient): where the first voxel of each slice lies, axes (slice, xyz).
        Set `affine_lps` to change it."""
        affine, image = self.image.affine_lps, self.image
        if affine is None:
            return None
        count = image.array.shape[image.axes.index("slice")] if "slice" in image.axes else 1
        return affine[:3, 3] + np.arange(count)[:, None] * affine[:3, 0]

    # Times and directions

    @property
    def timeline(self) -> Array | None:
        """When each image along the (only, or the time) tag axis was taken, s; else None."""
        tags = self.image.tags
        for name, unit in (("time", 1.0), ("trigger", 1e-3), ("triggertime", 1e-3)):
            if name in tags:
                return np.array(tags[name], np.float64) * unit
        return self._times()

    @timeline.setter
    def timeline(self, value: Sequence[float]) -> None:
        name = self._axis("time")
        times = _finite(value, (self._length(name),), "the timeline has a time for each index")
        if (np.diff(times) <= 0).any():
            raise refused("the times of a timeline rise")
        axes = tuple("time" if a == name else a for a in self.image.axes)
        tags = {"time" if n == name else n: v for n, v in self.image.tags.items()}
        self._change(axes=axes, tags=tags | {"time": tuple(times.tolist())})

    @property
    def bvalues(self) -> Array | None:
        """The b-value of each volume, axes (tags...); None where they are not known."""
        tags = self.image.tags
        if self.image.bvalues is not None or tuple(tags) != ("b",):
            return self.image.bvalues
        return np.array(tags["b"], np.float64)

    @bvalues.setter
    def bvalues(self, value: Any) -> None:
        problem = "there is a b-value for each volume, and none is negative"
        b = _finite(value, self._volumes(), problem)
        if (b < 0).any():
            raise refused(problem)
        tags = dict(self.image.tags)
        if tuple(tags) == ("b",):
            tags["b"] = tuple(b.tolist())
        self._change(bvalues=b, tags=tags)

    @property
    def bvectors(self) -> Array | None:
        """The diffusion gradient direction of each volume, unit vectors in LPS, axes (tags...,
        xyz), zeros without direction; None where they are not known."""
        return self.image.bvectors

    @bvectors.setter
    def bvectors(self, value: Any) -> None:
        problem = "there is a unit vector, or zeros, for each volume"
        vectors = _finite(value, (*self._volumes(), 3), problem)
        lengths = np.linalg.norm(vectors, axis=-1)
        if not (np.isclose(lengths, 1, atol=1e-2) | (lengths == 0)).all():
            raise refused(problem)
        self._change(bvectors=vectors)

    # Helpers

    def _change(self, **changes: Any) -> None:
        self.image = replace(self.image, **changes)

    def _affine(self) -> Affine:
        if self.image.affine_lps is None:
            raise refused("the images lie nowhere in the patient; set affine_lps first")
        return self.image.affine_lps

    def _axis(self, name: str) -> str:
        """A tag axis by name, or the only one."""
        tags = tag_axes(self.image.axes)
        if name in tags:
            return name
        if len(tags) != 1:
            raise refused(f"of {len(tags)} tag axes none is {name!r}")
        return tags[0]

    def _length(self, axis: str) -> int:
        return int(self.image.array.shape[self.image.axes.index(axis)])

    def _volumes(self) -> tuple[int, ...]:
        return tuple(self._length(axis) for axis in tag_axes(self.image.axes))

    def _times(self) -> Array | None:
        """Acquisition times by the frames' headers, from the first."""
        if len(tag_axes(self.image.axes)) != 1 or self.image.frames is None:
            return None
        volumes: list[list[Frame]] = self.image.frames.tolist()
        times = [[f.tags.get("time") for f in volume] for volume in volumes]
        known = [[t for t in volume if t is not None] for volume in times]
        if any(len(a) != len(b) for a, b in zip(times, known, strict=True)):
            return None
        first = [min(volume) for volume in known]
        if not all(b > a for a, b in pairwise(first)):
            return None
        return np.array([round(one - first[0], 6) for one in first])


def _decoded(series: Attributes, keyword: str, read: Callable[[Any], _T]) -> _T:
    header = series.header
    try:
        with quiet():
            if header.template:
                return read(value_of(as_written(series.image, header), keyword))
            return read(header.get(keyword))
    except BAD_DATA as error:
        problem = f"the value of {keyword} cannot be read ({type(error).__name__})"
        raise SeriesportError("instance-invalid", problem) from None


def _finite(value: Any, shape: tuple[int, ...], problem: str) -> Array:
    """A value as an array of finite numbers of a shape."""
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise refused(problem) from None
    if array.shape != shape or not np.isfinite(array).all():
        raise refused(problem)
    return array


def _check_value(keyword: str, value: Any) -> None:
    """Compare text with what the attribute's VR allows (PS3.5 section 6.2)."""
    vr = dictionary_VR(tag_of(keyword))
    several = isinstance(value, (list, tuple))
    values = cast("Sequence[Any]", value) if several else [value]
    for one in values:
        if not isinstance(one, str):
            continue
        if vr not in _LINES and _CONTROL.search(one):
            raise refused(f"{keyword} cannot have control characters")
        try:
            validate_value(vr, one, RAISE)
        except ValueError:
            raise refused(f"{keyword} cannot have this value: its VR is {vr}") from None
