"""Input orders: what tells the images at one position apart, and in which units.

An order is a name, several with commas between them ("time,te", the last runs fastest), or a
function of the pydicom data set of an image (without its pixels) that gives a number or text.

- none: nothing, one volume.
- auto: what the header explains the images by, see `automatic`.
- time: Acquisition Date and Time, or the frame's; s from the first.
- triggertime (trigger), te (echo), ti: Trigger Time, Echo Time, Inversion Time; ms.
- fa: Flip Angle; degrees.
- b: b-value, the standard's or the vendor's; s/mm².
- bvector: diffusion gradient direction; a unit vector (LPS), zeros where there is none.
- dti: both; (b, vector). Trace images have zeros.
- temporal, acquisition, instance, segment: the number of that name.
- timer: GE's clock of an image, as the scanner counts.
- dimensions: Dimension Index Values of a multi-frame image; a tuple of those that are no places.
- frame: images in the order of instance and frame numbers.
- a DICOM keyword, or a name for which `opts` has a keyword or a function: that value.

Options, off unless given:

- accept_duplicate_tag: images of one position and one value (b = 0 taken five times) stay apart
  along the last axis, by instance number; every position must have as many.
- accept_uneven_spacing: gaps between slices may differ; the affine has the mean gap.
- accept_gantry_tilt: slices may be shifted against each other evenly; the affine is sheared.
- any other name: a keyword or function for the input order of that name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.multival import MultiValue

from seriesport.errors import SeriesportError
from seriesport.images.frames import BAD_DATA, quiet, read_header
from seriesport.images.grids import appearance

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pydicom import Dataset

    from seriesport.images.frames import Frame

Attribute = Callable[[Any], Any]
"""From a pydicom data set to a value to sort by."""
InputOrder = str | Attribute
Options = Mapping[str, Any]

_NAMES = {"triggertime": "trigger", "te": "echo"}
"""Other names of `tags.TAGS`."""
_RISING = ("time", "trigger", "acquisition", "timer")
OPTIONS = ("accept_duplicate_tag", "accept_uneven_spacing", "accept_gantry_tilt")
_PRIVATE = re.compile("[0-9A-F]{8}")
_TRUE = (True, 1, "1", "true", "yes", "on")
_RISING_VR = ("TM", "DT", "DA", "IS")


@dataclass(frozen=True, slots=True)
class Key:
    """What frames are sorted by."""

    name: str
    """Of the axis."""
    value: Callable[[Frame], Any]
    """The value of a frame, None where it has none."""
    rising: bool = False
    """Values may differ between positions (times, numbers), so that only their order counts."""
    seconds: bool = False
    """Values are seconds, and count from the first."""
    decoded: bool = False
    """Takes values from a data set that pydicom reads from the frame's file."""

    @classmethod
    def tag(cls, name: str, axis: str | None = None) -> Key:
        """A name of `tags.TAGS`."""
        return cls(axis or name, lambda f: f.tags.get(name), name in _RISING, name == "time")

    @classmethod
    def dimension(cls, name: str) -> Key:
        """A dimension of a multi-frame image (PS3.3 section C.7.6.17)."""
        return cls(name, lambda f: f.dimensions.get(name))


INSTANCE = Key("instance", lambda f: None if f.number is None else float(f.number), rising=True)
TEMPORAL, TRIGGER, TIME, ACQUISITION, TIMER = map(
    Key.tag, ("temporal", "trigger", "time", "acquisition", "timer")
)
MEASURED = ECHO, B, SEGMENT, FA, TI = tuple(map(Key.tag, ("echo", "b", "segment", "fa", "ti")))
"""What a scan varies on purpose, apart from time."""


def keys_of(input_order: InputOrder, opts: Options) -> tuple[Key, ...]:
    """The keys of an input order.

    Raises:
        SeriesportError: order-unknown.
    """
    if not isinstance(input_order, str):
        return (_function("tag", input_order),)
    names = [name.strip() for name in input_order.split(",")]
    if len(set(names)) < len(names):
        raise SeriesportError("order-unknown", "an input order names one tag twice")
    return tuple(_key(name, opts) for name in names)


