"""The attributes of a slice that follow from an image's affine and tag axes."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from seriesport.errors import SeriesportError
from seriesport.images.diffusion import as_classic
from seriesport.images.encoded import Element, Elements, element, number, tag_of, text
from seriesport.images.sealing import gap_of, mismatch, planes_of, tags_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seriesport.images.image import Image
    from seriesport.images.template import Header

POSITION, ORIENTATION, SPACING = 0x00200032, 0x00200037, 0x00280030
LOCATION, THICKNESS, BETWEEN = 0x00201041, 0x00180050, 0x00180088
_ACQUISITION_DATE, _ACQUISITION_TIME = 0x00080022, 0x00080032
_ACQUISITION_DATETIME, _NOMINAL_SPACING = 0x0008002A, 0x00182010
_DIFFUSION = ("b", "bvector", "dti")
_B_VALUE, _B_DIRECTION = 0x00189087, 0x00189089
_MANUFACTURER, _PHASE = 0x00080070, 0x00181312
_PERPENDICULAR = 1e-3
"""Largest cosine between rows and columns that counts as rounding."""
_SAME = 1e-9
_DAY = 86400

KEYWORDS = {
    "te": "EchoTime",
    "echo": "EchoTime",
    "trigger": "TriggerTime",
    "triggertime": "TriggerTime",
    "fa": "FlipAngle",
    "ti": "InversionTime",
    "b": "DiffusionBValue",
    "temporal": "TemporalPositionIdentifier",
    "acquisition": "AcquisitionNumber",
}
"""The attribute that an axis of this name is written as; "time" is Acquisition Time, "bvector" and
"dti" the diffusion attributes; other names may be keywords themselves, or stand in `opts`."""


def check_affine(image: Image) -> None:
    """Refuse an affine that DICOM's planes cannot say.

    Raises:
        SeriesportError: geometry-irregular.
    """
    if image.affine_lps is None:
        return
    affine = np.asarray(image.affine_lps, dtype=np.float64)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not (lengths > 0).all():
        raise SeriesportError("geometry-irregular", "the affine is not finite, or has no extent")
    directions = affine[:3, :3] / lengths
    if abs(float(directions[:, 1] @ directions[:, 2])) > _PERPENDICULAR:
        raise SeriesportError(
            "geometry-irregular", "rows and columns are not perpendicular, as DICOM wants them"
        )
    if abs(float(np.linalg.det(directions))) < 0.1:
        raise SeriesportError("geometry-irregular", "the slices lie in each other's plane")


class Geometry:
    """What an image says of place and time, beside what its header said when it was read."""

    def __init__(self, image: Image, header: Header, opts: Mapping[str, Any]) -> None:
        check_affine(image)
        self._image = image
        self._seal = header.seal
        self._opts = opts
        self._planes = planes_of(image)
        self._gap = gap_of(image)
        self._tags = tags_of(image)
        self._names = tuple(a for a in image.axes if a in image.tags)
        self._moved = self._all_moved()
        if self._planes:
            plane = np.array(self._planes[0])
            rows, columns = float(np.linalg.norm(plane[3:6])), float(np.linalg.norm(plane[6:]))
            down, right = plane[3:6] / rows, plane[6:] / columns
            self._across = np.cross(right, down)
            step = np.asarray(image.affine_lps, dtype=np.float64)[:3, 0]
            self._depth = abs(float(step @ self._across))
            cosines = (round(float(c), 12) + 0.0 for c in (*right, *down))
            self._orientation = number(b"DS", *cosines)
            self._spacing = _lengths(rows, columns)
        seal_gap = self._seal.gap if self._seal is not None else 0.0
        self._same_gap = bool(np.isclose(self._gap, seal_gap, rtol=1e-6))

    def _all_moved(self) -> list[bool]:
        """For each slice whether it lies elsewhere than its header says."""
        seal = self._seal
        if seal is None or bool(seal.planes) != self.placed:
            return [True] * len(self._tags)
        if not self.placed:
            return [False] * len(self._tags)
        differs = ~np.isclose(self._planes, seal.planes, rtol=_SAME, atol=_SAME)
        return [bool(row.any()) for row in differs]

    @property
    def placed(self) -> bool:
        """Whether the slices have a place in the patient."""
        return bool(self._planes)

    @property
    def volumes(self) -> int:
        """How many volumes the slices form."""
        image = self._image
        slices = image.array.shape[image.axes.index("slice")] if "slice" in image.axes else 1
        return len(self._tags) // max(1, slices)

    def moved(self, index: int) -> bool:
        """Whether a slice lies elsewhere than its header says."""
        return self._moved[index]

    def place(self, elements: Elements, index: int, *, anew: bool) -> None:
        """Write plane and distances of a slice; `anew` even where the header has them already."""
        if not self.placed:
            for tag in (POSITION, ORIENTATION, LOCATION, BETWEEN):
                elements.pop(tag, None)
            if self._seal is None and self._image.spacing is not None:
                elements[_NOMINAL_SPACING] = _lengths(*self._image.spacing[1:])
            return
        if anew or POSITION not in elements:
            position = self._planes[index][:3]
            elements[POSITION] = _lengths(*position)
            elements[ORIENTATION], elements[SPACING] = self._orientation, self._spacing
            elements[LOCATION] = _lengths(float(self._across @ np.array(position)))
        if not self._same_gap:
            gap = _lengths(self._depth)
            elements[BETWEEN] = gap
            seal_gap = self._seal.gap if self._seal is not None else 0.0
            strides = self._gap / seal_gap if seal_gap else 0.5
            if THICKNESS not in elements or abs(strides - round(strides)) > 1e-3 or strides < 1:
                elements[THICKNESS] = gap

    def tell(self, elements: Elements, index: int, *, anew: bool) -> Elements:
        """Write what tells a slice's volume from the others: times, echoes, b-values.

        Args:
            elements: What is written.
            index: Of the slice.
            anew: Diffusion attributes, too, where nothing changed: private ones are left out.

        Returns:
            What was written.

        Raises:
            SeriesportError: header-invalid where an attribute cannot have an axis' value.
        """
        old = dict(elements)
        for name, value in zip(self._names, self._tags[index], strict=True):
            before = self._before(name, index)
            if before is None or (anew and name in _DIFFUSION) or not _same(before, value):
                self._tell(elements, name, value, before)
        if self._seal is None or anew:
            self._tell_diffusion(elements, index)
        return {tag: written for tag, written in elements.items() if old.get(tag) != written}

    def _before(self, name: str, index: int) -> Any:
        seal = self._seal
        if seal is None or name not in seal.axes:
            return None
        return seal.tags[index][seal.axes.index(name)]

    def _tell(self, elements: Elements, name: str, value: Any, before: Any) -> None:
        if name == "time":
            _write_time(elements, float(value) - float(before or 0.0))
        elif name == "bvector":
            self._write_direction(elements, value)
        elif name == "dti":
            elements[_B_VALUE] = number(b"FD", float(value[0]))
            self._write_direction(elements, value[1])
        else:
            given = self._opts.get(name)
            keyword = given if isinstance(given, str) else KEYWORDS.get(name, name)
            if keyword[:1].isupper():
                elements[tag_of(keyword)] = element(keyword, _written(value))

    def _tell_diffusion(self, elements: Elements, index: int) -> None:
        image = self._image
        volume = index // max(1, len(self._tags) // max(1, self.volumes))
        if image.bvalues is not None and image.bvalues.size == self.volumes:
            elements[_B_VALUE] = number(b"FD", float(image.bvalues.flat[volume]))
            if image.bvectors is not None:
                self._write_direction(elements, image.bvectors.reshape(-1, 3)[volume])

    def _write_direction(self, elements: Elements, vector: Any) -> None:
        x, y, z = (float(v) for v in vector)
        affine = self._image.affine_lps
        written: tuple[float, float, float] | None = (x, y, z)
        if affine is not None:
            steps = affine[:3, [2, 1]] / np.linalg.norm(affine[:3, [2, 1]], axis=0)
            maker, phase = (_text(elements.get(tag)) for tag in (_MANUFACTURER, _PHASE))
            written = as_classic((x, y, z), maker, phase, steps.T.ravel().tolist())
        if written is not None and any(written) and all(np.isfinite(written)):
            elements[_B_DIRECTION] = number(b"FD", *written)
        else:
            elements.pop(_B_DIRECTION, None)


def _lengths(*values: float) -> Element:
    """Millimetres, without the noise of their computation."""
    return number(b"DS", *(round(float(v), 10) + 0.0 for v in values))


def _written(value: Any) -> Any:
    """A tag's value as pydicom takes it; whole floats may stand for integers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _same(left: Any, right: Any) -> bool:
    """Whether two values of a tag are equal: numbers, texts, or (nested) vectors."""
    if isinstance(left, str) or not hasattr(left, "__len__"):
        return bool(left == right)
    return len(left) == len(right) and all(map(_same, left, right))


