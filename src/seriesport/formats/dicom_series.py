"""What is brought up to date in a header that is written anew: pixels, window, changes, sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seriesport.formats.dicom_modules import CT, PET, SC, is_overlay, uid_in
from seriesport.formats.dicom_pixels import Scale, Source, Storage
from seriesport.images.encoded import Element, Elements, number, sequence, text
from seriesport.images.sealing import checksum

if TYPE_CHECKING:
    from seriesport.images.frames import Window
    from seriesport.images.image import Array, Image
    from seriesport.images.sealing import Seal
    from seriesport.images.template import Header

IMAGE_TYPE, SOP_CLASS, SOP_INSTANCE = 0x00080008, 0x00080016, 0x00080018
INSTANCE_NUMBER = 0x00200013
_DERIVATION, _SOURCES = 0x00082111, 0x00082112
_PURPOSE, _FRAME_NUMBER = 0x0040A170, 0x00081160
_REFERENCED_CLASS, _REFERENCED_INSTANCE = 0x00081150, 0x00081155
_PLANAR, _ROWS, _COLUMNS = 0x00280006, 0x00280010, 0x00280011
_ALLOCATED, _STORED, _HIGH, _SIGNED = 0x00280100, 0x00280101, 0x00280102, 0x00280103
_INTERCEPT, _SLOPE, _RESCALE_TYPE = 0x00281052, 0x00281053, 0x00281054
_CENTER, _WIDTH, _EXPLANATION, _FUNCTION = 0x00281050, 0x00281051, 0x00281055, 0x00281056
_MODALITY_LUT, _VOI_LUT = 0x00283000, 0x00283010
_SMALLEST, _LARGEST = 0x00280106, 0x00280107
EXTREMES = frozenset({_SMALLEST, _LARGEST})
_LOSSY = 0x00282110
_PALETTE = frozenset(
    {
        *(0x00281101, 0x00281102, 0x00281103, 0x00281199, 0x00281201, 0x00281202, 0x00281203),
        *(0x00281221, 0x00281222, 0x00281223),
    }
)
_OF_STORED_VALUES = (
    frozenset({0x00280108, 0x00280109, 0x00280110, 0x00280111, 0x00280120, 0x00280121})
    | {_MODALITY_LUT, _VOI_LUT, 0x00409096}
    | _PALETTE
)
"""Contradict other stored values: extremes of the series, padding, look-up tables,
real world value mapping."""
_OF_VALUES = frozenset({0x00280108, 0x00280109, 0x00280110, 0x00280111, 0x00880200})
"""Contradict other values: extremes of the series, the icon."""
_NOT_RESCALED = _PALETTE | {_MODALITY_LUT}
_LOSSY_SYNTAXES = frozenset(
    "1.2.840.10008.1.2.4." + n for n in ("50", "51", "81", "91", "93", "112", "203")
)


@dataclass(frozen=True, slots=True)
class Past:
    """What the slices of a header were, found in one pass."""

    sources: tuple[Source, ...] = ()
    """How each was stored; empty where their values were not just rescaled."""
    numbers: tuple[bytes, ...] = ()
    """Instance Number of each."""
    frames: bool = False
    """Whether any is a frame of an instance that may have several."""

    @classmethod
    def of(cls, header: Header) -> Past:
        """Look at every slice of a header that is no template."""
        sources: list[Source | None] = []
        numbers: list[bytes] = []
        frames = False
        for i in range(len(header)):
            elements = header.original(i)
            sources.append(_source_of(elements))
            stated = elements.get(INSTANCE_NUMBER)
            numbers.append(b"" if stated is None else stated.value.strip())
            frames = frames or header.multi_frame(i)
        known = tuple(s for s in sources if s is not None)
        return cls(known if len(known) == len(sources) else (), tuple(numbers), frames=frames)


def _source_of(elements: Elements) -> Source | None:
    """How a slice was stored; None where its values were not just rescaled."""
    if not elements.keys().isdisjoint(_NOT_RESCALED):
        return None
    allocated, bits, signed = (_short(elements, t) for t in (_ALLOCATED, _STORED, _SIGNED))
    if allocated not in (8, 16, 32) or not 0 < bits <= allocated or _short(elements, 0x280002) > 1:
        return None
    slope, intercept = _decimal(elements, _SLOPE, 1.0), _decimal(elements, _INTERCEPT, 0.0)
    if not slope:
        return None
    order = "<" if allocated > 8 else ""
    kind = f"{order}{'i' if signed else 'u'}{allocated // 8}"
    return Source(kind, bits, Scale(slope, intercept))


def _short(elements: Elements, tag: int) -> int:
    return int.from_bytes(elements[tag].value[:2], "little") if tag in elements else 0


def _decimal(elements: Elements, tag: int, otherwise: float) -> float:
    try:
        return float(elements[tag].value.decode("latin-1").strip(" \0"))
    except (KeyError, ValueError):
        return otherwise


def describe_pixels(elements: Elements, image: Image, storage: Storage, index: int) -> None:
    """Write the Image Pixel and Modality LUT attributes (PS3.3 sections C.7.6.3, C.11.1)."""
    row = image.axes.index("row")
    size = (image.array.shape[row], image.array.shape[row + 1])
    elements[0x00280002] = number(b"US", 3 if image.colour else 1)
    elements[0x00280004] = text(b"CS", _photometric(image))
    if image.colour:
        elements[_PLANAR] = number(b"US", 0)
    else:
        elements.pop(_PLANAR, None)
    elements[_ROWS] = number(b"US", size[0])
    elements[_COLUMNS] = number(b"US", size[1])
    elements[_ALLOCATED] = number(b"US", storage.dtype.itemsize * 8)
    elements[_STORED] = number(b"US", storage.bits)
    elements[_HIGH] = number(b"US", storage.bits - 1)
    elements[_SIGNED] = number(b"US", int(storage.dtype.kind == "i"))
    chosen, scaled = uid_in(elements, SOP_CLASS), _SLOPE in elements
    if not storage.as_read:
        for tag in elements.keys() & _OF_STORED_VALUES:
            del elements[tag]
        _write_scale(elements, storage, index)
    # PET has no Rescale Type, and a CT's slope without one is of Hounsfield units.
    untyped = chosen == PET or (chosen == CT and scaled) or (chosen != SC and storage.as_read)
    if _SLOPE in elements and not untyped:
        elements.setdefault(_RESCALE_TYPE, text(b"LO", "US"))
    for tag in [t for t in elements if is_overlay(t)]:
        if image.colour or not _fits(elements, tag, size):
            del elements[tag]


def find_extremes(elements: Elements, image: Image, stored: Array) -> None:
    """Write the smallest and largest stored value where the header has had them."""
    for tag, extreme in ((_SMALLEST, stored.min), (_LARGEST, stored.max)):
        if tag in elements:
            del elements[tag]
            if not image.colour and stored.dtype.itemsize <= 2:
                vr = b"SS" if stored.dtype.kind == "i" else b"US"
                elements[tag] = number(vr, int(extreme()))


def _photometric(image: Image) -> str:
    if image.colour:
        return "RGB"
    return "MONOCHROME1" if image.photometric == "MONOCHROME1" else "MONOCHROME2"


def _write_scale(elements: Elements, storage: Storage, index: int) -> None:
    scale = storage.scale(index)
    wanted = uid_in(elements, SOP_CLASS) in (CT, PET)
    if all(s.plain for s in storage.scales) and not wanted:
        for tag in (_SLOPE, _INTERCEPT, _RESCALE_TYPE):
            elements.pop(tag, None)
        return
    elements[_SLOPE] = number(b"DS", scale.slope)
    elements[_INTERCEPT] = number(b"DS", scale.intercept)


def _fits(elements: Elements, tag: int, image: tuple[int, int]) -> bool:
    """Whether an overlay lies over an image of this size, in bytes of its own."""
    group = tag & 0xFFFF0000
    if tag >> 24 == 0x50:
        return False
    size = (_short(elements, group | 0x10), _short(elements, group | 0x11))
    return size == image and group | 0x3000 in elements


def adjust_window(
    elements: Elements, image: Image, storage: Storage, seal: Seal | None, *, changed: bool
) -> None:
    """Write the window that the user set; else keep one that suits the values, or span them."""
    window = image.window
    if image.colour:
        for tag in (_CENTER, _WIDTH, _EXPLANATION, _FUNCTION, _VOI_LUT):
            elements.pop(tag, None)
        return
    if (seal is not None and window != seal.window) or (seal is None and window is not None):
        _write_window(elements, window, storage)
    elif changed and not (_CENTER in elements and _suits(window, storage)):
        _write_window(elements, None, storage)


def _suits(window: Window | None, storage: Storage) -> bool:
    """Whether at least a quarter of a window lies within the range of the values."""
    if window is None or window.table is not None:
        return False
    low, high = window.center - window.width / 2, window.center + window.width / 2
    return min(high, storage.high) - max(low, storage.low) >= window.width / 4


def _write_window(elements: Elements, window: Window | None, storage: Storage) -> None:
    for tag in (_CENTER, _WIDTH, _EXPLANATION, _FUNCTION, _VOI_LUT):
        elements.pop(tag, None)
    if window is not None and window.table is None:
        center, width, function = window.center, window.width, window.function
    elif storage.dtype.itemsize == 1:
        return
    else:
        span = storage.high - storage.low
        linear = storage.step == 1
        center = storage.low + (span + linear) / 2
        width, function = (span + 1, "LINEAR") if linear else (span or 1.0, "LINEAR_EXACT")
    elements[_CENTER], elements[_WIDTH] = number(b"DS", center), number(b"DS", width)
    if function != "LINEAR":
        elements[_FUNCTION] = text(b"CS", function)


def drop_stale(elements: Elements) -> None:
    """Take away what tells of values that have changed."""
    for tag in elements.keys() & _OF_VALUES:
        del elements[tag]


def mark_changes(elements: Elements, chosen: str, *, template: bool) -> None:
    """Let ImageType say that the image is derived (PS3.3 section C.7.6.1.1.2)."""
    old = elements[IMAGE_TYPE].value.decode("latin-1").strip() if IMAGE_TYPE in elements else ""
    third = {CT: ["AXIAL"], PET: []}.get(chosen, ["OTHER"] if old or chosen.endswith(".4") else [])
    rest = [v.strip() for v in old.split("\\")[2:] if v.strip()] or third
    second = "PRIMARY" if chosen == PET else "SECONDARY"
    elements[IMAGE_TYPE] = text(b"CS", "DERIVED", second, *rest)
    if not template:
        elements.setdefault(_DERIVATION, text(b"ST", "Values or geometry changed"))


def name_source(elements: Elements, source: Elements, frame: int | None, *, derived: bool) -> None:
    """Add the instance that a slice comes from to Source Image Sequence.

    Args:
        elements: What is written.
        source: The header as it was.
        frame: Of the instance, from 1, where it had several.
        derived: Whether the image was processed; else it is a copy.
    """
    if not uid_in(source, SOP_INSTANCE) or not uid_in(source, SOP_CLASS):
        return
    item: Elements = {
        _REFERENCED_CLASS: source[SOP_CLASS],
        _REFERENCED_INSTANCE: source[SOP_INSTANCE],
    }
    if frame is not None:
        item[_FRAME_NUMBER] = number(b"IS", frame)
    if derived:
        item[_PURPOSE] = _code("121322", "DCM", "Source image for image processing operation")
    added = sequence(item)
    before = elements.get(_SOURCES, Element(b"SQ", b""))
    elements[_SOURCES] = Element(b"SQ", added.value + before.value, before.undefined)


def _code(value: str, scheme: str, meaning: str) -> Element:
    return sequence(
        {
            0x00080100: text(b"SH", value),
            0x00080102: text(b"SH", scheme),
            0x00080104: text(b"LO", meaning),
        }
    )


def declare_lossy(elements: Elements, transfer_syntax_uid: str) -> None:
    """Say that pixels went through lossy compression, where just their old encoding told it."""
    if transfer_syntax_uid in _LOSSY_SYNTAXES and _LOSSY not in elements:
        elements[_LOSSY] = text(b"CS", "01")


def values_changed(slices: Array, seal: Seal | None) -> bool:
    """Whether any value differs from what was read."""
    if seal is None:
        return True
    for values, crc in zip(slices, seal.crcs, strict=True):
        same: Any = values
        if values.dtype.str != seal.dtype:
            same = values.astype(seal.dtype)
            if not (same == values).all():
                return True
        if checksum(same) != crc:
            return True
    return False
