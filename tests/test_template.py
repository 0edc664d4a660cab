from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

import data
from images import header_of, vary
from seriesport.errors import SeriesportError
from seriesport.images.image import Image
from seriesport.images.template import Header

if TYPE_CHECKING:
    from pathlib import Path


def read(paths: list[Path]) -> tuple[Image, Header]:
    image = Image.read(paths)
    return image, header_of(image)


@pytest.fixture(scope="module")
def mr(tmp_path_factory: pytest.TempPathFactory) -> tuple[Image, Header]:
    made = data.mr(tmp_path_factory.mktemp("mr"), data.identity("template"), times=2, slices=3)
    return read(made.paths)


def code(dataset: Dataset, depth: int) -> Dataset:
    inner = Dataset()
    inner.CodeValue = f"depth {depth}"
    if depth:
        inner.PurposeOfReferenceCodeSequence = Sequence([code(dataset, depth - 1)])
    return inner


def test_every_slice_keeps_its_own_attributes(mr: tuple[Image, Header]) -> None:
    _, header = mr
    assert len(header) == 6
    assert header.values("InstanceNumber") == (1, 2, 3, 4, 5, 6)
    assert [p[2] for p in header.values("ImagePositionPatient")] == [0, 3, 6, 0, 3, 6]
    assert header.get("EchoTime") == 30
    assert header.get("InversionTime") is None
    assert header.get("InversionTime", 7) == 7


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big-endian", "deflated", "rle"])
def test_a_header_says_the_same_in_every_transfer_syntax(tmp_path: Path, syntax: str) -> None:
    who = data.identity("syntax", patient_name="Bj\u00f6rn^\u00c5", patient_id="P1")
    made = data.ct(tmp_path, who, slices=1, syntax=syntax)
    header = Header.of_files(made.paths)
    expected = pydicom.dcmread(made.paths[0], stop_before_pixels=True)
    assert header.dataset().to_json_dict() == expected.to_json_dict()
    assert header.syntax() == made.transfer_syntax_uid


@pytest.mark.parametrize("undefined", [False, True])
def test_nested_sequences_and_private_elements_stay_whole(tmp_path: Path, undefined: bool) -> None:
    made = data.ct(tmp_path, data.identity("nested"), slices=2)

    def nest(dataset: Any, index: int) -> None:
        item = code(dataset, 4)
        item.is_undefined_length_sequence_item = undefined
        dataset.ProcedureCodeSequence = Sequence([item])
        dataset["ProcedureCodeSequence"].is_undefined_length = undefined
        block = dataset.private_block(0x0029, "SERIESPORT TESTS", create=True)
        block.add_new(0x10, "OB", bytes([index, 1, 2, 3]))

    vary(made.paths, nest)
    header = Header.of_frames(Image.read(made.paths).frames.ravel())
    for i, path in enumerate(made.paths):
        expected = pydicom.dcmread(path, stop_before_pixels=True)
        assert header.dataset(i).to_json_dict() == expected.to_json_dict()


def test_frames_of_an_enhanced_instance_are_like_classic_slices(tmp_path: Path) -> None:
    made = data.enhanced(tmp_path, data.identity("enhanced"), frames=3)
    _, header = read(made.paths)
    assert [p[2] for p in header.values("ImagePositionPatient")] == [0, 3, 6]
    assert header.get("PixelSpacing") == [3.4375, 3.4375]
    assert header.get("RescaleSlope") == 1
    assert "PerFrameFunctionalGroupsSequence" not in header.dataset()
    assert header.get("NumberOfFrames") is None


def test_a_change_is_for_all_slices_or_for_each(mr: tuple[Image, Header]) -> None:
    _, header = mr
    changed = header.having("EchoTime", 12.5).having_each("FlipAngle", range(6))
    assert changed.values("EchoTime") == (12.5,) * 6
    assert changed.values("FlipAngle") == (0, 1, 2, 3, 4, 5)
    assert changed.having("EchoTime", None).get("EchoTime") is None
    assert header.get("EchoTime") == 30


