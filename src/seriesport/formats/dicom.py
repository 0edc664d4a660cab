"""DICOM written: an image and its header become instances, one slice each, one at a time.

- What a header has is written as it was, nested sequences and private elements byte for byte,
  unless the image has changed since it was read with it.
- New UIDs depend on values, header and target alone, so that the same series for the same target
  has the same UIDs and bytes; `keep_uid` keeps the old ones.
- Where values changed (or were stored in another way, or their place), ImageType says DERIVED and
  SECONDARY; every copy names its source in Source Image Sequence. Lossy compression in the past
  stays declared.
- Where the place or the scale of stored pixels changed, or a mosaic or multi-frame instance was
  taken apart, private elements are left out: they may say otherwise (Siemens' CSA header of
  places, Philips' scale slopes of pixels). The diffusion values go into the standard's attributes.
- An axis of volumes is told by its attribute (`dicom_geometry.KEYWORDS`).
- Text is kept in its character set, and becomes UTF-8 where something set needs it.

Without template patient, study date and the like are empty, as Type 2 attributes may be.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from seriesport.counts import counted
from seriesport.errors import SeriesportError
from seriesport.formats import dicom_modules as modules
from seriesport.formats import dicom_series as series
from seriesport.formats.dicom_geometry import Geometry, with_geometry
from seriesport.formats.dicom_pixels import Storage, choose, choose_colour
from seriesport.images.encoded import (
    EXPLICIT_LITTLE,
    Element,
    Elements,
    head_of_pixels,
    join,
    number,
    text,
    value_of,
)
from seriesport.images.mosaic import TILED
from seriesport.images.sealing import mismatch, slices_of
from seriesport.images.template import Header
from seriesport.images.uids import derived as derived_uid
from seriesport.images.uids import valid
from seriesport.model.instance import Header as Listed
from seriesport.model.instance import Instance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from seriesport.images.image import Array, Image

__all__ = ["Encoded", "with_geometry", "write"]

_STUDY, _SERIES, _FRAME_OF_REFERENCE = 0x0020000D, 0x0020000E, 0x00200052
_POSITION_REFERENCE = 0x00201040
_IMAGE_INDEX, _SLICES = 0x00541330, 0x00540081
_MAC = 0x4FFE0001
_SMALL_HEAD = 8192
"""Longest head that is kept until its instance is opened, in bytes; longer ones are made again."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A data set, encoded when it is opened, so that a series of them takes little memory."""

    size: int
    """Length in bytes."""
    encode: Callable[[], bytes] = field(repr=False)

    def open(self) -> BinaryIO:
        """Give a stream of the bytes."""
        return BytesIO(self.encode())


@dataclass(frozen=True, slots=True)
class Options:
    """How a series is written; see `write`."""

    keep_uid: bool = False
    target: str = ""
    modality: str | None = None
    nan: float | None = None
    opts: Mapping[str, Any] = field(default_factory=dict[str, Any])


def write(
    image: Image,
    header: Header,
    *,
    keep_uid: bool = False,
    target: str = "",
    modality: str | None = None,
    nan: float | None = None,
    opts: Mapping[str, Any] | None = None,
) -> Iterator[Instance]:
    """Encode an image as DICOM instances, a slice each, in the order of the array.

    Everything is checked before this returns; the iterator then encodes one slice at a time.

    Args:
        image: What to write. The array must not change as long as the instances are used.
        header: Of its slices: of the series that it was read from (`Header.of_frames`), of a
            template (`Header.as_template`), or `Header.empty`.
        keep_uid: Keep series and instance UIDs, for a corrected series in the place of the old.
        target: Where the series goes; part of what new UIDs depend on.
        modality: CT, MR, PT, or OT for Secondary Capture, where `dicom_modules` cannot know.
        nan: What to store for values that are no numbers; None refuses them.
        opts: Keywords for the names of tag axes, as for reading ({"ti": "InversionTime"}).

    Raises:
        SeriesportError: geometry-mismatch where image and header differ in the number of slices;
            geometry-irregular where the affine is none that DICOM can say; pixels-unsupported;
            header-invalid.
    """
    plan = _Plan(image, header, Options(keep_uid, target, modality, nan, opts or {}))
    return (plan.instance(i) for i in range(len(header)))


