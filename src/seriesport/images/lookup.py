"""Attributes of one frame, wherever the standard lets them stand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydicom.multival import MultiValue

from seriesport.images.headers import FIRST_BLOCK, Header, decoded

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Lookup:
    """Attributes of one frame: its own functional groups, the shared ones, the data set."""

    header: Header | Dataset
    groups: list[Dataset]

    def get(self, macro: str, keyword: str, classic: str | None = None) -> Any:
        """An attribute of a macro, or of the data set itself where no group has it."""
        name = keyword if classic is None else classic
        if not self.groups:
            return self.header.get(name) if name else None
        for group in self.groups:
            items = group.get(macro)
            if items and items[0].get(keyword) is not None:
                return items[0].get(keyword)
        return self.header.get(name) if name else None

    def private(self, creator: str, group: int, element: int, vr: str = "") -> Any:
        """A private element of the data set, decoded as the VR says; its bytes without one."""
        if isinstance(self.header, Header):
            return self.header.private(creator, group, element, vr)
        try:
            value: Any = self.header.private_block(group, creator)[element].value
        except KeyError:
            if (group, FIRST_BLOCK) in self.header:
                return None
            place = (group, FIRST_BLOCK << 8 | element)
            value = self.header[place].value if place in self.header else None
        return decoded(value, vr) if isinstance(value, bytes) and vr else value


def numbers(value: Any) -> tuple[float, ...]:
    """A value of any multiplicity as numbers."""
    if isinstance(value, float):
        return (float(value),)  # no subclass of pydicom's
    if value is None or value == "":
        return ()
    values = value if isinstance(value, (list, MultiValue)) else [value]  # pyright: ignore[reportUnknownVariableType] pydicom's values are untyped
    return tuple(map(float, values))  # pyright: ignore[reportUnknownArgumentType] as above


def number(value: Any) -> float | None:
    """The first number of a value."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    values = numbers(value)
    return values[0] if values and math.isfinite(values[0]) else None


def triple(value: Any) -> tuple[float, float, float] | None:
    """A vector."""
    values = numbers(value)
    if len(values) != 3 or not all(map(math.isfinite, values)):
        return None
    return (values[0], values[1], values[2])