def _write_time(elements: Elements, seconds: float) -> None:
    """Add seconds to the Acquisition Time, which may stand in Acquisition DateTime."""
    stamp = _text(elements.pop(_ACQUISITION_DATETIME, None)).partition("+")[0].partition("-")[0]
    clock = _text(elements.get(_ACQUISITION_TIME)).replace(":", "")
    if not clock and len(stamp) >= 10:
        elements[_ACQUISITION_DATE], clock = text(b"DA", stamp[:8]), stamp[8:]
    whole, _, fraction = clock.partition(".")
    base = 0.0
    if whole.isdigit() and len(whole) in (2, 4, 6):
        whole = whole.ljust(6, "0")
        base = int(whole[:2]) * 3600 + int(whole[2:4]) * 60 + int(whole[4:])
        base += float(f"0.{fraction}") if fraction.isdigit() else 0.0
    microseconds = round((base + seconds) * 1_000_000)
    days, microseconds = divmod(microseconds, _DAY * 1_000_000)
    if days:
        elements[_ACQUISITION_DATE] = text(b"DA", _later(elements, days))
    minutes, microseconds = divmod(microseconds, 60_000_000)
    moment = f"{minutes // 60:02d}{minutes % 60:02d}{microseconds / 1e6:09.6f}"
    elements[_ACQUISITION_TIME] = text(b"TM", moment)


