"""DICOM files by content: recognition, headers, and whether a data set is all there."""

from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID_dictionary

import data
from seriesport.dicom import part10
from seriesport.dicom.elements import MAX_DEPTH
from seriesport.dicom.part10 import check_whole, encode_file_meta, load_instance, read_header
from seriesport.dicom.readers import bytes_reader
from seriesport.dicom.whole import IMAGE_CLASSES
from seriesport.errors import SeriesportError

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
WHEEL_FILES = sorted(p for p in data.WHEEL.rglob("*") if p.is_file())

NO_UIDS = {
    "UN_sequence.dcm",
    "empty_charset_LEI.dcm",
    "meta_missing_tsyntax.dcm",
    "nested_priv_SQ.dcm",
    "no_meta_group_length.dcm",
    "priv_SQ.dcm",
}
"""Files of the wheel without an SOP Class UID or an SOP Instance UID: rightly refused."""
NOT_WHOLE = {"MR_truncated.dcm", "rtplan_truncated.dcm"}
"""The wheel's truncated files. Those of TINY_ALPHA are CT images without pixel data."""


def of(content: bytes):
    return read_header(bytes_reader(content), len(content))


def whole(path: Path) -> None:
    instance = load_instance(path)
    with instance.payload.open() as stream:
        check_whole(stream, instance.payload.size, instance.transfer_syntax_uid)


def refusal(content: bytes, syntax: str = EXPLICIT) -> str:
    with pytest.raises(SeriesportError) as caught:
        check_whole(content, len(content), syntax)
    return caught.value.code


def element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    wide = vr in ("OB", "OW", "SQ", "UN", "UT")
    return head + (struct.pack("<HL", 0, size) if wide else struct.pack("<H", size)) + value


def item(content: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(content) if length is None else length) + content


SOP_CLASS = element(0x00080016, "UI", b"1.2.3\0")
ITEM_END = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
UNDEFINED = 0xFFFFFFFF


# Recognition


@pytest.mark.parametrize("path", WHEEL_FILES, ids=lambda p: p.name)
def test_headers_of_real_files_are_what_pydicom_reads(path: Path) -> None:
    if path.name in NO_UIDS:
        with pytest.raises(SeriesportError) as caught:
            part10.read_path(path)
        assert caught.value.code == "instance-invalid"
        return
    found = part10.read_path(path)
    if found is None:
        assert path.suffix != ".dcm" or path.name in ("no_meta.dcm", "DICOMDIR-empty.dcm")
        return
    expected = pydicom.dcmread(path, force=True)
    header = found[0].header
    assert header.sop_class_uid == expected.SOPClassUID
    assert header.sop_instance_uid == expected.SOPInstanceUID
    assert header.patient_id == str(expected.get("PatientID") or "")
    assert header.study_instance_uid == str(expected.get("StudyInstanceUID", ""))
    assert header.series_instance_uid == str(expected.get("SeriesInstanceUID", ""))
    assert header.accession_number == str(expected.get("AccessionNumber") or "")
    assert header.modality == str(expected.get("Modality", ""))
    assert header.series_description == str(expected.get("SeriesDescription") or "")
    number = expected.get("SeriesNumber")
    assert header.series_number == ("" if number is None else str(number))
    assert header.instance_number == expected.get("InstanceNumber")
    if expected.file_meta.get("TransferSyntaxUID"):
        assert found[0].transfer_syntax_uid == expected.file_meta.TransferSyntaxUID


@pytest.mark.parametrize("path", [p for p in WHEEL_FILES if p.suffix in ("", ".dcm")], ids=str)
def test_real_files_are_whole_unless_they_are_known_not_to_be(path: Path) -> None:
    if part10_or_none(path) is None:
        return
    if path.name in NOT_WHOLE or "TINY_ALPHA" in path.parts:
        with pytest.raises(SeriesportError) as caught:
            whole(path)
        assert caught.value.code == "instance-truncated"
    else:
        whole(path)


def part10_or_none(path: Path):
    try:
        return part10.read_path(path)
    except SeriesportError:
        return None


