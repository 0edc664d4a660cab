"""Which SOP class an image becomes, what a template gives to it, and what each class requires.

- An image with a header of its own stays what it was: CT, MR, PET, US, CR and other single-frame
  classes. Enhanced and multi-frame instances become classic ones, one per frame, since every
  receiver reads those. What has no classic counterpart (segmentations, Enhanced XA), colour with
  the header of a CT, MR or PET, and changed pixels of classes without a free rescale (CR, DX, XA)
  become Secondary Capture.
- An image that came from elsewhere is CT, MR or PET only where it has a place in the patient, grey
  values (not just true and false), and a template that is one; or where the caller says so. Else
  it is Secondary Capture, one instance per picture.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seriesport.errors import SeriesportError
from seriesport.images.encoded import Element, Elements, number, text

if TYPE_CHECKING:
    from seriesport.images.image import Image
    from seriesport.images.template import Header

_STORAGE = "1.2.840.10008.5.1.4.1.1."
CT, MR, PET, SC = (_STORAGE + n for n in ("2", "4", "128", "7"))
SCALED = frozenset({CT, MR, PET, SC})
"""Classes whose pixels may have any rescale."""
MODALITIES = {"CT": CT, "MR": MR, "PT": PET, "OT": SC, "SC": SC}

_CLASSIC = {
    **{_STORAGE + old: CT for old in ("2.1", "2.2")},
    **{_STORAGE + old: MR for old in ("4.1", "4.4")},
    **{_STORAGE + old: PET for old in ("130", "128.1")},
    **{_STORAGE + old: SC for old in ("7.1", "7.2", "7.3", "7.4")},
    _STORAGE + "3.1": _STORAGE + "6.1",  # Ultrasound
}
"""Multi-frame classes, and what one of their frames becomes."""
_SINGLE = (
    frozenset(
        _STORAGE + n
        for n in (
            *("1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1", "6.1", "12.1", "12.2"),
            *("77.1.1", "77.1.2", "77.1.4", "77.1.5.1", "481.1", "481.2"),
        )
    )
    | SCALED
)
_PET_REQUIRED = (0x00541001, 0x00541002, 0x00541000, 0x00541102, 0x00541300, 0x00540016)

_GENERAL = (
    *(0x00080005, 0x00080020, 0x00080030, 0x00080050, 0x00080080, 0x00080081, 0x00080090),
    *(0x00080201, 0x00081030, 0x00081032, 0x00081048, 0x00081110, 0x00081060),
    *(0x00180015, 0x0020000D, 0x00200010),
)
"""Of a template for Secondary Capture, beside the patient: character set, study date and time,
accession number, institution, physicians, time zone, study description, procedure, references,
body part, study UID and ID."""
_GENERAL_GROUPS = (0x0010, 0x0012)
"""Patient, clinical trial."""
_OF_ONE_SERIES = frozenset(
    {
        *(0x00080008, 0x00080012, 0x00080013, 0x00080014, 0x00080016, 0x00080018),
        *(0x00080021, 0x00080022, 0x00080023, 0x0008002A, 0x00080031, 0x00080032, 0x00080033),
        *(0x0008103E, 0x00081140, 0x00081150, 0x00081155, 0x00082111, 0x00082112, 0x00089215),
        *(0x00180050, 0x00180088, 0x00181060, 0x00181100, 0x00181120, 0x00189087, 0x00189089),
        *(0x00189075, 0x00189076, 0x00189117),
        *(0x0020000E, 0x00200011, 0x00200012, 0x00200013, 0x00200032, 0x00200037, 0x00200052),
        *(0x00200100, 0x00200105, 0x00201002, 0x00201041, 0x00204000, 0x00209128),
        *(0x00540081, 0x00541330, 0x00880200),
    }
)
"""Of a template whose modality the new series takes: what told of its own series, instances,
geometry and pixels, and is not taken over."""

_PET_SERIES = frozenset({0x00080021, 0x00080031, 0x00080022, 0x00080032})
"""...but for PET, whose decay correction counts from these dates and times (Type 1 and 2)."""

_SERIES_NUMBER = 0x00200011
_UNLIKE_OTHERS = 1001
"""Number of a new series whose template has none."""

_EMPTY = {
    # Patient, General Study, General Series, General Equipment (Type 2)
    0x00100010: b"PN",
    0x00100020: b"LO",
    0x00100030: b"DA",
    0x00100040: b"CS",
    0x00080020: b"DA",
    0x00080030: b"TM",
    0x00080050: b"SH",
    0x00080090: b"PN",
    0x00200010: b"SH",
    0x00200011: b"IS",
    0x00080070: b"LO",
}
_EMPTY_OF_CLASS = {
    CT: {0x00180060: b"DS", 0x00200012: b"IS", 0x00185100: b"CS", 0x00201040: b"LO"},
    MR: {
        0x00180022: b"CS",
        0x00180023: b"CS",
        0x00180080: b"DS",
        0x00180081: b"DS",
        0x00180091: b"IS",
        0x00185100: b"CS",
        0x00201040: b"LO",
    },
    PET: {
        0x00181181: b"CS",
        0x00540410: b"SQ",
        0x00540414: b"SQ",
        0x00080021: b"DA",
        0x00080031: b"TM",
        0x00080022: b"DA",
        0x00080032: b"TM",
        0x00280051: b"CS",
        0x00185100: b"CS",
        0x00201040: b"LO",
        0x00541101: b"LO",
    },
}
_EITHER = frozenset({0x00185100, 0x00540410})
"""Patient Position or Patient Orientation Code Sequence, not both."""
_DEFAULTS_OF_CLASS = {
    CT: {},
    MR: {0x00180020: text(b"CS", "RM"), 0x00180021: text(b"CS", "NONE")},
    SC: {0x00080064: text(b"CS", "WSD")},
}


def sop_class(image: Image, header: Elements, *, template: bool, modality: str | None) -> str:
    """The SOP class of the instances that an image becomes; see the module.

    Args:
        image: What is written.
        header: Of its first slice, or of the template.
        template: Whether the header came from elsewhere.
        modality: CT, MR, PT, or OT for Secondary Capture, where the caller says so.

    Raises:
        SeriesportError: header-invalid for another modality, or one that the data cannot have.
    """
    if modality is not None:
        return _stated(image, modality)
    own = uid_in(header, 0x00080016)
    classic = _CLASSIC.get(own, own)
    if classic not in _SINGLE or (classic == PET and not all(t in header for t in _PET_REQUIRED)):
        return SC
    if image.colour:
        return SC if classic in SCALED else classic
    if not template:
        return classic
    volume = image.affine_lps is not None and image.array.dtype.kind != "b"
    return classic if classic in SCALED and volume else SC


def _stated(image: Image, modality: str) -> str:
    if modality not in MODALITIES:
        raise SeriesportError("header-invalid", f"modality is one of {', '.join(MODALITIES)}")
    chosen = MODALITIES[modality]
    if chosen != SC and (image.colour or image.affine_lps is None):
        problem = "is in colour" if image.colour else "has no place in the patient"
        raise SeriesportError("header-invalid", f"an image that {problem} cannot be {modality}")
    return chosen


def is_single_frame(sop_class_uid: str) -> bool:
    """Whether instances of a class have one frame, as far as it is known here."""
    return sop_class_uid in _SINGLE


def uid_in(elements: Elements, tag: int) -> str:
    """A UID of a header; empty where it has none."""
    return elements[tag].value.decode("latin-1").strip("\0 ") if tag in elements else ""


def from_template(elements: Elements, chosen: str) -> Elements:
    """What a template gives to an image of an SOP class: see `_GENERAL`, `_OF_ONE_SERIES`.

    The new series gets a number of its own, which says where it comes from: 401, of series 4.
    """
    given = _given(elements, chosen)
    if elements:
        given[_SERIES_NUMBER] = number(b"IS", _new_number(elements))
    return given


def as_written(image: Image, header: Header) -> Elements:
    """The attributes that an image with a template's header is written with, as far as neither
    its pixels nor its place give them."""
    source = header.original(0)
    chosen = sop_class(image, source, template=True, modality=None)
    elements = header.apply(from_template(source, chosen), 0)
    elements[0x00080016] = text(b"UI", chosen)
    complete(elements, chosen)
    return elements


def _new_number(elements: Elements) -> int:
    """A hundred times the template's number and one, as scanners number what they derive."""
    found = elements.get(_SERIES_NUMBER, Element(b"IS", b"")).value.decode("latin-1").strip("\0 ")
    return int(found) * 100 + 1 if re.fullmatch("[0-9]{1,7}", found) else _UNLIKE_OTHERS


