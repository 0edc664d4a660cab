"""Walk over the elements of an encoded data set (PS3.5 section 7) without decoding values."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING

from seriesport.dicom.readers import invalid
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Collection

    from seriesport.dicom.readers import Reader

UNDEFINED = 0xFFFFFFFF
MAX_VALUE = 16384
"""Longest value of an attribute that is looked at, in bytes."""
MAX_DEPTH = 512
_CHUNK = 8192
_PAD = bytes(12)

_LITTLE_IMPLICIT = ("1.2.840.10008.1.2", "1.2.840.113619.5.2")
_BIG_EXPLICIT = "1.2.840.10008.1.2.2"
_DEFLATED = (
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.95",
    "1.2.840.10008.1.2.4.205",
)

_SHORT = b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US"
_LONG = b"OB OD OF OL OV OW SQ SV UC UN UR UT UV"
VALUE_AT: dict[bytes, int] = dict.fromkeys(_SHORT.split(), 8) | dict.fromkeys(_LONG.split(), 12)
"""Where the value of an explicit element begins, by its VR (PS3.5 section 7.1.2)."""


@dataclass(frozen=True, slots=True)
class Syntax:
    """How a data set is encoded, apart from its pixels (PS3.5 section 10)."""

    explicit: bool = True
    little: bool = True
    deflated: bool = False

    @classmethod
    @lru_cache(maxsize=256)
    def of(cls, transfer_syntax_uid: str) -> Syntax:
        """The encoding of a transfer syntax; unknown ones are explicit little endian."""
        return cls(
            explicit=transfer_syntax_uid not in _LITTLE_IMPLICIT,
            little=transfer_syntax_uid != _BIG_EXPLICIT,
            deflated=transfer_syntax_uid in _DEFLATED,
        )


class _Kind(IntEnum):
    DATA_SET = 0
    SEQUENCE = 1
    FRAGMENTS = 2


@dataclass(frozen=True, slots=True)
class _Frame:
    """What is open at a position: a data set, a sequence, or encapsulated pixel data."""

    kind: _Kind
    end: int
    """Where it ends; where its parent ends, if only a delimiter tells."""
    delimited: bool
    explicit: bool
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
        mark = "<" if syntax.little else ">"
        self._explicit = struct.Struct(mark + "HH2sH").unpack_from
        self._implicit = struct.Struct(mark + "HHL").unpack_from
        self._long = struct.Struct(mark + "L").unpack_from
        self._read = read
        self._size = size
        self._descend = descend
        self._fills_left = size if fills is None else fills
        self._buffer = b""
        self._base = 0
        self._last = -1
        self._at: int = 0
        self._frames = [
            _Frame(_Kind.DATA_SET, size, delimited=False, explicit=syntax.explicit),
        ]
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
        wanted = frozenset(values) | frozenset(lengths)
        take = frozenset(values)
        frames = self._frames
        while frames:
            kind = frames[-1].kind
            if kind is _Kind.DATA_SET:
                top = len(frames) == 1
                self._elements(frames[-1], wanted if top else frozenset(), take, stop)
            elif kind is _Kind.SEQUENCE:
                self._item(frames[-1])
            else:
                self._fragments(frames[-1])
        self.found.end = self._at
        return self.found

    def _elements(  # noqa: C901 - the hot loop: calls would double its time
        self, frame: _Frame, wanted: frozenset[int], take: frozenset[int], stop: int
    ) -> None:
        end, explicit, top = frame.end, frame.explicit, len(self._frames) == 1
        value_at, unpack, unpack_implicit = VALUE_AT.get, self._explicit, self._implicit
        limit = stop if top else 0xFFFFFFFF
        buffer, base, edge, room = self._span(end)
        i = self._at - base
        vr = b""
        while True:
            if i > edge:
                if i >= room:
                    self._leave(i + base)
                    return
                self._fill(i + base)
                buffer, base, edge, room = self._span(end)
                i = 0
            offset: int | None = 8
            if explicit:
                group, element, vr, length = unpack(buffer, i)
                offset = value_at(vr)
                if offset != 8:
                    offset, length = self._length(buffer, i, vr, length)
            else:
                group, element, length = unpack_implicit(buffer, i)
            tag = group << 16 | element
            if tag > limit:
                self._at = i + base
                self._frames.clear()
                return
            start = i
            i += offset + length
            if length == UNDEFINED or group in (0, 0xFFFE):
                self._at = start + base
                self._special(tag, vr, offset, length)
                return
            if i > room:
                raise self._overrun(i + base)
            if tag in wanted:
                self._note(tag, i + base - length, length, take)
                buffer, base, edge, room = self._span(end)
                i = self._at - base
            elif vr == b"SQ" and length and self._descend:
                self._at = start + base + 12
                self._push(_Kind.SEQUENCE, i + base, delimited=False, explicit=True)
                return

    def _span(self, end: int) -> tuple[bytes, int, int, int]:
        """The buffer, its position, the last index that an element may begin at, and the end's."""
        room = end - self._base
        return self._buffer, self._base, min(self._last, room - 1), room

    def _length(self, buffer: bytes, i: int, vr: bytes, length: int) -> tuple[int, int]:
        """Offset and length of an explicit element's value where it is not of the short form."""
        if vr in VALUE_AT:
            return 12, self._long(buffer, i + 8)[0]
        if vr.isalpha() and vr.isupper():  # a VR of the future or of nobody, as pydicom takes it
            return 8, length
        return 8, self._long(buffer, i + 4)[0]  # a delimiter, or an implicit element after all

    def _special(self, tag: int, vr: bytes, offset: int, length: int) -> None:
        """Handle what no plain element is: a delimiter, or an undefined length."""
        if self._at + 8 > self._size:
            raise self._overrun(self._at + 8)
        if tag >> 16 == 0xFFFE:
            self._end_of_item(self._at, tag)
        elif tag >> 16 == 0:
            raise invalid("group 0000 does not occur in a data set")
        elif length == UNDEFINED:
            self._at += offset
            self._enter(tag, vr, top=len(self._frames) == 1)

    def _item(self, frame: _Frame) -> None:
        """Read the next item's head, or the end, of a sequence."""
        at = self._at
        if at >= frame.end:
            self._leave(at)
            return
        tag, length = self._head(at, frame)
        self._at = at + 8
        if tag == 0xFFFEE0DD:
            if not frame.delimited:
                raise invalid("a sequence of defined length has a delimiter")
            self._frames.pop()
        elif tag != 0xFFFEE000:
            raise invalid("a sequence holds something other than items")
        elif length == UNDEFINED:
            explicit = self._explicit_item(frame)
            self._push(_Kind.DATA_SET, frame.end, delimited=True, explicit=explicit)
        else:
            if at + 8 + length > frame.end:
                raise self._overrun(at + 8 + length)
            if self._descend:
                explicit = self._explicit_item(frame)
                self._push(_Kind.DATA_SET, at + 8 + length, delimited=False, explicit=explicit)
            else:
                self._at = at + 8 + length

    def _fragments(self, frame: _Frame) -> None:
        """Go over encapsulated pixel data (PS3.5 annex A.4) to its delimiter."""
        count = 0
        while True:
            at = self._at
            if at >= frame.end:
                self._leave(at)
                return
            tag, length = self._head(at, frame)
            self._at = at + 8
            if tag == 0xFFFEE0DD:
                break
            if tag != 0xFFFEE000 or length == UNDEFINED:
                raise invalid("encapsulated pixel data hold something other than fragments")
            if at + 8 + length > frame.end:
                raise self._overrun(at + 8 + length)
            self._at = at + 8 + length
            count += 1
        self._frames.pop()
        if len(self._frames) == 1:
            self.found.fragments = count

    def _head(self, at: int, frame: _Frame) -> tuple[int, int]:
        if at - self._base > self._last:
            self._fill(at)
        if at + 8 > frame.end:
            raise self._overrun(at + 8)
        group, element, length = self._implicit(self._buffer, at - self._base)
        return group << 16 | element, length

    def _explicit_item(self, frame: _Frame) -> bool:
        if not frame.peek:
            return frame.explicit
        if self._at - self._base > self._last:
            self._fill(self._at)
        i = self._at - self._base
        return self._buffer[i + 4 : i + 6] in VALUE_AT

    def _enter(self, tag: int, vr: bytes, *, top: bool) -> None:
        """Open what an undefined length begins."""
        frame = self._frames[-1]
        if tag == 0x7FE00010 or vr in (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV"):
            if top:
                self.found.lengths[tag] = UNDEFINED
            self._push(_Kind.FRAGMENTS, frame.end, delimited=True, explicit=False)
        elif vr == b"UN":
            self._push(_Kind.SEQUENCE, frame.end, delimited=True, explicit=False, peek=True)
        elif vr in (b"SQ", b"") or vr not in VALUE_AT:
            self._push(_Kind.SEQUENCE, frame.end, delimited=True, explicit=frame.explicit)
        else:
            raise invalid("an element that is no sequence has an undefined length")

    def _push(
        self, kind: _Kind, end: int, *, delimited: bool, explicit: bool, peek: bool = False
    ) -> None:
        if len(self._frames) >= MAX_DEPTH:
            raise invalid(f"sequences are nested more than {MAX_DEPTH // 2} deep")
        self._frames.append(_Frame(kind, end, delimited, explicit, peek))

    def _end_of_item(self, at: int, tag: int) -> None:
        frame = self._frames[-1]
        if at + 8 > frame.end:
            raise self._overrun(at + 8)
        if tag != 0xFFFEE00D or not frame.delimited:
            raise invalid("a delimiter stands where nothing ends")
        self._at = at + 8
        self._frames.pop()

    def _leave(self, at: int) -> None:
        """Close a frame at its end; one that wants a delimiter has not got it."""
        if self._frames[-1].delimited:
            raise self._overrun(at + 1)
        self._at = at
        self._frames.pop()

    def _overrun(self, at: int) -> SeriesportError:
        if at > self._size:
            return SeriesportError("instance-truncated", "the file ends before its data set does")
        return invalid("an element is longer than the sequence item that holds it")

    def _note(self, tag: int, at: int, length: int, take: frozenset[int]) -> None:
        """Keep the value or the length of a top-level element, and stand behind it."""
        self._at = at + length
        if tag not in take:
            self.found.lengths[tag] = length
            return
        if length > MAX_VALUE:
            raise invalid("an identifying attribute is longer than any may be")
        i = at - self._base
        if i + length > len(self._buffer):
            self._fill(at, length)
            i = 0
        self.found.values[tag] = self._buffer[i : i + length]

    def _fill(self, at: int, need: int = 0) -> None:
        self._fills_left -= 1
        if self._fills_left < 0:
            raise invalid("the identifying attributes come too late")
        want = min(max(_CHUNK, need), self._size - at)
        data = self._read(at, want)
        if len(data) < want:
            raise SeriesportError("instance-truncated", "the file ends before its data set does")
        self._base = at
        self._last = len(data) - 12
        if at + want >= self._size:
            data += _PAD
            self._last += 12
        self._buffer = data