def test_text_beyond_the_character_set_brings_utf_8(tmp_path: Path) -> None:
    who = data.identity("text", patient_name="M\u00fcller^J\u00f6rg", character_set="ISO_IR 100")
    header = Header.of_files(data.ct(tmp_path, who, slices=1).paths)
    changed = header.having("SeriesDescription", "\u65e5\u672c")
    assert changed.get("SeriesDescription") == "\u65e5\u672c"
    assert str(changed.get("PatientName")) == "M\u00fcller^J\u00f6rg"
    assert changed.get("SpecificCharacterSet") == "ISO_IR 192"
    assert header.having("SeriesDescription", "plain").get("SpecificCharacterSet") == "ISO_IR 100"


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("NoSuchKeyword", 1),
        ("EchoTime", "long"),
        ("Rows", 5),
        ("ImagePositionPatient", [0, 0, 0]),
        ("PatientBirthDate", "yesterday"),
    ],
)
def test_what_an_attribute_cannot_be_is_refused(
    mr: tuple[Image, Header], keyword: str, value: Any
) -> None:
    with pytest.raises(SeriesportError) as caught:
        mr[1].having(keyword, value)
    assert caught.value.code == "header-invalid"
    assert str(value) not in caught.value.message


def test_values_for_another_number_of_slices_are_refused(mr: tuple[Image, Header]) -> None:
    with pytest.raises(SeriesportError, match="5 values of EchoTime for 6 slices"):
        mr[1].having_each("EchoTime", [1] * 5)


def test_selected_slices_take_their_attributes_along(mr: tuple[Image, Header]) -> None:
    _, header = mr
    changed = header.having_each("FlipAngle", range(6)).having("PatientID", "X")
    indices = np.arange(6).reshape(2, 3)[1, ::-1]
    chosen = changed.select(indices)
    assert chosen.values("InstanceNumber") == (6, 5, 4)
    assert chosen.values("FlipAngle") == (5, 4, 3)
    assert chosen.get("PatientID") == "X"
    assert len(chosen.records) == 3


def test_a_header_survives_pickling(mr: tuple[Image, Header]) -> None:
    header = mr[1].having("PatientID", "pickled")
    again = pickle.loads(pickle.dumps(header))
    assert again == header
    assert again.values("InstanceNumber") == header.values("InstanceNumber")


def test_a_header_is_small_beside_its_pixels(tmp_path: Path) -> None:
    made = data.ct(tmp_path, data.identity("small"), slices=100, size=16)

    def fill(dataset: Any, index: int) -> None:
        block = dataset.private_block(0x0029, "SERIESPORT TESTS", create=True)
        block.add_new(0x10, "OB", b"name of a parameter = value\n" * 500)
        block.add_new(0x11, "LO", str(index))

    vary(made.paths, fill)
    header = Header.of_frames(Image.read(made.paths).frames.ravel())
    assert sum(len(r.packed) for r in header.records) < 100 * 1000


def test_a_template_gives_its_first_slice_to_any_number(mr: tuple[Image, Header]) -> None:
    template = mr[1].having("PatientID", "T").having_each("FlipAngle", range(6)).as_template(4)
    assert template.values("InstanceNumber") == (1,) * 4
    assert template.get("PatientID") == "T"
    assert template.get("FlipAngle") is None


def test_a_damaged_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(b"no DICOM at all")
    with pytest.raises(SeriesportError) as caught:
        Header.of_files([path])
    assert caught.value.code == "instance-invalid"


def test_a_damaged_value_keeps_nothing_else_from_being_read(tmp_path: Path) -> None:
    made = data.ct(tmp_path, data.identity("values"), slices=1)
    nested, items = b"\x08\x00\x32\x10SQ\0\0", b""
    for _ in range(400):
        inner = nested + len(items).to_bytes(4, "little") + items
        items = b"\xfe\xff\x00\xe0" + len(inner).to_bytes(4, "little") + inner
    deep = nested + len(items).to_bytes(4, "little") + items
    content = made.paths[0].read_bytes()
    for before, added in (
        (b"\x10\x00\x10\x00PN", deep),
        (b"\x20\x00\x0d\x00UI", b"\x18\x00\x87\x90FD\x04\x00abcd"),
    ):
        assert content.count(before) == 1
        content = content.replace(before, added + before)
    made.paths[0].write_bytes(content)
    header = Header.of_files(made.paths)
    assert header.get("PatientID") == made.identity.patient_id
    assert header.elements()[0x00081032].value == items
    with pytest.raises(SeriesportError, match="DiffusionBValue cannot be decoded") as caught:
        header.get("DiffusionBValue")
    assert caught.value.code == "instance-invalid"