@pytest.mark.parametrize("name", ["DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-implicit"])
def test_a_dicomdir_is_no_image(name: str) -> None:
    assert part10.read_path(data.WHEEL / "dicomdirtests" / name) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 4096,
        b"PK\3\4" + bytes(300),
        b"\x08\0" * 2000,
        b"\x02\0\x10\0UI\xff\xff",
        b"\x89PNG",
    ],
)
def test_other_files_are_not_dicom(content: bytes) -> None:
    assert of(content) is None


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big-endian"])
def test_a_file_without_preamble_is_recognised(tmp_path: Path, syntax: str) -> None:
    made = data.ct(tmp_path, data.identity("bare"), slices=1, size=16, syntax=syntax)
    found = of(next(iter(made.datasets.values())))
    assert found is not None
    assert found.header.sop_instance_uid == made.uids[0]
    assert found.data_set_offset == 0
    assert found.transfer_syntax_uid == made.transfer_syntax_uid


def test_a_bare_image_that_is_cut_in_its_header_is_not_passed_over(tmp_path: Path) -> None:
    made = data.ct(tmp_path, data.identity("bare cut"), slices=1, size=16)
    content = next(iter(made.datasets.values()))
    with pytest.raises(SeriesportError) as caught:
        of(content[:150])
    assert caught.value.code == "instance-truncated"


def test_file_meta_information_reads_back_and_is_the_same_each_time() -> None:
    meta = encode_file_meta("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", EXPLICIT)
    assert meta == encode_file_meta("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", EXPLICIT)
    read = pydicom.dcmread(io.BytesIO(meta)).file_meta
    assert meta[:132] == bytes(128) + b"DICM"
    assert read.FileMetaInformationGroupLength == len(meta) - 144
    assert read.FileMetaInformationVersion == b"\0\1"
    assert read.MediaStorageSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert read.MediaStorageSOPInstanceUID == "1.2.3.4"
    assert read.TransferSyntaxUID == EXPLICIT
    assert read.ImplementationVersionName == "SERIESPORT"
    assert read.ImplementationClassUID.is_valid


def test_a_uid_that_would_climb_out_of_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SeriesportError):
        encode_file_meta("1.2", "../../etc/passwd", EXPLICIT)
    content = bytes(128) + b"DICM" + element(0x00020010, "UI", EXPLICIT.encode() + b"\0")
    content += element(0x00080016, "UI", b"1.2.3\0") + element(0x00080018, "UI", b"../../x\0")
    path = tmp_path / "x"
    path.write_bytes(content + element(0x00280010, "US", b"\1\0"))
    with pytest.raises(SeriesportError) as caught:
        load_instance(path)
    assert caught.value.code == "instance-invalid"
    assert "etc" not in str(caught.value)


# Text

TEXTS = {
    "ISO_IR 100": "Jérôme",
    "ISO_IR 144": "Лука",
    "ISO_IR 192": "Wang 王小东",
    "GB18030": "王小东",
    "\\ISO 2022 IR 87": "山田",
    "ISO_IR 13": "ﾔﾏﾀﾞ",
}


@pytest.mark.parametrize("charset", TEXTS)
def test_text_is_decoded_by_its_character_set(tmp_path: Path, charset: str) -> None:
    who = data.identity(
        charset,
        patient_id=TEXTS[charset],
        series_description=TEXTS[charset],
        patient_name="A",
        character_set=charset.split("\\"),
    )
    made = data.ct(tmp_path, who, slices=1, size=8)
    header = load_instance(made.paths[0]).header
    assert header.patient_id == TEXTS[charset] == pydicom.dcmread(made.paths[0]).PatientID
    assert header.series_description == TEXTS[charset]