class _Plan:
    """What holds for all instances of a series that is being written."""

    def __init__(self, image: Image, header: Header, options: Options) -> None:
        self._image, self._header, self._options = image, header, options
        self._slices = slices_of(image)
        if len(self._slices) != len(header):
            raise mismatch(f"{counted(len(self._slices), 'slice')} with a header for {len(header)}")
        self._template = header.template
        self._geometry = Geometry(image, header, options.opts)
        first = header.original(0)
        self._class = modules.sop_class(
            image, first, template=self._template, modality=options.modality
        )
        self._mosaic = not self._template and any(
            kind.encode() in _value(first, series.IMAGE_TYPE) for kind in TILED
        )
        self._past = series.Past() if header.template else series.Past.of(header)
        self._frames = self._past.frames
        self._unplaced = self._mosaic or (self._frames and not header.grouped())
        self._apart = self._mosaic or self._frames
        self._moved = any(self._geometry.moved(i) for i in range(len(header)))
        self._storage = self._choose()
        if self._class not in modules.SCALED and not self._simple():
            self._class = modules.SC
            self._storage = self._choose()
        self._changed = series.values_changed(self._slices, header.seal)
        lossless = self._simple() or self._storage.step == 1
        self._derived = self._changed or self._moved or not lossless
        self._numbers = self._instance_numbers()
        self._name_uids(_content(image, self._slices, header, self._class))
        self._listed = self._series_values()

    def _choose(self) -> Storage:
        if self._image.colour:
            return choose_colour(self._slices)
        return choose(
            self._slices,
            self._past.sources,
            wide=self._class == modules.SC,
            centred=self._class == modules.PET,
            nan=self._options.nan,
        )

    def _simple(self) -> bool:
        """Whether stored pixels are as they were, or without a scale."""
        return self._storage.as_read or all(s.plain for s in self._storage.scales)

    def _instance_numbers(self) -> list[int]:
        """The old ones where each slice has its own, else 1 and up."""
        counted = list(range(1, len(self._header) + 1))
        if self._template or self._apart:
            return counted
        numbers = [int(t) for t in self._past.numbers if t.isdigit()]
        return numbers if len(set(numbers)) == len(counted) else counted

    def _name_uids(self, content: bytes) -> None:
        """Study, series and instances; see the module."""
        first, target = self._header.elements(0), self._options.target
        self._study = modules.uid_in(first, _STUDY)
        if not valid(self._study):
            self._study = derived_uid("study", target, content)
        stated = self._header.changes.get(_SERIES, (None,))[0]
        if stated is not None or self._options.keep_uid:
            self._series = modules.uid_in(first, _SERIES)
        else:
            self._series = derived_uid("series", target, self._study, content)
        if not valid(self._series):
            raise SeriesportError("header-invalid", "the Series Instance UID is no UID")
        if self._options.keep_uid:
            self._instances = self._old_uids()
        else:
            base = derived_uid("instance", target, self._study, self._series, content)
            self._instances = [derived_uid(base, str(i)) for i in range(len(self._header))]

    def _old_uids(self) -> list[str]:
        if self._template or self._apart:
            raise SeriesportError(
                "header-invalid", "there are no UIDs to keep: the slices were no instances before"
            )
        uids = [
            modules.uid_in(self._header.original(i), series.SOP_INSTANCE)
            for i in range(len(self._header))
        ]
        if len(set(uids)) < len(uids) or not all(map(valid, uids)):
            raise SeriesportError("header-invalid", "the old SOP Instance UIDs are not valid")
        return uids

    def _series_values(self) -> Listed:
        """What lists every instance; its own UID and number are put in later."""
        elements = self.elements(0)

        def value(keyword: str) -> str:
            with suppress(SeriesportError):  # a damaged value is written as it was
                found = value_of(elements, keyword)
                return "" if found is None else str(found)
            return ""

        return Listed(
            sop_class_uid=self._class,
            sop_instance_uid=self._instances[0],
            patient_id=value("PatientID"),
            study_instance_uid=self._study,
            series_instance_uid=self._series,
            accession_number=value("AccessionNumber"),
            modality=value("Modality"),
            series_number=value("SeriesNumber"),
            series_description=value("SeriesDescription"),
        )

    def instance(self, index: int) -> Instance:
        """What a slice becomes."""
        elements = self.elements(index)
        head = self._head(elements)
        length = len(head) + self._padded()
        kept = head if len(head) <= _SMALL_HEAD else None
        listed = replace(
            self._listed,
            sop_instance_uid=self._instances[index],
            instance_number=int(_value(elements, series.INSTANCE_NUMBER) or 0),
        )
        encoded = Encoded(length, partial(self._encode, index, kept))
        return Instance(listed, EXPLICIT_LITTLE, encoded)

    def _head(self, elements: Elements) -> bytes:
        vr = b"OB" if self._storage.dtype.itemsize == 1 else b"OW"
        return join(elements) + head_of_pixels(vr, self._padded())

    def _padded(self) -> int:
        """Length of a slice's pixels in bytes, an even number."""
        length = self._slices[0].size * self._storage.dtype.itemsize
        return length + length % 2

    def _encode(self, index: int, head: bytes | None) -> bytes:
        if head is None:
            head = self._head(self.elements(index))
        pixels = self._stored(index)
        return b"".join((head, pixels.data.cast("B"), b"\0" * (pixels.nbytes % 2)))

    def _stored(self, index: int) -> Array:
        return np.ascontiguousarray(self._storage.stored(self._slices[index], index))

    def elements(self, index: int) -> Elements:
        """The data set of a slice before its pixels."""
        header, source = self._header, self._header.original(index)
        elements = dict(modules.from_template(source, self._class) if self._template else source)
        anew = self._apart or self._moved or not self._storage.as_read
        if self._changed:
            series.drop_stale(elements)
        if anew:
            elements = {t: e for t, e in elements.items() if not t >> 16 & 1}
        elements.pop(_MAC, None)
        elements = header.apply(elements, index)
        elements[series.SOP_CLASS] = text(b"UI", self._class)
        self._geometry.place(elements, index, anew=self._moved or self._unplaced)
        told = self._geometry.tell(elements, index, anew=anew)
        series.describe_pixels(elements, self._image, self._storage, index)
        if elements.keys() & series.EXTREMES:
            series.find_extremes(elements, self._image, self._stored(index))
        series.adjust_window(
            elements, self._image, self._storage, header.seal, changed=self._changed
        )
        self._tell_origin(elements, source, index)
        self._number(elements, index)
        elements = header.apply(elements, index) | told
        self._identify(elements, index)
        modules.complete(elements, self._class)
        return elements

    def _tell_origin(self, elements: Elements, source: Elements, index: int) -> None:
        if self._mosaic:
            values = _value(source, series.IMAGE_TYPE).decode("latin-1").split("\\")
            kept = (v.strip() for v in values if v.strip() not in TILED)
            elements[series.IMAGE_TYPE] = text(b"CS", *kept)
        if self._derived:
            series.mark_changes(elements, self._class, template=self._template)
        if not self._template:
            series.declare_lossy(elements, self._header.syntax(index))
            if not self._options.keep_uid:
                several = not modules.is_single_frame(modules.uid_in(source, series.SOP_CLASS))
                several = several and self._header.multi_frame(index)
                frame = self._header.places[index][1] + 1 if several else None
                series.name_source(elements, source, frame, derived=self._derived)

    def _number(self, elements: Elements, index: int) -> None:
        elements[series.INSTANCE_NUMBER] = number(b"IS", self._numbers[index])
        if self._class == modules.PET:
            slices = len(self._header) // max(1, self._geometry.volumes)
            elements[_SLICES] = number(b"US", slices)
            if self._template or self._apart or _IMAGE_INDEX not in elements:
                elements[_IMAGE_INDEX] = number(b"US", index + 1)

    def _identify(self, elements: Elements, index: int) -> None:
        elements[series.SOP_INSTANCE] = text(b"UI", self._instances[index])
        elements[_STUDY] = text(b"UI", self._study)
        elements[_SERIES] = text(b"UI", self._series)
        if not self._geometry.placed:
            elements.pop(_FRAME_OF_REFERENCE, None)
            elements.pop(_POSITION_REFERENCE, None)
        elif not valid(modules.uid_in(elements, _FRAME_OF_REFERENCE)):
            elements[_FRAME_OF_REFERENCE] = text(b"UI", derived_uid("frame", self._series))
            elements.setdefault(_POSITION_REFERENCE, Element(b"LO", b""))


def _value(elements: Elements, tag: int) -> bytes:
    return elements[tag].value if tag in elements else b""


def _content(image: Image, slices: Array, header: Header, sop_class: str) -> bytes:
    """A digest of everything that a series is made of."""
    digest = hashlib.sha256()
    affine = None if image.affine_lps is None else np.asarray(image.affine_lps, "<f8").tolist()
    described = (
        *(sop_class, image.array.dtype.name, image.array.shape, image.axes, affine, image.window),
        *(sorted(image.tags.items()), image.photometric),
        *(None if a is None else np.asarray(a).tolist() for a in (image.bvalues, image.bvectors)),
        *(header.places, sorted(header.changes.items()), header.template),
    )
    digest.update(repr(described).encode())
    for record in header.records:
        digest.update(hashlib.sha256(record.data).digest())
    order = slices.dtype.newbyteorder("<")
    for values in slices:
        digest.update(np.ascontiguousarray(values, order).data.cast("B"))
    return digest.digest()