def needs_files(input_order: InputOrder, opts: Options) -> bool:
    """Whether ordering looks into the frames' files. Raises SeriesportError: order-unknown."""
    automatic = input_order in ("auto", "none")
    return not automatic and any(key.decoded for key in keys_of(input_order, opts))


def accepted(opts: Options, name: str) -> bool:
    """Whether an option is on."""
    value = opts.get(name)
    return (value.lower() if isinstance(value, str) else value) in _TRUE


def _key(name: str, opts: Options) -> Key:
    given = opts.get(name)
    if callable(given):
        return _function(name, given)
    if given is not None:
        return _keyword(name, str(given))
    if name in _SPECIAL:
        return _SPECIAL[name]
    if name in _NAMES:
        return Key.tag(_NAMES[name], name)
    if _PRIVATE.fullmatch(name):
        return Key.dimension(name)
    return _keyword(name, name)


def _b_and_direction(frame: Frame) -> Any:
    """Return b-value and direction; a trace image or one at b = 0 has no direction."""
    b = frame.tags.get("b")
    return None if b is None else (b, frame.direction or (0.0, 0.0, 0.0))


BVECTOR = Key("bvector", lambda f: f.direction)
DTI = Key("dti", _b_and_direction)
FRAME = Key("frame", appearance, rising=True)
DIMENSIONS = Key("dimensions", lambda f: tuple(f.dimensions.values()) or None)
_SPECIAL = {
    key.name: key
    for key in (
        *MEASURED,
        *(TEMPORAL, TRIGGER, TIME, ACQUISITION, TIMER, INSTANCE),
        *(BVECTOR, DTI, DIMENSIONS, FRAME),
    )
}
NAMES = (*_SPECIAL, *_NAMES)
"""The names of input orders, apart from auto, none and keywords."""


def _keyword(name: str, keyword: str) -> Key:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise SeriesportError(
            "order-unknown", f"unknown input order {name!r}: no DICOM keyword, no option"
        )
    return _function(name, lambda d: _found(d, keyword), rising=dictionary_VR(tag) in _RISING_VR)


def _found(dataset: Any, keyword: str) -> Any:
    """An attribute of an image, or of the first functional group that has it."""
    if keyword in dataset:
        return dataset.get(keyword)
    for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        for group in cast("list[Dataset]", dataset.get(groups) or []):
            for macro in group:
                items: Any = macro.value if macro.VR == "SQ" else None
                if items and keyword in items[0]:
                    return items[0].get(keyword)
    return None


def _function(name: str, function: Attribute, *, rising: bool = True) -> Key:
    values: dict[Path, list[Any]] = {}

    def value(frame: Frame) -> Any:
        if frame.path not in values:
            try:
                with quiet():
                    values[frame.path] = [_sortable(function(d)) for d in _views(frame.path)]
            except BAD_DATA as error:
                raise SeriesportError(
                    "geometry-irregular",
                    f"the input order {name!r} fails for an image ({type(error).__name__})",
                ) from None
        found = values[frame.path]
        return found[min(frame.index, len(found) - 1)]

    return Key(name, value, rising, decoded=True)


def _views(path: Path) -> Iterator[Any]:
    """The data set for each of its frames, with just this frame's functional groups."""
    dataset = read_header(path)
    groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    for group in groups:
        dataset.PerFrameFunctionalGroupsSequence = [group]
        yield dataset
    if not groups:
        yield dataset


def _sortable(value: Any) -> Any:
    """A number, text, or a tuple of them; None for nothing."""
    if value is None or value == "":
        return None
    if isinstance(value, (list, tuple, MultiValue, np.ndarray)):
        return tuple(map(_sortable, cast("Sequence[Any]", value)))
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)
