"""Framing of PDUs and of the presentation data values in them (PS3.8 sections 9.3 and E.2)."""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import TYPE_CHECKING, Protocol

from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Sink = Callable[[list[memoryview]], None]

RECEIVE_MAXIMUM = 1024 * 1024
"""Longest P-DATA-TF that we offer to receive, in bytes (PS3.8 annex D.1); more is refused."""
CONTROL_MAXIMUM = 128 * 1024
"""Longest other PDU: an A-ASSOCIATE-AC with 128 contexts and roles takes about 20 kB."""
SEND_MAXIMUM = 256 * 1024
"""Longest P-DATA-TF that we send, where the peer allows as much."""
SEND_MINIMUM = 64
"""A peer that receives less than this cannot work."""

LAST = 2
COMMAND = 1
"""Bits of a message control header (PS3.8 annex E.2)."""

_PDU = Struct(">BxI")
_PDV = Struct(">IBB")
_PDU_PDV = Struct(">BxIIBB")


class PduType(IntEnum):
    """PDU types (PS3.8 section 9.3)."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    P_DATA = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


_TLS_RECORDS = (b"\x15\x03", b"\x16\x03")
"""How a TLS alert and a handshake begin (RFC 8446 section 5.1)."""
_FIXED = (PduType.ASSOCIATE_RJ, PduType.RELEASE_RQ, PduType.RELEASE_RP, PduType.ABORT)


class Source(Protocol):
    """Where the bytes come from."""

    def receive_into(self, view: memoryview) -> int:
        """Read at least one byte."""
        ...


class UnexpectedPdu(Exception):  # noqa: N818 - not a failure by itself: the association decides
    """A whole PDU of another type stands where P-DATA was awaited."""

    def __init__(self, kind: PduType, body: bytes) -> None:
        super().__init__(kind.name)
        self.kind = kind
        self.body = body


def malformed(problem: str) -> SeriesportError:
    """The error for a peer that breaks the framing rules."""
    return SeriesportError(
        "protocol-error", f"the peer broke the DICOM network protocol: {problem}"
    )


def control_pdu(kind: PduType, body: bytes = b"\0\0\0\0") -> bytes:
    """Encode a PDU other than P-DATA-TF, by default with four reserved bytes."""
    return _PDU.pack(kind, len(body)) + body


def data_pdus(context_id: int, flags: int, data: bytes, maximum: int) -> Iterator[bytes]:
    """Cut a command set or an identifier into P-DATA-TF PDUs of one fragment each.

    `flags` is COMMAND or 0; LAST is added to the last fragment. `maximum` bounds the PDU's
    length field, so a fragment is 6 bytes shorter (PS3.8 annex D.1).
    """
    size = maximum - _PDV.size
    for start in range(0, max(len(data), 1), size):
        piece = data[start : start + size]
        last = LAST if start + size >= len(data) else 0
        yield data_header(context_id, flags | last, len(piece)) + piece


def data_header(context_id: int, flags: int, size: int) -> bytes:
    """The header of a P-DATA-TF PDU with one fragment of `size` bytes."""
    return _PDU_PDV.pack(PduType.P_DATA, size + 6, size + 2, context_id, flags)


DATA_HEADER = _PDU_PDV.size


class PduReader:
    """Takes PDUs apart as they arrive, with one buffer however long they are."""

    def __init__(self, source: Source, size: int = 1024 * 1024) -> None:
        self._source = source
        self._buffer = bytearray(size)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0
        self._pdu_left = 0

    @property
    def clean(self) -> bool:
        """Whether nothing is left over: no half PDU and no byte that was not asked for."""
        return self._start == self._end and not self._pdu_left

    def control(self) -> tuple[PduType, bytes]:
        """Read one whole PDU that is not P-DATA-TF.

        Raises:
            SeriesportError: protocol-error, or what the source raises.
        """
        if self._pdu_left:
            raise malformed("a PDU holds more than its message")
        self._need(_PDU.size)
        kind, length = self._pdu_header()
        if kind is PduType.P_DATA:
            raise malformed("data came where an association PDU was due")
        return kind, self._body(kind, length)

    def message(self, flag: int, accept: Callable[[int], bool], limit: int) -> tuple[int, bytes]:
        """Read one command set or identifier whole; its presentation context and its bytes.

        See `part`, which it takes a short cut of where one PDU holds it all and is there already.
        """
        at = self._start
        if not self._pdu_left and self._end - at >= _PDU_PDV.size:
            kind, length, size, context, flags = _PDU_PDV.unpack_from(self._buffer, at)
            whole = kind == PduType.P_DATA and flags == flag | LAST and 2 <= size == length - 4
            stop = at + _PDU.size + length
            if whole and size - 2 <= limit and stop <= self._end and accept(context):
                self._start = stop
                return context, bytes(self._view[at + _PDU_PDV.size : stop])
        data = bytearray()

        def keep(pieces: list[memoryview]) -> None:
            for piece in pieces:
                data.extend(piece)

        return self.part(flag, accept, keep, limit), bytes(data)

    def part(
        self,
        flag: int,
        accept: Callable[[int], bool],
        sink: Sink,
        limit: int,
    ) -> int:
        """Read the fragments of one command set (`flag` COMMAND) or data set (0) up to the last.

        `accept` judges the presentation context, which must then be one throughout. `sink`
        gets the pieces in order; the views are good only until it returns.

        Raises:
            SeriesportError: protocol-error, above `limit` bytes too, or what source and sink raise.
            UnexpectedPdu: another PDU came.
        """
        context, total = 0, 0
        pieces: list[memoryview] = []
        while True:
            if pieces and self._end - self._start < _PDU_PDV.size:
                _flush(pieces, sink)
            current, flags, size = self._next_fragment()
            if current != context and (context or not accept(current)):
                raise malformed("a fragment belongs to no accepted presentation context")
            if flags & COMMAND != flag or flags > LAST | COMMAND:
                raise malformed("a fragment is of the wrong kind")
            context, total = current, total + size
            if total > limit:
                raise malformed(f"a message is longer than {limit} bytes")
            self._collect(size, pieces, sink)
            if flags & LAST:
                _flush(pieces, sink)
                return context

    def _collect(self, left: int, pieces: list[memoryview], sink: Sink) -> None:
        """Add the next bytes to the pieces, which go to the sink before the buffer is refilled."""
        while left:
            if self._start == self._end:
                _flush(pieces, sink)
                self._fill()
            count = min(self._end - self._start, left)
            pieces.append(self._view[self._start : self._start + count])
            self._start += count
            left -= count

    def _next_fragment(self) -> tuple[int, int, int]:
        """Context ID, control header and length of the next fragment, whose data comes next."""
        if not self._pdu_left:
            self._need(_PDU.size)
            kind, length = self._pdu_header()
            if kind is not PduType.P_DATA:
                raise UnexpectedPdu(kind, self._body(kind, length))
            self._pdu_left = length
        if self._pdu_left < _PDV.size:
            raise malformed("a P-DATA-TF has no room for a fragment")
        self._need(_PDV.size)
        length, context, flags = _PDV.unpack_from(self._buffer, self._start)
        self._start += _PDV.size
        if not 2 <= length <= self._pdu_left - 4:
            raise malformed("a fragment's length does not fit into its PDU")
        self._pdu_left -= length + 4
        return context, flags, length - 2

    def _pdu_header(self) -> tuple[PduType, int]:
        number, length = _PDU.unpack_from(self._buffer, self._start)
        try:
            kind = PduType(number)
        except ValueError:
            if bytes(self._view[self._start : self._start + 2]) in _TLS_RECORDS:
                problem = "the port speaks TLS; add tls: to this server in config.yaml"
                raise SeriesportError("tls-failed", problem) from None
            raise malformed(f"unknown PDU type {number:#04x}") from None
        self._start += _PDU.size
        if kind in _FIXED and length != 4:
            raise malformed(f"{kind.name} declares {length} bytes instead of 4")
        if length > (RECEIVE_MAXIMUM if kind is PduType.P_DATA else CONTROL_MAXIMUM):
            raise malformed(f"{kind.name} declares {length} bytes, more than was agreed")
        return kind, length

    def _body(self, kind: PduType, length: int) -> bytes:
        if length > len(self._buffer):
            raise malformed(f"{kind.name} declares {length} bytes, more than was agreed")
        self._need(length)
        body = bytes(self._view[self._start : self._start + length])
        self._start += length
        return body

    def _need(self, count: int) -> None:
        """Have `count` bytes in one piece at the start; views given out before are void then."""
        while self._end - self._start < count:
            if self._start + count > len(self._buffer):
                kept = self._end - self._start
                self._buffer[:kept] = self._buffer[self._start : self._end]
                self._start, self._end = 0, kept
            self._fill()

    def _fill(self) -> None:
        if self._start == self._end:
            self._start = self._end = 0
        self._end += self._source.receive_into(self._view[self._end :])


def _flush(pieces: list[memoryview], sink: Sink) -> None:
    if pieces:
        sink(pieces)
        pieces.clear()
