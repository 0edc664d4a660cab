"""P-DATA framing (PS3.8 section 9.3), whatever pieces it arrives in."""

from __future__ import annotations

import contextlib
from itertools import cycle
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import transcript
from seriesport.dimse.pdu import (
    COMMAND,
    LAST,
    RECEIVE_MAXIMUM,
    PduReader,
    PduType,
    UnexpectedPdu,
    control_pdu,
    data_header,
    data_pdus,
)
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Stream:
    """Gives bytes in pieces of given sizes, over and over, and then fails as a closed socket."""

    def __init__(self, content: bytes, sizes: Sequence[int] = (1 << 20,)) -> None:
        self._content = memoryview(content)
        self._sizes = cycle(sizes)

    def receive_into(self, view: memoryview) -> int:
        count = min(next(self._sizes), len(view), len(self._content))
        if not count:
            raise SeriesportError("association-aborted", "closed")
        view[:count] = self._content[:count]
        self._content = self._content[count:]
        return count


def read(reader: PduReader, flag: int = 0, limit: int = 1 << 20, context: int = 1) -> bytes:
    parts: list[bytes] = []
    reader.part(flag, context.__eq__, lambda pieces: parts.extend(map(bytes, pieces)), limit)
    return b"".join(parts)


def refused(content: bytes) -> str:
    with pytest.raises(SeriesportError) as caught:
        read(PduReader(Stream(content)))
    assert caught.value.code == "protocol-error"
    return caught.value.message


SIZES = st.lists(st.integers(1, 300), min_size=1, max_size=8)


@given(
    messages=st.lists(
        st.tuples(st.sampled_from([0, COMMAND]), st.binary(max_size=2000), st.integers(8, 400)),
        min_size=1,
        max_size=5,
    ),
    sizes=SIZES,
    buffer=st.integers(12, 300),
)
def test_messages_come_out_as_they_went_in(
    messages: list[tuple[int, bytes, int]], sizes: list[int], buffer: int
) -> None:
    wire = b"".join(
        b"".join(data_pdus(1, flag, content, maximum)) for flag, content, maximum in messages
    )
    reader = PduReader(Stream(wire, sizes), size=buffer)
    for flag, content, _ in messages:
        assert read(reader, flag) == content
    assert reader.clean
    reader = PduReader(Stream(wire, sizes), size=buffer)
    for flag, content, _ in messages:
        assert reader.message(flag, (1).__eq__, 1 << 20) == (1, content)
    assert reader.clean


@given(
    fragments=st.lists(st.binary(max_size=300), min_size=1, max_size=9),
    sizes=SIZES,
    buffer=st.integers(12, 300),
)
def test_several_fragments_in_one_pdu_are_one_message(
    fragments: list[bytes], sizes: list[int], buffer: int
) -> None:
    items = b"".join(
        (len(piece) + 2).to_bytes(4, "big")
        + bytes((1, LAST if i == len(fragments) - 1 else 0))
        + piece
        for i, piece in enumerate(fragments)
    )
    reader = PduReader(Stream(control_pdu(PduType.P_DATA, items), sizes), size=buffer)
    assert read(reader) == b"".join(fragments)
    assert reader.clean


@given(content=st.binary(max_size=5000), maximum=st.integers(8, 1000))
def test_no_pdu_that_is_sent_is_longer_than_the_peer_takes(content: bytes, maximum: int) -> None:
    for pdu in data_pdus(1, 0, content, maximum):
        assert len(pdu) - 6 <= maximum
        assert int.from_bytes(pdu[2:6], "big") == len(pdu) - 6


@given(content=st.binary(max_size=400), sizes=SIZES)
def test_any_bytes_end_in_a_message_or_an_error(content: bytes, sizes: list[int]) -> None:
    reader = PduReader(Stream(content, sizes), size=64)

    def use() -> None:
        with contextlib.suppress(UnexpectedPdu):
            while True:
                read(reader, limit=1000)

    assert transcript.outcome(use) in ("", "protocol-error", "association-aborted")