def _given(elements: Elements, chosen: str) -> dict[int, Element]:
    own = uid_in(elements, 0x00080016)
    if chosen == SC or _CLASSIC.get(own, own) != chosen:
        return {
            tag: element
            for tag, element in elements.items()
            if tag in _GENERAL or tag >> 16 in _GENERAL_GROUPS
        }
    kept = _PET_SERIES if chosen == PET else frozenset[int]()
    return {
        tag: element
        for tag, element in elements.items()
        if tag not in _OF_ONE_SERIES - kept
        and not (tag >> 16) & 1
        and tag >> 16 != 0x0028
        and not is_overlay(tag)
    }


def is_overlay(tag: int) -> bool:
    """Whether a tag is of an overlay or curve, groups 60xx and 50xx."""
    return tag >> 24 in (0x60, 0x50)


def complete(elements: Elements, chosen: str) -> None:
    """Add the attributes that a class requires and a header lacks: Type 2 empty, Type 1 neutral."""
    for tag, vr in (_EMPTY | _EMPTY_OF_CLASS.get(chosen, {})).items():
        if tag not in _EITHER or not elements.keys() & _EITHER - {tag}:
            elements.setdefault(tag, Element(vr, b""))
    for tag, element in _DEFAULTS_OF_CLASS.get(chosen, {}).items():
        elements.setdefault(tag, element)
    if 0x00200032 not in elements or chosen == SC:
        elements.setdefault(0x00200020, Element(b"CS", b""))  # Patient Orientation, Type 2C
    if not elements.keys() & {0x00200062, 0x00180015, 0x00082218}:
        elements.setdefault(0x00200060, Element(b"CS", b""))  # Laterality, Type 2C
    if not elements.get(0x00080060, Element(b"CS", b"")).value:
        names = {v: k for k, v in MODALITIES.items() if k != "SC"}
        elements[0x00080060] = text(b"CS", names.get(chosen, "OT"))
