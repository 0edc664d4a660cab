"""Command sets (PS3.7 section 6.3.1)."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.filereader import read_dataset

import transcript
from seriesport.dimse.message import Field, Kind, decode, encode, response
from seriesport.errors import SeriesportError

_TEXTS = (Field.AFFECTED_SOP_CLASS_UID, Field.AFFECTED_SOP_INSTANCE_UID, Field.ERROR_COMMENT)
NUMBERS = st.dictionaries(
    st.sampled_from([field for field in Field if field not in _TEXTS]), st.integers(0, 0xFFFF)
)
UIDS = st.dictionaries(
    st.sampled_from(_TEXTS[:2]),
    st.from_regex(r"[0-2](\.[1-9][0-9]{0,8}){1,6}", fullmatch=True),
)


@given(numbers=NUMBERS, uids=UIDS)
def test_a_command_set_is_read_as_it_was_written(
    numbers: dict[Field, int], uids: dict[Field, str]
) -> None:
    command = decode(encode(numbers | uids))
    assert {field: command.number(field) for field in numbers} == numbers
    assert {field: command.uid(field) for field in uids} == uids


@given(numbers=NUMBERS, uids=UIDS)
def test_pydicom_reads_what_is_written(numbers: dict[Field, int], uids: dict[Field, str]) -> None:
    encoded = encode(numbers | uids)
    found = read_dataset(BytesIO(encoded), is_implicit_VR=True, is_little_endian=True)
    assert found[0, 0].value == len(encoded) - 12
    values = {Field(one.tag.element): one.value for one in found if one.tag.element}
    assert values == numbers | uids


@given(content=st.binary(max_size=300))
def test_any_bytes_are_a_command_set_or_a_protocol_error(content: bytes) -> None:
    def use() -> None:
        command = decode(content)
        command.uid(Field.AFFECTED_SOP_CLASS_UID)
        _ = command.kind, command.status, command.has_data

    assert transcript.outcome(use) in ("", "protocol-error")


def element(number: int, value: bytes, group: int = 0) -> bytes:
    head = group.to_bytes(2, "little") + number.to_bytes(2, "little")
    return head + len(value).to_bytes(4, "little") + value


@pytest.mark.parametrize(
    "content",
    [
        element(0x0100, b"\1\0")[:-1],
        element(0x0100, b"\1\0")[:7],
        element(0x0100, b"\1\0") * 2,
        b"\0\0\0\1\xff\xff\xff\xff",
    ],
)
def test_a_broken_command_set_is_refused(content: bytes) -> None:
    with pytest.raises(SeriesportError) as caught:
        decode(content)
    assert caught.value.code == "protocol-error"


def test_a_number_of_the_wrong_length_is_refused() -> None:
    command = decode(element(0x0100, b"\1\0\0\0"))
    with pytest.raises(SeriesportError, match="COMMAND_FIELD"):
        _ = command.kind


@pytest.mark.parametrize(
    "uid", [b"", b"\0\0", b"1." * 129, b"1.2*", b"1.2\\1.3", b"../1.2/3", b"1.2\xff4", b"1.2\n3"]
)
def test_what_cannot_be_a_uid_is_refused(uid: bytes) -> None:
    command = decode(element(Field.AFFECTED_SOP_INSTANCE_UID, uid))
    with pytest.raises(SeriesportError, match="no UID"):
        command.uid(Field.AFFECTED_SOP_INSTANCE_UID)


def test_an_answer_to_a_store_request_repeats_its_uids_and_message_id() -> None:
    request = {
        Field.AFFECTED_SOP_CLASS_UID: "1.2.3",
        Field.COMMAND_FIELD: Kind.C_STORE_RQ,
        Field.MESSAGE_ID: 77,
        Field.DATA_SET_TYPE: 1,
        Field.AFFECTED_SOP_INSTANCE_UID: "1.2.3.4",
    }
    answer = decode(response(decode(encode(request)), 0xA700))
    assert answer.kind == Kind.C_STORE_RSP
    assert answer.number(Field.MESSAGE_ID_RESPONDED_TO) == 77
    assert (answer.status, answer.has_data) == (0xA700, False)
    assert answer.uid(Field.AFFECTED_SOP_INSTANCE_UID) == "1.2.3.4"
