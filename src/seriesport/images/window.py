"""How stored values become grey (PS3.3 section C.11.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seriesport.images.lookup import number, numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from seriesport.images.lookup import Lookup


@dataclass(frozen=True, slots=True)
class Window:
    """How values become grey (PS3.3 section C.11.2): a centre and width, or a table."""

    center: float
    width: float
    function: str = "LINEAR"
    """LINEAR, LINEAR_EXACT or SIGMOID."""
    table: tuple[float, tuple[int, ...]] | None = None
    """Of a VOI LUT Sequence: the first value mapped, and the output for it and those after."""


def window_of(look: Lookup) -> Window | None:
    """The first window of a frame, or its look-up table."""
    macro = "FrameVOILUTSequence"
    items = look.get("", "VOILUTSequence")
    if items:
        descriptor = numbers(items[0].get("LUTDescriptor"))
        table = _lut_data(items[0])
        if len(descriptor) == 3 and len(table) > 1:
            first = descriptor[1]
            if look.header.get("PixelRepresentation") == 1 and first >= 2**15:
                first -= 2**16
            return Window(0, 0, "LUT", (first, table))
    center = number(look.get(macro, "WindowCenter"))
    width = number(look.get(macro, "WindowWidth"))
    if center is None or width is None or width <= 0:
        return None
    function = str(look.get(macro, "VOILUTFunction") or "LINEAR")
    return Window(center, width, function)


def _lut_data(item: Dataset) -> tuple[int, ...]:
    """The entries of a look-up table; 16-bit words, or numbers that pydicom has made of them."""
    data = item.get("LUTData")
    if isinstance(data, bytes):
        words: NDArray[np.uint16] = np.frombuffer(data[: len(data) // 2 * 2], dtype="<u2")
        return tuple(int(w) for w in words)
    return tuple(int(v) for v in numbers(data))
