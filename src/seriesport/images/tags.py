"""What may tell frames at one position apart: times, echoes, b-values and numbers."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from seriesport.images.lookup import number

if TYPE_CHECKING:
    from seriesport.images.lookup import Lookup

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
    "ti": ("MRModifierSequence", "InversionTimes", "InversionTime"),
}
"""What may tell frames at one position apart."""


def tags_of(look: Lookup) -> dict[str, float]:
    """The tags that a frame has."""
    tags: dict[str, float] = {}
    for name, (macro, keyword, classic) in TAGS.items():
        value = look.get(macro, keyword, classic)
        found = _seconds(str(value or ""), look) if name == "time" else number(value)
        if found is not None:
            tags[name] = found
    if str(look.header.get("Manufacturer") or "").startswith("GE"):
        timer = number(look.private("GEMS_RELA_01", 0x0021, 0x5E, "DS"))
        if timer is not None:
            tags["timer"] = timer
    return tags


_EPOCH = date(1970, 1, 1).toordinal() * 86400
"""Keeps microseconds within a float's digits."""


def _seconds(text: str, look: Lookup) -> float | None:
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