@pytest.mark.parametrize("patient_id", ["0012", "a/b#c?d%e^f", "*", " lead", "a\\b", "x" * 64])
def test_odd_patient_ids_are_read_as_they_are(tmp_path: Path, patient_id: str) -> None:
    made = data.ct(tmp_path, data.identity("odd"), slices=1, size=8)
    content = made.paths[0].read_bytes()
    dataset = pydicom.dcmread(made.paths[0])
    old = element(0x00100020, "LO", padded(dataset.PatientID))
    assert old in content
    new = content.replace(old, element(0x00100020, "LO", padded(patient_id)))
    found = of(new)
    assert found is not None
    assert found.header.patient_id == patient_id


def padded(text: str) -> bytes:
    return text.encode() + b" " * (len(text) % 2)


# Whole or truncated


@pytest.mark.parametrize("syntax", data.SYNTAXES)
def test_a_cut_image_is_noticed_wherever_it_was_cut(tmp_path: Path, syntax: str) -> None:
    kind = data.jpeg_ls if syntax == "jpeg-ls" else data.ct
    options = (
        {"instances": 1}
        if syntax == "jpeg-ls"
        else {"slices": 1, "size": 64 if syntax == "jpeg2000" else 8, "syntax": syntax}
    )
    made = kind(tmp_path, data.identity(f"cut {syntax}"), **options)
    content = next(iter(made.datasets.values()))
    check_whole(content, len(content), made.transfer_syntax_uid)
    padding = 1 if syntax == "deflated" else 0
    step = 1 if len(content) < 3000 else 7
    for size in [*range(0, len(content) - padding, step), len(content) - 1 - padding]:
        with pytest.raises(SeriesportError) as caught:
            check_whole(content[:size], size, made.transfer_syntax_uid)
        assert caught.value.code == "instance-truncated", size


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "deflated"])
def test_objects_without_pixels_are_whole(tmp_path: Path, syntax: str) -> None:
    for build in (data.sr, data.private):
        made = build(tmp_path / build.__name__, data.identity(build.__name__), syntax=syntax)
        for path in made.paths:
            whole(path)


def test_an_enhanced_instance_is_whole_and_quick_to_check(tmp_path: Path) -> None:
    made = data.enhanced(tmp_path, data.identity("enhanced"), frames=200, size=16)
    start = time.perf_counter()
    whole(made.paths[0])
    assert time.perf_counter() - start < 1


texts = st.text(
    st.characters(codec="ascii", min_codepoint=32, exclude_characters="\\"), max_size=20
)


@st.composite
def data_sets(draw: st.DrawFn, depth: int = 0) -> Dataset:
    made = Dataset()
    made.SeriesDescription = draw(texts)
    made.PatientComments = draw(texts)
    made.add_new(0x00091001, "UN", draw(st.binary(max_size=40)))
    made.add_new(0x00091002, "OB", draw(st.binary(max_size=40)))
    made.add_new(0x00091003, "FD", draw(st.lists(st.floats(allow_nan=False), max_size=3)))
    if depth < 3:
        for tag in (0x00081140, 0x00400555):
            items = draw(st.lists(data_sets(depth + 1), max_size=2))
            for one in items:
                one.is_undefined_length_sequence_item = draw(st.booleans())
            made.add_new(tag, "SQ", Sequence(items))
            made[tag].is_undefined_length = draw(st.booleans())
    return made


@st.composite
def images(draw: st.DrawFn) -> tuple[bytes, bool]:
    made = draw(data_sets())
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    made.PatientID, made.Rows, made.Columns = draw(texts), 2, 3
    made.BitsAllocated, made.SamplesPerPixel, made.PixelData = 16, 1, bytes(12)
    made["PixelData"].VR = "OW"
    explicit = draw(st.booleans())
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, made, implicit_vr=not explicit, little_endian=True)
    return stream.getvalue(), explicit


@settings(max_examples=40, deadline=None)
@given(images(), st.data())
def test_any_image_is_whole_and_no_beginning_of_it_is(
    image: tuple[bytes, bool], pick: st.DataObject
) -> None:
    content, explicit = image
    syntax = EXPLICIT if explicit else IMPLICIT
    check_whole(content, len(content), syntax)
    for size in pick.draw(st.lists(st.integers(0, len(content) - 1), min_size=30, max_size=30)):
        with pytest.raises(SeriesportError):
            check_whole(content[:size], size, syntax)


