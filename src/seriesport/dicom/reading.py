"""Read elements of encoded data sets (PS3.5 section 7): all of them, or a few.

The values stay encoded. See `walker` for data sets that have to be whole, and `heads` for speed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seriesport.dicom.elements import ITEM, SEQUENCE_END, UNDEFINED, Syntax
from seriesport.dicom.heads import FIRST_TAG, cut, head
from seriesport.dicom.readers import ForwardReader, Inflater, bytes_reader, invalid
from seriesport.dicom.walker import Walker
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from seriesport.dicom.readers import Reader

MAX_FILLS = 1024
"""Most reads of 8 kB that a look-up may need: no file keeps a scan busy for ever."""
_MAX_HEADER_INFLATED = 64 << 20


def end_of(buffer: bytes, at: int, syntax: Syntax) -> int:
    """Return where an element of undefined length ends that begins at a place of a buffer.

    Raises:
        SeriesportError: instance-truncated where the buffer ends first; instance-invalid where
            nothing here can have an undefined length.
    """
    return Walker(bytes_reader(buffer), len(buffer), syntax, descend=False).skip(buffer, at)


def end_of_item(buffer: bytes, at: int, syntax: Syntax) -> int:
    """Return where an item of undefined length ends, by the place of its first element.

    Raises:
        SeriesportError: as `end_of`.
    """
    return Walker(bytes_reader(buffer), len(buffer), syntax, descend=False).skip(
        buffer, at, item=True
    )


def elements_of(
    buffer: bytes, syntax: Syntax, first: int = FIRST_TAG
) -> Iterator[tuple[int, bytes, int, int, int]]:
    """Iterate over the top-level elements of a data set in memory.

    Yields tag, VR, length, and where the value begins and the element ends.

    Args:
        buffer: The data set.
        syntax: Explicit or implicit, and the byte order.
        first: The lowest tag that may occur.

    Raises:
        SeriesportError: instance-truncated, instance-invalid.
    """
    at, size = 0, len(buffer)
    while at < size:
        tag, vr, start, length = head(buffer, at, syntax)
        if tag < first or tag >> 16 == ITEM >> 16:
            raise invalid("something other than an element stands in a data set")
        at = end_of(buffer, at, syntax) if length == UNDEFINED else start + length
        if at > size:
            raise cut()
        yield tag, vr, length, start, at


def items_of(value: bytes, syntax: Syntax) -> Iterator[bytes]:
    """Iterate over the items of a sequence's value, each as an encoded data set.

    Raises:
        SeriesportError: instance-truncated, instance-invalid.
    """
    at, size = 0, len(value)
    while at < size:
        tag, _, start, length = head(value, at, syntax.written(explicit=False))
        if tag == SEQUENCE_END:
            return
        if tag != ITEM:
            raise invalid("a sequence holds something other than items")
        delimiter = 8 if length == UNDEFINED else 0
        at = end_of_item(value, start, syntax) if delimiter else start + length
        if at > size:
            raise cut()
        yield value[start : at - delimiter]


def look_up(read: Reader, size: int, syntax: Syntax, tags: Collection[int]) -> dict[int, bytes]:
    """Return the values of some top-level elements, read from a data set's beginning.

    Raises:
        SeriesportError: instance-truncated, instance-invalid.
    """
    if syntax.deflated:
        return _look_up_deflated(read, size, syntax, tags)
    walker = Walker(read, size, syntax, descend=False, fills=MAX_FILLS)
    return walker.walk(tags, stop=max(tags)).values


def _look_up_deflated(
    read: Reader, size: int, syntax: Syntax, tags: Collection[int]
) -> dict[int, bytes]:
    inflater = Inflater(read, size)
    data = bytearray()
    while len(data) < _MAX_HEADER_INFLATED:
        piece = inflater()
        data += piece
        walker = Walker(bytes_reader(bytes(data)), len(data), syntax, descend=False)
        try:
            return walker.walk(tags, stop=max(tags)).values
        except SeriesportError as error:
            if error.code != "instance-truncated" or not piece:
                raise
    raise invalid("the identifying attributes come too late in the deflated data set")


def inflated(read: Reader, size: int, syntax: Syntax) -> tuple[Reader, int]:
    """Return a reader of a data set, inflated where it is deflated, and the data set's length.

    Raises:
        SeriesportError: instance-truncated, instance-invalid.
    """
    if not syntax.deflated:
        return read, size
    inflater = Inflater(read, size)
    while inflater():
        pass
    return ForwardReader(Inflater(read, size)), inflater.total
