"""C-STORE: an instance goes out as it is, in pieces that the archive takes."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import transcript
from seriesport.dimse.association import Association
from seriesport.dimse.message import Field, Kind, decode
from seriesport.dimse.pdu import COMMAND, PduReader
from seriesport.dimse.store import store
from seriesport.errors import SeriesportError
from seriesport.model.instance import Header, Instance
from transcript import CT, CT_CONTEXT, archive, associate

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Bytes:
    """A payload in memory that may be shorter than it says."""

    content: bytes
    size: int

    def open(self) -> BinaryIO:
        return io.BytesIO(self.content)


class Unreadable(Bytes):
    def open(self) -> BinaryIO:
        raise PermissionError(13, "no")


def instance(payload: Bytes) -> Instance:
    return Instance(Header(CT, "1.2.3.4", "P", "1.2", "1.2.3"), "1.2.840.10008.1.2.1", payload)


def answer(status: int) -> bytes:
    return transcript.acceptance() + transcript.response(
        Kind.C_STORE_RSP, status, context_id=CT_CONTEXT
    )


def sent(association: Association, one: Instance) -> int:
    return store(association, association.contexts[CT_CONTEXT], one)


class Said:
    """What the engine said after its association request, to be read as an archive would."""

    def __init__(self, content: bytes) -> None:
        self._content = content[len(transcript.request()) :]
        self.largest = 0
        rest = self._content
        while rest:
            length = int.from_bytes(rest[2:6], "big")
            self.largest = max(self.largest, length)
            rest = rest[6 + length :]
        self._reader = PduReader(self)

    def receive_into(self, view: memoryview) -> int:
        count = min(len(view), len(self._content))
        assert count, "the message breaks off"
        view[:count], self._content = self._content[:count], self._content[count:]
        return count

    def part(self, flag: int) -> bytes:
        parts: list[bytes] = []
        self._reader.part(
            flag, CT_CONTEXT.__eq__, lambda pieces: parts.extend(map(bytes, pieces)), 1 << 30
        )
        return b"".join(parts)


@settings(max_examples=40, deadline=2000)
@given(
    sizes=st.lists(st.integers(0, 300_000), min_size=1, max_size=2),
    maximum=st.sampled_from([64, 1000, 16384, 262144]),
)
def test_a_data_set_goes_out_as_it_is_in_pdus_that_the_archive_takes(
    sizes: Sequence[int], maximum: int
) -> None:
    size = min(sizes[0], maximum * 200)
    content = (bytes(range(251)) * (size // 251 + 1))[:size]
    with archive(answer(0xB007)) as (ours, theirs):
        association = associate(ours)
        association.send_maximum = maximum
        assert sent(association, instance(Bytes(content, size))) == 0xB007
        said = Said(transcript.said(theirs))
    command = decode(said.part(COMMAND))
    assert command.kind == Kind.C_STORE_RQ
    assert command.uid(Field.AFFECTED_SOP_INSTANCE_UID) == "1.2.3.4"
    assert said.part(0) == content
    assert said.largest <= maximum


def test_a_file_that_became_shorter_ends_the_upload_of_it() -> None:
    with archive(answer(0)) as (ours, theirs):
        association = associate(ours)
        with pytest.raises(SeriesportError) as caught:
            sent(association, instance(Bytes(bytes(1000), 2000)))
        assert not association.usable
        assert transcript.said(theirs).endswith(b"\7\0\0\0\0\4\0\0\0\0")
    assert caught.value.code == "source-changed"


def test_a_file_that_cannot_be_read_leaves_the_association_in_use() -> None:
    with archive(answer(0)) as (ours, _):
        association = associate(ours)
        with pytest.raises(SeriesportError) as caught:
            sent(association, instance(Unreadable(b"", 10)))
        assert caught.value.code == "file-unreadable"
        association.send_raw(b"")


def test_a_lost_answer_is_an_aborted_association() -> None:
    with archive(transcript.acceptance()) as (ours, _):
        association = associate(ours)
        start = time.monotonic()
        with pytest.raises(SeriesportError) as caught:
            sent(association, instance(Bytes(b"x", 1)))
    assert caught.value.code == "association-aborted"
    assert time.monotonic() - start < 2


def test_an_answer_to_something_else_is_a_protocol_error() -> None:
    said = transcript.acceptance() + transcript.response(
        Kind.C_STORE_RSP, 0, context_id=CT_CONTEXT, message_id=9
    )
    with archive(said) as (ours, _), pytest.raises(SeriesportError) as caught:
        sent(associate(ours), instance(Bytes(b"x", 1)))
    assert caught.value.code == "protocol-error"
