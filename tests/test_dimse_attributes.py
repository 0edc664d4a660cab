"""Identifiers of questions and answers (PS3.4 annex C, PS3.5)."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

import transcript
from seriesport.dimse.attributes import Key, decode, encode, integer
from seriesport.dimse.contexts import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from seriesport.errors import SeriesportError

SYNTAXES = [EXPLICIT_LITTLE, IMPLICIT_LITTLE]
KEYS = [key for key in Key if key is not Key.CHARACTER_SET]
TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20).map(str.strip)


def written(dataset: Dataset, syntax: str) -> bytes:
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, syntax == IMPLICIT_LITTLE
    write_dataset(stream, dataset)
    return stream.getvalue()


@given(values=st.dictionaries(st.sampled_from(KEYS), TEXT), syntax=st.sampled_from(SYNTAXES))
def test_an_identifier_is_read_as_it_was_written(values: dict[Key, str], syntax: str) -> None:
    answer = decode(encode(values, syntax), syntax)
    assert {key: answer.text(key) for key in values} == {
        key: text.strip(" \0") for key, text in values.items()
    }


@given(syntax=st.sampled_from(SYNTAXES), patient=st.sampled_from(["000123", "a^b/c#d%e f", "Äé漢"]))
def test_pydicom_reads_what_is_written(syntax: str, patient: str) -> None:
    values = {Key.PATIENT_ID: patient, Key.LEVEL: "STUDY", Key.STUDY_INSTANCE_UID: "1.2.3"}
    found = read_dataset(BytesIO(encode(values, syntax)), syntax == IMPLICIT_LITTLE, True)
    assert found.PatientID == patient
    assert found.StudyInstanceUID == "1.2.3"
    assert ("SpecificCharacterSet" in found) is not patient.isascii()


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    ("charset", "text"), [("ISO_IR 100", "Müller"), ("ISO_IR 192", "漢字"), ("GB18030", "王")]
)
def test_text_is_read_in_the_answers_own_character_set(
    syntax: str, charset: str, text: str
) -> None:
    dataset = Dataset()
    dataset.SpecificCharacterSet, dataset.PatientID = charset, text
    assert decode(written(dataset, syntax), syntax).text(Key.PATIENT_ID) == text


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_sequences_in_an_answer_are_passed_over(syntax: str) -> None:
    item = Dataset()
    item.PatientID = "inner"
    dataset = Dataset()
    dataset.PatientID, dataset.SeriesNumber = "outer", 7
    dataset.RequestAttributesSequence = [item]
    answer = decode(written(dataset, syntax), syntax)
    assert (answer.text(Key.PATIENT_ID), answer.number(Key.SERIES_NUMBER)) == ("outer", 7)
    dataset["RequestAttributesSequence"].is_undefined_length = True
    answer = decode(written(dataset, syntax), syntax)
    assert (answer.text(Key.PATIENT_ID), answer.number(Key.SERIES_NUMBER)) == ("outer", 7)


def test_a_backslash_in_an_identifier_is_kept() -> None:
    answer = decode(encode({Key.PATIENT_ID: "a\\b"}, EXPLICIT_LITTLE), EXPLICIT_LITTLE)
    assert answer.text(Key.PATIENT_ID) == "a\\b"
    assert answer.texts(Key.PATIENT_ID) == ("a", "b")


@given(content=st.binary(max_size=200), syntax=st.sampled_from(SYNTAXES))
def test_any_bytes_are_an_identifier_or_a_protocol_error(content: bytes, syntax: str) -> None:
    def use() -> None:
        answer = decode(content, syntax)
        for key in Key:
            answer.text(key)
            answer.number(key)

    assert transcript.outcome(use) in ("", "protocol-error")


def test_sequences_nested_without_end_are_a_protocol_error() -> None:
    opening = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    with pytest.raises(SeriesportError) as caught:
        decode(opening * 5000, EXPLICIT_LITTLE)
    assert caught.value.code == "protocol-error"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("007", 7),
        ("+7", 7),
        ("-7", -7),
        ("", None),
        ("7a", None),
        ("\u0667", None),
        ("-", None),
    ],
)
def test_integer_strings_are_compared_as_numbers(text: str, value: int | None) -> None:
    assert integer(text) == value
