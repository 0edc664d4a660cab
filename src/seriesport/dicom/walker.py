"""Walk over all elements of an encoded data set, nested ones included, by its structure alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from seriesport.dicom.elements import (
    ITEM,
    ITEM_END,
    MAX_DEPTH,
    MAX_VALUE,
    SEQUENCE_END,
    UNDEFINED,
    VALUE_AT,
    Syntax,
)
from seriesport.dicom.heads import BEHIND_TAGS, FIRST_TAG, Selection, collect, cut, head
from seriesport.dicom.readers import invalid

if TYPE_CHECKING:
    from collections.abc import Collection

    from seriesport.dicom.readers import Reader
    from seriesport.errors import SeriesportError

_CHUNK = 8192
_PAD = bytes(12)
_PIXELS = 0x7FE00010
_FRAGMENTED = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV")


class _Kind(IntEnum):
    DATA_SET = 0
    SEQUENCE = 1
    FRAGMENTS = 2


@dataclass(slots=True)
class _Frame:
    """What is open at a position: a data set, a sequence, or encapsulated pixel data."""

    kind: _Kind
    end: int
    """Where it ends; where its parent ends, if only a delimiter tells."""
    delimited: bool
    syntax: Syntax
    peek: bool = False
    """The items of an undefined-length UN are implicit; some writers leave them explicit."""


@dataclass(slots=True)
class Found:
    """What a walk has met at the data set's top level."""

    values: dict[int, bytes] = field(default_factory=dict[int, bytes])
    """Values of the tags that were asked for."""
    lengths: dict[int, int] = field(default_factory=dict[int, int])
    """Lengths of the tags that were asked for by length."""
    fragments: int | None = None
    """Fragments of encapsulated pixel data, the offset table included."""
    end: int = 0
    """Where the walk stopped."""


