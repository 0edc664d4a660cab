"""The DICOM header of a Series: an instance per slice, kept encoded and compressed.

A header of a series that was read knows each slice's own attributes, and what the image was when
it was read, so that a writer can tell what has changed. A template is the header of another
series, which gives patient and study (and more, see `formats.dicom_modules`) to data that came
from elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from seriesport.counts import counted
from seriesport.errors import SeriesportError
from seriesport.images.encoded import (
    TEXT,
    Element,
    Elements,
    element,
    split,
    tag_of,
    to_dataset,
    to_utf8,
    value_of,
)
from seriesport.images.flatten import PER_FRAME, flatten
from seriesport.images.records import Record, Records
from seriesport.images.sealing import Seal, mismatch, slices_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from seriesport.images.frames import Frame
    from seriesport.images.image import Image

GEOMETRY = frozenset(
    {
        0x00200032,  # Image Position (Patient)
        0x00200037,  # Image Orientation (Patient)
        0x00280030,  # Pixel Spacing
        0x00201041,  # Slice Location
    }
)
"""Tags that an image's affine gives."""
FIXED = GEOMETRY | frozenset(
    {
        0x00080016,  # SOP Class UID
        0x00080018,  # SOP Instance UID
        0x00280002,  # Samples per Pixel
        0x00280004,  # Photometric Interpretation
        0x00280006,  # Planar Configuration
        0x00280008,  # Number of Frames
        0x00280010,  # Rows
        0x00280011,  # Columns
        0x00280100,  # Bits Allocated
        0x00280101,  # Bits Stored
        0x00280102,  # High Bit
        0x00280103,  # Pixel Representation
        0x00281052,  # Rescale Intercept
        0x00281053,  # Rescale Slope
    }
)
"""Tags that nobody sets: they follow from the image."""