@settings(max_examples=40, deadline=None)
@given(images())
def test_the_header_of_any_image_is_what_pydicom_reads(image: tuple[bytes, bool]) -> None:
    content, explicit = image
    syntax = EXPLICIT if explicit else IMPLICIT
    stream = io.BytesIO(content)
    header = part10.read_data_set_header(stream, len(content), syntax)
    expected = pydicom.filereader.read_dataset(io.BytesIO(content), not explicit, True)
    assert header.patient_id == expected.PatientID
    assert header.series_description == expected.SeriesDescription
    quick = of(encode_file_meta("1.2.840.10008.5.1.4.1.1.2", "1.2.3", syntax) + content)
    assert quick is not None
    assert quick.header == header


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_end_in_an_answer_or_a_reason(content: bytes) -> None:
    for marked in (content, bytes(128) + b"DICM" + content):
        with contextlib.suppress(SeriesportError):
            of(marked)
    for syntax in (EXPLICIT, IMPLICIT, "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"):
        with contextlib.suppress(SeriesportError):
            check_whole(content, len(content), syntax)


# Content that is not there, and hostile structure


def test_an_image_class_without_pixel_data_is_truncated() -> None:
    content = element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.2\0")
    assert refusal(content) == "instance-truncated"
    check_whole(content + element(0x00287FE0, "UT", b"http://x"), len(content) + 20, EXPLICIT)


def test_image_classes_are_those_that_the_standard_names_so() -> None:
    named = {
        uid
        for uid, (name, kind, _, retired, _) in UID_dictionary.items()
        if kind == "SOP Class"
        and "Image Storage" in name
        and not retired
        and uid.startswith("1.2.840.10008.5.1.4.1.1.")
    }
    assert named - IMAGE_CLASSES == set()
    assert {uid for uid in IMAGE_CLASSES if "Image Storage" not in UID_dictionary[uid][0]} == set()


def test_rows_without_enough_pixels_are_truncated() -> None:
    image = (
        SOP_CLASS
        + element(0x00280002, "US", b"\1\0")
        + element(0x00280008, "IS", b"3 ")
        + element(0x00280010, "US", b"\4\0")
        + element(0x00280011, "US", b"\4\0")
        + element(0x00280100, "US", b"\x10\0")
    )
    check_whole(image + element(0x7FE00010, "OW", bytes(96)), len(image) + 108, EXPLICIT)
    assert refusal(image + element(0x7FE00010, "OW", bytes(94))) == "instance-truncated"
    check_whole(image, len(image), EXPLICIT)  # of no class that has pixels
    ct = element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.2\0") + image[len(SOP_CLASS) :]
    assert refusal(ct) == "instance-truncated"


def test_pixels_that_are_not_encoded_as_the_transfer_syntax_says_are_refused() -> None:
    image = (
        SOP_CLASS
        + element(0x00280010, "US", b"\4\0")
        + element(0x00280011, "US", b"\4\0")
        + element(0x00280100, "US", b"\x10\0")
    )
    native = image + element(0x7FE00010, "OW", bytes(32))
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    compressed = image + element(0x7FE00010, "OB", b"", UNDEFINED) + item() + item(b"12") + end
    for syntax in ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.102"):
        check_whole(compressed, len(compressed), syntax)
        assert refusal(native, syntax) == "pixels-mislabelled"
    check_whole(native, len(native), EXPLICIT)
    assert refusal(compressed, EXPLICIT) == "pixels-mislabelled"