def _text(found: Element | None) -> str:
    return "" if found is None else found.value.decode("latin-1").strip(" \0")


def _later(elements: Elements, days: int) -> str:
    day = _text(elements.get(_ACQUISITION_DATE))
    try:
        start = date(int(day[:4]), int(day[4:6]), int(day[6:8]))
        return f"{start + timedelta(days):%Y%m%d}"
    except (ValueError, OverflowError):
        raise SeriesportError(
            "header-invalid", "times of more than a day need an AcquisitionDate"
        ) from None


def with_geometry(image: Image, geometry: Image) -> Image:
    """The image in the place of another one, which has the same slices.

    Raises:
        SeriesportError: geometry-mismatch where slice count, matrix or handedness differ, or the
            other has no place in the patient itself.
    """
    if geometry.affine_lps is None:
        raise mismatch("the geometry has no place in the patient")
    for what, axis in (("slices", "slice"), ("rows", "row"), ("columns", "column")):
        have, want = _length(image, axis), _length(geometry, axis)
        if have != want:
            raise mismatch(f"the data have {have} {what}, the geometry has {want}")
    if image.affine_lps is not None:
        signs = [np.sign(np.linalg.det(a[:3, :3])) for a in (image.affine_lps, geometry.affine_lps)]
        if signs[0] != signs[1]:
            raise mismatch("data and geometry differ in handedness: one is a mirror image")
    return replace(image, affine_lps=geometry.affine_lps, spacing=geometry.spacing)


def _length(image: Image, axis: str) -> int:
    return image.array.shape[image.axes.index(axis)] if axis in image.axes else 1