class Walker:
    """One walk over a data set, in a single pass and without recursion.

    Args:
        read: Gives the data set's bytes; position 0 is its first byte.
        size: Length of the data set.
        syntax: Explicit or implicit, and the byte order.
        descend: Look into sequences of defined length, too.
        fills: Most pieces of 8 kB to read, if not as many as there are.
    """

    def __init__(
        self,
        read: Reader,
        size: int,
        syntax: Syntax,
        *,
        descend: bool,
        fills: int | None = None,
    ) -> None:
        self._read = read
        self._size = size
        self._implicit = syntax.written(explicit=False)
        self._descend = descend
        self._top = self._nested = Selection(sequences=not descend)
        self._values = self._lengths = frozenset[int]()
        self._stop = 0xFFFFFFFF
        self._fills_left = size if fills is None else fills
        self._buffer = b""
        self._base = 0
        self._room = 0
        self._last = -1
        self._at: int = 0
        self._frames = [_Frame(_Kind.DATA_SET, size, delimited=False, syntax=syntax)]
        self.found = Found()

    def walk(
        self,
        values: Collection[int] = (),
        lengths: Collection[int] = (),
        stop: int = 0xFFFFFFFF,
    ) -> Found:
        """Go over the elements up to the first top-level tag above `stop`.

        Raises:
            SeriesportError: instance-truncated where the data end too early; instance-invalid
                where they break the encoding rules. `found` then holds what was met so far.
        """
        self._values, self._lengths = frozenset(values), frozenset(lengths)
        behind = min(stop + 1, BEHIND_TAGS)
        wanted = self._values | self._lengths
        self._top = Selection(wanted, behind=behind, sequences=not self._descend)
        self._stop = stop
        self._run(0)
        found = self.found
        for tag in found.values.keys() & self._lengths:
            found.lengths[tag] = len(found.values.pop(tag))
        found.end = self._at
        return found

    def skip(self, buffer: bytes, at: int, *, item: bool = False) -> int:
        """Return where something of undefined length ends that lies in a buffer.

        Args:
            buffer: The data set.
            at: Where an element begins, or what is in an item.
            item: True for an item.

        Raises:
            SeriesportError: as `walk`.
        """
        self._buffer, self._room, self._last = buffer, len(buffer), len(buffer) - 12
        self._at = at
        if item:
            self._push(_Kind.DATA_SET, self._size, self._frames[0].syntax, delimited=True)
        else:
            self._element(self._frames[0])
        self._run(1)
        return self._at

    def _run(self, depth: int) -> None:
        """Go on until so many frames are left."""
        frames = self._frames
        while len(frames) > depth:
            frame = frames[-1]
            if frame.kind is _Kind.DATA_SET:
                self._elements(frame)
            elif frame.kind is _Kind.SEQUENCE:
                self._item(frame)
            else:
                self._fragments(frame)

    def _elements(self, frame: _Frame) -> None:
        """Go over the elements of a data set or an item, up to its end or what opens another."""
        selection = self._top if len(self._frames) == 1 else self._nested
        values = self.found.values
        while self._at < frame.end:
            i = self._at - self._base
            if i > self._last:
                self._fill(self._at)
                i = 0
            room, last = frame.end - self._base, self._last
            room = min(room, self._room)
            if room <= last:
                last = room - 1
            i = collect(self._buffer, i, frame.syntax, selection, values, room, last)
            self._at = self._base + i
            if i <= last and not self._element(frame):
                return
        self._leave(self._at)

    def _element(self, frame: _Frame) -> bool:
        """Handle an element that `collect` does not; return False where a frame begins or ends."""
        i = self._index(self._at)
        tag, vr, start, length = head(self._buffer, i, frame.syntax)
        start += self._base
        end = start + length
        top = len(self._frames) == 1
        if top and tag > self._stop:
            self._frames.clear()
            return False
        if length == UNDEFINED or tag < FIRST_TAG or tag >> 16 == ITEM >> 16:
            self._special(frame, tag, vr, start)
            return False
        if end > frame.end:
            raise self._overrun(end)
        if top and tag in self._values:
            self._take(tag, start, length)
        elif top and tag in self._lengths:
            self.found.lengths[tag] = length
            self.found.values.pop(tag, None)
        elif vr == b"SQ" and length and self._descend:
            self._at = start
            self._push(_Kind.SEQUENCE, end, frame.syntax, delimited=False)
            return False
        self._at = end
        return True

    def _special(self, frame: _Frame, tag: int, vr: bytes, start: int) -> None:
        """Handle a delimiter, or an element of undefined length."""
        if self._at + 8 > self._size:
            raise self._overrun(self._at + 8)
        if tag >> 16 == ITEM >> 16:
            self._end_of_item(frame, tag)
        elif tag < FIRST_TAG:
            raise invalid("group 0000 does not occur in a data set")
        else:
            self._at = start
            self._enter(frame, tag, vr)

    def _item(self, frame: _Frame) -> None:
        """Read the next item's head, or the end, of a sequence."""
        at = self._at
        if at >= frame.end:
            self._leave(at)
            return
        tag, length = self._item_head(at, frame)
        self._at = at + 8
        if tag == SEQUENCE_END:
            if not frame.delimited:
                raise invalid("a sequence of defined length has a delimiter")
            self._frames.pop()
        elif tag != ITEM:
            raise invalid("a sequence holds something other than items")
        elif length == UNDEFINED:
            self._push(_Kind.DATA_SET, frame.end, self._item_syntax(frame), delimited=True)
        else:
            end = at + 8 + length
            if end > frame.end:
                raise self._overrun(end)
            if self._descend:
                self._push(_Kind.DATA_SET, end, self._item_syntax(frame), delimited=False)
            else:
                self._at = end

    def _fragments(self, frame: _Frame) -> None:
        """Go over encapsulated pixel data (PS3.5 annex A.4) to its delimiter."""
        count = 0
        while True:
            at = self._at
            if at >= frame.end:
                self._leave(at)
                return
            tag, length = self._item_head(at, frame)
            self._at = at + 8
            if tag == SEQUENCE_END:
                break
            if tag != ITEM or length == UNDEFINED:
                raise invalid("encapsulated pixel data hold something other than fragments")
            if at + 8 + length > frame.end:
                raise self._overrun(at + 8 + length)
            self._at = at + 8 + length
            count += 1
        self._frames.pop()
        if len(self._frames) == 1:
            self.found.fragments = count

    def _item_head(self, at: int, frame: _Frame) -> tuple[int, int]:
        """Return tag and length of an item or a delimiter."""
        i = self._index(at)
        if at + 8 > frame.end:
            raise self._overrun(at + 8)
        tag, _, _, length = head(self._buffer, i, self._implicit)
        return tag, length

    def _item_syntax(self, frame: _Frame) -> Syntax:
        if not frame.peek:
            return frame.syntax
        i = self._index(self._at)
        return frame.syntax.written(explicit=self._buffer[i + 4 : i + 6] in VALUE_AT)

    def _enter(self, frame: _Frame, tag: int, vr: bytes) -> None:
        """Open an element of undefined length."""
        if tag == _PIXELS or vr in _FRAGMENTED:
            if len(self._frames) == 1:
                self.found.lengths[tag] = UNDEFINED
            self._push(_Kind.FRAGMENTS, frame.end, self._implicit, delimited=True)
        elif vr == b"UN":
            self._push(_Kind.SEQUENCE, frame.end, self._implicit, delimited=True, peek=True)
        elif vr in (b"SQ", b""):
            self._push(_Kind.SEQUENCE, frame.end, frame.syntax, delimited=True)
        else:
            raise invalid("an element that is no sequence has an undefined length")

    def _push(
        self, kind: _Kind, end: int, syntax: Syntax, *, delimited: bool, peek: bool = False
    ) -> None:
        if len(self._frames) >= MAX_DEPTH:
            raise invalid(f"sequences are nested more than {MAX_DEPTH // 2} deep")
        self._frames.append(_Frame(kind, end, delimited, syntax, peek))

    def _end_of_item(self, frame: _Frame, tag: int) -> None:
        at = self._at + 8
        if at > frame.end:
            raise self._overrun(at)
        if tag != ITEM_END or not frame.delimited:
            raise invalid("a delimiter stands where nothing ends")
        self._at = at
        self._frames.pop()

    def _leave(self, at: int) -> None:
        """Close a frame at its end; one that wants a delimiter has not got it."""
        if self._frames[-1].delimited:
            raise self._overrun(at + 1)
        self._at = at
        self._frames.pop()

    def _overrun(self, at: int) -> SeriesportError:
        if at > self._size:
            return cut()
        return invalid("an element is longer than the sequence item that holds it")

    def _take(self, tag: int, at: int, length: int) -> None:
        """Keep the value of a top-level element."""
        if length > MAX_VALUE:
            raise invalid("an identifying attribute is longer than any may be")
        i = at - self._base
        if i + length > self._room:
            self._fill(at, length)
            i = 0
        self.found.values[tag] = self._buffer[i : i + length]

    def _index(self, at: int) -> int:
        """Return where a position lies in the buffer, with a head's bytes behind it."""
        if at - self._base > self._last:
            self._fill(at)
        return at - self._base

    def _fill(self, at: int, need: int = 0) -> None:
        self._fills_left -= 1
        if self._fills_left < 0:
            raise invalid("the identifying attributes come too late")
        want = min(max(_CHUNK, need), self._size - at)
        data = self._read(at, want)
        if len(data) < want:
            raise cut()
        self._base, self._room, self._last = at, len(data), len(data) - 12
        if at + want >= self._size:
            data += _PAD
            self._last += 12
        self._buffer = data
