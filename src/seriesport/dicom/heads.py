"""Read the heads of elements, and pass over plain elements as fast as Python can."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seriesport.dicom.elements import UNDEFINED, VALUE_AT
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Container

    from seriesport.dicom.elements import Syntax

FIRST_TAG, BEHIND_TAGS = 0x00010000, 0xFFFE0000
"""The first tag that an element may have, and the first one that is an item's or a delimiter's."""

_BYTE_ORDERS = tuple(
    tuple(struct.Struct(order + form).unpack_from for form in ("HH2sH", "HHL", "L"))
    for order in "><"
)
"""What unpacks an explicit head, an implicit one, and a long length, in big and little endian."""

_MOST_HEADS = 8192
_Heads = dict[bytes, tuple[int, int]]
_heads: tuple[tuple[_Heads, _Heads], tuple[_Heads, _Heads]] = (({}, {}), ({}, {}))


def _heads_of(syntax: Syntax) -> _Heads:
    """Return tag and length of plain elements by their first 8 bytes, as met so far.

    The files of a series share most, and a look-up takes a third of the time of decoding.
    """
    heads = _heads[syntax.explicit][syntax.little]
    if len(heads) > _MOST_HEADS:
        heads.clear()
    return heads


def head(buffer: bytes, at: int, syntax: Syntax) -> tuple[int, bytes, int, int]:
    """Return an element's tag and VR, where its value begins, and its length.

    The VR is empty where none is written, or something else is written in its place.

    Raises:
        SeriesportError: instance-truncated where the buffer ends in it.
    """
    explicit, implicit, long = _BYTE_ORDERS[syntax.little]
    try:
        if not syntax.explicit:
            group, element, length = implicit(buffer, at)
            return group << 16 | element, b"", at + 8, length
        group, element, vr, length = explicit(buffer, at)
        offset = VALUE_AT.get(vr)
        if offset == 12:
            length = long(buffer, at + 8)[0]
        elif offset is None:
            offset = 8
            # A VR of the future or of nobody is taken as pydicom takes it; else this is a
            # delimiter, or an implicit element after all.
            if not (vr.isalpha() and vr.isupper()):
                length = long(buffer, at + 4)[0]
            vr = b""
    except struct.error:
        raise cut() from None
    return group << 16 | element, vr, at + offset, length


def cut() -> SeriesportError:
    """Return the error for a data set that is not all there."""
    return SeriesportError("instance-truncated", "the file ends before its data set does")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which elements to collect and to pass over."""

    tags: Container[int] | None = ()
    """Tags to collect; None for all."""
    behind: int = BEHIND_TAGS
    """First tag behind those to pass over."""
    sequences: bool = True
    """Pass over sequences of defined length, too."""


def collect(
    buffer: bytes,
    at: int,
    syntax: Syntax,
    selection: Selection,
    values: dict[int, bytes],
    room: int,
    last: int,
) -> int:
    """Collect the values of plain elements; return where the first one begins that is not plain.

    Args:
        buffer: With the elements.
        at: Where the first one begins.
        syntax: Explicit or implicit, and the byte order.
        selection: Which to collect, and which to pass over.
        values: By tag; those that are found are added. The last one may be cut: the one of the
            element that does not end before `room`, at which this stops.
        room: Where the elements have to end.
        last: Where an element may begin at the latest, so that the buffer has its head.
    """
    heads = _heads_of(syntax)
    known_head = heads.get
    wanted, behind, sequences = selection.tags, selection.behind, selection.sequences
    begin = at
    while at <= last:
        begin = at
        known = known_head(buffer[at : at + 8])
        if known is not None:
            tag, length = known
            start = at + 8
        else:
            tag, vr, start, length = head(buffer, at, syntax)
            if length == UNDEFINED or tag < FIRST_TAG or (vr == b"SQ" and length and not sequences):
                return at
            if start == at + 8 and (vr or not syntax.explicit):
                heads[buffer[at:start]] = (tag, length)
        if tag >= behind:
            return at
        at = start + length
        if wanted is None or tag in wanted:
            values[tag] = buffer[start:at]
    return at if at <= room else begin


def scan(
    buffer: bytes, at: int, syntax: Syntax, selection: Selection
) -> tuple[dict[int, bytes], int] | None:
    """Collect values from a file's first bytes; None where these do not hold all of them plainly.

    Args:
        buffer: The beginning of a file.
        at: Where the first element begins.
        syntax: Explicit or implicit, and the byte order.
        selection: Which to collect, and which to pass over.

    Returns:
        Values by tag, and where the first element begins that is not to be passed over.
    """
    values: dict[int, bytes] = {}
    size, last = len(buffer), len(buffer) - 12
    at = collect(buffer, at, syntax, selection, values, size, last)
    if at > last or FIRST_TAG <= head(buffer, at, syntax)[0] < selection.behind:
        return None
    return values, at