@dataclass(frozen=True, slots=True)
class Header:
    """The header of every slice of a series, in the order of its array. A value: methods that
    change something give another Header."""

    records: tuple[Record, ...]
    places: tuple[tuple[int, int], ...]
    """For each slice (C order of the axes before row): its record, and its frame there from 0."""
    changes: Mapping[int, tuple[Element | None, ...]] = field(
        default_factory=dict[int, "tuple[Element | None, ...]"]
    )
    """What the user set: one element for all slices or one for each; None takes it away."""
    seal: Seal | None = None
    """None where no image was read with this header."""
    template: bool = False
    """Whether it is another series' header, or none at all."""

    @classmethod
    def of_frames(cls, frames: Iterable[Frame], records: Records | None = None) -> Header:
        """The header of frames, given in the order of the array's slices.

        Args:
            frames: Of one series.
            records: The headers of their instances; without it the frames' files are read.

        Raises:
            SeriesportError: instance-invalid.
        """
        numbers: dict[int, int] = {}
        places: list[tuple[int, int]] = []
        read = Records()
        for frame in frames:
            if records is None and frame.instance not in numbers:
                read.read(frame.instance, frame.path)
            number = numbers.setdefault(frame.instance, len(numbers))
            places.append((number, frame.index))
        found = (records or read).found
        return cls(tuple(found[instance] for instance in numbers), tuple(places))

    @classmethod
    def of_files(cls, files: Sequence[Path]) -> Header:
        """The header of a series that serves as a template: of its first file.

        Raises:
            SeriesportError: instance-invalid.
        """
        first = Records()
        first.read(1, files[0])
        return cls((first.found[1],), ((0, 0),), template=True)

    @classmethod
    def empty(cls, slices: int = 1) -> Header:
        """A header without any attribute."""
        return cls((Record(b"", ""),), ((0, 0),) * slices, template=True)

    def __len__(self) -> int:
        """Slices that it describes."""
        return len(self.places)

    def as_template(self, slices: int) -> Header:
        """The header of this series' first slice, for an image that came from elsewhere.

        What was set for all slices stays set.
        """
        kept = {t: c for t, c in self.changes.items() if len(c) == 1}
        return Header(self.records, (self.places[0],) * slices, kept, template=True)

    def select(self, indices: NDArray[np.integer[Any]] | Sequence[int]) -> Header:
        """The header of some of the slices: for slicing, reversing, reordering.

        Args:
            indices: Of slices, as in `places`; of any shape, taken in C order.
        """
        chosen = [int(i) for i in np.asarray(indices).ravel()]
        changes = {
            t: c if len(c) == 1 else tuple(c[i] for i in chosen) for t, c in self.changes.items()
        }
        seal = self.seal and self.seal.select(chosen)
        places = tuple(self.places[i] for i in chosen)
        used = sorted({record for record, _ in places})
        number = {record: i for i, record in enumerate(used)}
        return replace(
            self,
            records=tuple(self.records[r] for r in used),
            places=tuple((number[r], frame) for r, frame in places),
            changes=changes,
            seal=seal,
        )

    def sealed(self, image: Image) -> Header:
        """Remember what an image is now, just as it was read with this header.

        Raises:
            SeriesportError: geometry-mismatch where it has another number of slices.
        """
        count = len(slices_of(image))
        if count != len(self):
            raise mismatch(f"{counted(count, 'slice')} with a header for {len(self)}")
        return replace(self, seal=Seal.of(image))

    # Looking

    def elements(self, index: int = 0) -> Elements:
        """The encoded top-level elements of a slice, with what the user set.

        A frame of an Enhanced instance comes with the attributes of its functional groups at the
        top level, and without the groups.

        Raises:
            SeriesportError: instance-invalid.
        """
        return self.apply(dict(self.original(index)), index)

    def apply(self, elements: Elements, index: int) -> Elements:
        """Elements of a slice, with what the user set; text becomes UTF-8 where that needs it.

        Raises:
            SeriesportError: instance-invalid where the text there was cannot be read.
        """
        chosen = {t: c[0] if len(c) == 1 else c[index] for t, c in self.changes.items()}
        if any(e is not None and not e.value.isascii() for e in chosen.values() if _is_text(e)):
            elements = dict(to_utf8(elements))
        for tag, changed in chosen.items():
            if changed is None:
                elements.pop(tag, None)
            else:
                elements[tag] = changed
        return elements

    def original(self, index: int = 0) -> Elements:
        """The same without what the user set."""
        record, frame = self.places[index]
        return _elements(self.records[record], frame)

    def syntax(self, index: int = 0) -> str:
        """The transfer syntax that a slice's instance was read in."""
        return self.records[self.places[index][0]].transfer_syntax_uid

    def multi_frame(self, index: int = 0) -> bool:
        """Whether a slice is a frame of an instance that may have several."""
        found = _split(self.records[self.places[index][0]])
        return PER_FRAME in found or int(_text(found, 0x00280008) or 1) > 1

    def grouped(self) -> bool:
        """Whether functional groups tell of each slice (Enhanced instances)."""
        return all(PER_FRAME in _split(record) for record in self.records)

    def dataset(self, index: int = 0) -> Dataset:
        """A decoded copy of a slice's data set, without pixels; see `elements`."""
        return to_dataset(self.elements(index))

    def get(self, keyword: str, default: Any = None) -> Any:
        """The first slice's value of an attribute; `default` where it is missing or empty.

        Raises:
            SeriesportError: header-invalid where there is no such attribute in PS3.6;
                instance-invalid where its value is damaged.
        """
        value = value_of(self.elements(0), keyword)
        return default if value is None else value

    def values(self, keyword: str) -> tuple[Any, ...]:
        """Every slice's value of an attribute; None where it is missing or empty.

        Raises:
            SeriesportError: header-invalid where there is no such attribute in PS3.6;
                instance-invalid where its value is damaged.
        """
        return tuple(value_of(self.elements(i), keyword) for i in range(len(self)))

    # Changing

    def having(self, keyword: str, value: Any) -> Header:
        """Set an attribute of all slices; None takes it away.

        Raises:
            SeriesportError: header-invalid where the attribute cannot have this value, or
                follows from the image (position, size, bits, rescale).
        """
        return self._changed(keyword, (value,))

    def having_each(self, keyword: str, values: Sequence[Any]) -> Header:
        """Set an attribute, a value for each slice; None takes it away.

        Raises:
            SeriesportError: as in `having`, or where there are more or fewer values than slices.
        """
        if len(values) != len(self):
            raise SeriesportError(
                "header-invalid",
                f"{counted(len(values), 'value')} of {keyword} for {counted(len(self), 'slice')}",
            )
        return self._changed(keyword, values)

    def _changed(self, keyword: str, values: Sequence[Any]) -> Header:
        tag = tag_of(keyword)
        if tag in FIXED:
            raise SeriesportError(
                "header-invalid", f"{keyword} follows from the image and cannot be set"
            )
        elements = tuple(None if v is None else element(keyword, v) for v in values)
        return replace(self, changes={**self.changes, tag: elements})


def _text(elements: Elements, tag: int) -> str:
    return elements[tag].value.decode("latin-1").strip(" \0") if tag in elements else ""


def _is_text(changed: Element | None) -> bool:
    return changed is not None and changed.vr in TEXT


@lru_cache(maxsize=4)
def _elements(record: Record, frame: int) -> Elements:
    return flatten(_split(record), frame)


@lru_cache(maxsize=2)
def _split(record: Record) -> Elements:
    return split(record.data)