def test_an_endless_pdu_is_refused_by_its_header() -> None:
    assert "4294967280" in refused(b"\4\0\xff\xff\xff\xf0")
    assert "1048577" in refused(b"\4\0" + (RECEIVE_MAXIMUM + 1).to_bytes(4, "big"))


def test_an_endless_association_pdu_is_refused_by_its_header() -> None:
    with pytest.raises(SeriesportError, match="more than was agreed"):
        PduReader(Stream(b"\2\0\x7f\xff\xff\xff")).control()


def test_an_unknown_pdu_is_refused() -> None:
    assert "0x08" in refused(b"\x08\0\0\0\0\4\0\0\0\0")


def test_an_abort_of_the_wrong_length_is_refused() -> None:
    assert "instead of 4" in refused(b"\7\0\0\0\0\5\0\0\0\0\0")


def test_an_empty_data_pdu_is_refused() -> None:
    refused(control_pdu(PduType.P_DATA, b""))
    refused(control_pdu(PduType.P_DATA, b"\0\0\0\2\1"))


@pytest.mark.parametrize("length", [0, 1, 5, 0xFFFFFFFF])
def test_a_fragment_that_does_not_fit_into_its_pdu_is_refused(length: int) -> None:
    refused(control_pdu(PduType.P_DATA, length.to_bytes(4, "big") + b"\1\2ab"))


def test_a_fragment_of_another_context_is_refused() -> None:
    refused(data_header(3, LAST, 0))
    first, second = (data_header(context, 0, 0) for context in (1, 3))
    refused(first + second)


def test_a_command_where_data_is_due_is_refused() -> None:
    refused(data_header(1, LAST | COMMAND, 0))
    refused(data_header(1, LAST | 4, 0))


def test_a_message_above_its_limit_is_refused_before_it_is_kept() -> None:
    wire = b"".join(data_pdus(1, 0, bytes(1001), 200))
    with pytest.raises(SeriesportError, match="longer than 1000 bytes"):
        read(PduReader(Stream(wire)), limit=1000)


def test_a_short_message_is_refused_for_what_a_long_one_is() -> None:
    wire = b"".join(data_pdus(1, COMMAND, b"first", 200)) + b"".join(
        data_pdus(1, 0, bytes(60), 200)
    )

    def second(flag: int = 0, limit: int = 60, context: int = 1) -> str:
        reader = PduReader(Stream(wire))
        reader.message(COMMAND, (1).__eq__, 60)
        return transcript.outcome(lambda: reader.message(flag, context.__eq__, limit))

    assert second() == ""
    assert second(limit=59) == "protocol-error"
    assert second(flag=COMMAND) == "protocol-error"
    assert second(context=3) == "protocol-error"


def test_another_pdu_within_a_message_is_handed_over_whole() -> None:
    wire = data_header(1, 0, 1) + b"x" + control_pdu(PduType.ABORT, b"\0\0\2\6")
    with pytest.raises(UnexpectedPdu) as caught:
        read(PduReader(Stream(wire)))
    assert (caught.value.kind, caught.value.body) == (PduType.ABORT, b"\0\0\2\6")


def test_data_after_a_message_is_not_clean() -> None:
    reader = PduReader(Stream(data_header(1, LAST, 0) + b"\7"))
    read(reader)
    assert not reader.clean


def test_one_buffer_serves_messages_of_any_length() -> None:
    total = 0

    def count(pieces: list[memoryview]) -> None:
        nonlocal total
        assert sum(map(len, pieces)) <= 4096
        total += sum(map(len, pieces))

    wire = b"".join(data_pdus(1, 0, bytes(3_000_000), 100_000))
    PduReader(Stream(wire), size=4096).part(0, (1).__eq__, count, 1 << 30)
    assert total == 3_000_000