def test_compressed_frames_that_are_missing_are_noticed() -> None:
    image = (
        SOP_CLASS
        + element(0x00280008, "IS", b"3 ")
        + element(0x00280010, "US", b"\4\0")
        + element(0x00280011, "US", b"\4\0")
    )
    pixels = element(0x7FE00010, "OB", b"", UNDEFINED) + item()
    rle = "1.2.840.10008.1.2.5"
    content = image + pixels + item(b"ab") * 3 + SEQUENCE_END
    check_whole(content, len(content), rle)
    assert refusal(image + pixels + item(b"ab") * 2 + SEQUENCE_END, rle) == "instance-truncated"
    assert refusal(image + pixels + item(b"ab") * 3, rle) == "instance-truncated"
    video = "1.2.840.10008.1.2.4.102"
    content = image + pixels + item(b"ab") + SEQUENCE_END
    check_whole(content, len(content), video)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (element(0x00100010, "PN", b"", 8), "instance-truncated"),
        (element(0x00081140, "SQ", item(), UNDEFINED), "instance-truncated"),
        (element(0x00081140, "SQ", item(b"", UNDEFINED), UNDEFINED), "instance-truncated"),
        (
            element(0x00081140, "SQ", item(element(0x00100010, "PN", b"", 4))) + bytes(9),
            "instance-invalid",
        ),
        (element(0x00081140, "SQ", b"\x10\0\x10\0PN\0\0"), "instance-invalid"),
        (element(0x00081140, "SQ", item(SEQUENCE_END)), "instance-invalid"),
        (element(0x00081140, "SQ", SEQUENCE_END), "instance-invalid"),
        (ITEM_END, "instance-invalid"),
        (bytes(8), "instance-invalid"),
        (b"\x10\0", "instance-truncated"),
    ],
)
def test_broken_structure_is_refused(content: bytes, code: str) -> None:
    assert refusal(SOP_CLASS + content) == code


def test_undefined_length_un_is_read_as_implicit_and_as_explicit() -> None:
    inner_implicit = struct.pack("<HHL", 0x0009, 0x1001, 4) + b"abcd"
    inner_explicit = element(0x00091001, "LO", b"abcd")
    for inner in (inner_implicit, inner_explicit):
        content = SOP_CLASS + element(0x00091010, "UN", item(inner) + SEQUENCE_END, UNDEFINED)
        check_whole(content, len(content), EXPLICIT)
        assert refusal(content[:-9]) == "instance-truncated"


def test_ten_thousand_nested_sequences_are_refused_at_once() -> None:
    nested = element(0x00081140, "SQ", item(b"", UNDEFINED), UNDEFINED) * 10_000
    assert refusal(SOP_CLASS + nested) == "instance-invalid"
    fine = element(0x00081140, "SQ", item(b"", UNDEFINED), UNDEFINED) * 100
    fine += (ITEM_END + SEQUENCE_END) * 100
    assert MAX_DEPTH > 200
    check_whole(SOP_CLASS + fine, len(SOP_CLASS + fine), EXPLICIT)
    marked = bytes(128) + b"DICM" + element(0x00020010, "UI", EXPLICIT.encode() + b"\0") + nested
    with pytest.raises(SeriesportError) as caught:
        of(marked)
    assert caught.value.code == "instance-invalid"


def test_a_header_that_never_ends_does_not_keep_the_scan_busy(tmp_path: Path) -> None:
    path = tmp_path / "endless"
    head = bytes(128) + b"DICM" + element(0x00020010, "UI", EXPLICIT.encode() + b"\0")
    with path.open("wb") as file:
        file.write(head + element(0x00080005, "CS", b"") * 10_000)
        for _ in range(50):
            file.write(element(0x00080008, "CS", b"") * 250_000)
    start = time.process_time()
    with pytest.raises(SeriesportError):
        load_instance(path)
    assert time.process_time() - start < 30


def test_a_deflated_bomb_is_inflated_in_bounded_memory_and_only_so_far(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("seriesport.dicom.readers.MAX_INFLATED", 1 << 20)
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    content = engine.compress(element(0x00091001, "OB", bytes(4 << 20))) + engine.flush()
    assert refusal(content, "1.2.840.10008.1.2.1.99") == "instance-invalid"


def test_reading_a_header_needs_no_pydicom(tmp_path: Path) -> None:
    made = data.ct(tmp_path, data.identity("lean"), slices=1, size=8)
    code = (
        "import sys; from pathlib import Path; from seriesport.dicom.part10 import load_instance;"
        f"load_instance(Path({str(made.paths[0])!r})); assert 'pydicom' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
