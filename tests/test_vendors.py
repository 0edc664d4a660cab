"""Files laid out as vendors lay them out: read by the quick reader alone, as pydicom reads them."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

import data
from seriesport import Series
from seriesport.dicom.elements import Syntax
from seriesport.dicom.explicit import ImplicitError, to_explicit
from seriesport.dicom.readers import bytes_reader
from seriesport.dicom.walker import Walker
from seriesport.images import encoded
from seriesport.images.headers import quick_header

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LITTLE, IMPLICIT = "explicit", "implicit"
STACK, EXAM, REAL_WORLD = 0x2001105F, 0x2005140F, 0x20051402


def undefined(sequence: DataElement) -> DataElement:
    """The same sequence, it and its items of undefined length."""
    sequence.is_undefined_length = True
    sequence.value.is_undefined_length = True
    for item in sequence.value:
        item.is_undefined_length_sequence_item = True
    return sequence


def item(**attributes: Any) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def philips(instance: Dataset) -> None:
    """Private groups 2001 and 2005 with sequences that hold private creators of their own."""
    instance.Manufacturer = "Philips Medical Systems"
    imaging = instance.private_block(0x2001, "Philips Imaging DD 001", create=True)
    imaging.add_new(0x03, "FL", 0.0)
    imaging.add_new(0x08, "IS", "1")
    imaging.add_new(0x0B, "CS", "TRANSVERSAL")
    imaging.add_new(0x99, "UN", b"\1\2\3\4")  # known to nobody
    stack = Dataset()
    inner = stack.private_block(0x2001, "Philips Imaging DD 001", create=True)
    inner.add_new(0x2D, "SS", 25)
    inner.add_new(0x35, "SS", 1)
    deeper = stack.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    deeper.add_new(0x71, "FL", 1.5)
    deeper.add_new(0x7B, "CS", "RL")
    instance[STACK] = undefined(DataElement(STACK, "SQ", DicomSequence([stack])))
    mr = instance.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    mr.add_new(0x11, "CS", "M")
    mr.add_new(0xB0, "FL", 0.5)
    fourteen = instance.private_block(0x2005, "Philips MR Imaging DD 005", create=True)
    assert fourteen.block_start == 0x1100
    instance.add_new(0x20050014, "LO", "Philips MR Imaging DD 005")
    exam = item(ReferencedSOPClassUID="1.2.3", EffectiveEchoTime=30.0, DiffusionBValue=700.0)
    exam[0x20050014] = DataElement(0x20050014, "LO", "Philips MR Imaging DD 005")
    exam.ReferencedImageSequence = [item(ReferencedSOPInstanceUID="1.2.3.4")]
    instance[EXAM] = undefined(DataElement(EXAM, "SQ", DicomSequence([exam, Dataset()])))
    instance[REAL_WORLD] = DataElement(REAL_WORLD, "SQ", DicomSequence([item(RescaleSlope="2")]))
    instance.SmallestImagePixelValue = 3
    instance["SmallestImagePixelValue"].VR = "SS"
    instance.RealWorldValueMappingSequence = [item(RealWorldValueSlope=2.5, LUTLabel="Philips")]


def ge(instance: Dataset) -> None:
    """Private groups before and behind the pixels, and padding at the end."""
    instance.Manufacturer = "GE MEDICAL SYSTEMS"
    block = instance.private_block(0x0043, "GEMS_PARM_01", create=True)
    block.add_new(0x39, "IS", ["1000000050", "8", "0", "0"])
    block.add_new(0x2A, "OB", bytes(range(256)))
    instance.private_block(0x7FE1, "GEMS_Ultrasound_MovieGroup_001", create=True).add_new(
        0x01, "LO", "behind the pixels"
    )
    instance.add_new(0xFFFCFFFC, "OB", bytes(126))


def look_up_table(instance: Dataset) -> None:
    """A VOI LUT Sequence, as CR, DX and MG have them."""
    table = item(LUTDescriptor=[4, 0, 16], LUTExplanation="NORMAL")
    table.add_new(0x00283006, "OW", struct.pack("<4H", 0, 10, 20, 30))
    instance.VOILUTSequence = [table]
    del instance.WindowCenter
    del instance.WindowWidth


def icon(instance: Dataset) -> None:
    """An icon with native pixels of its own."""
    small = item(Rows=2, Columns=2, BitsAllocated=8, BitsStored=8, HighBit=7, SamplesPerPixel=1)
    small.PixelRepresentation, small.PhotometricInterpretation = 0, "MONOCHROME2"
    small.add_new(0x7FE00010, "OW", bytes(4))
    instance.IconImageSequence = [small]


def extended(instance: Dataset) -> None:
    """Group lengths and text beyond ASCII."""
    instance.PatientName = "Müller^Jürgen"
    instance.add_new(0x00180000, "UL", 10)
    instance.ImageComments = "ä" * 40


LAYOUTS = (philips, ge, look_up_table, icon, extended)


def made(
    folder: Path, change: Callable[[Dataset], None], syntax: str, slices: int = 3
) -> list[Path]:
    paths = data.ct(folder, data.identity("vendor"), slices=slices, size=16).paths
    for path in paths:
        instance = pydicom.dcmread(path)
        change(instance)
        data.write(instance, path, syntax)
    return paths


def refuse(*_: Any, **__: Any) -> Any:
    raise AssertionError("pydicom read a whole header")


@pytest.mark.parametrize("syntax", [LITTLE, IMPLICIT])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_ordinary_file_of_a_vendor_stays_with_the_quick_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: Any, syntax: str
) -> None:
    paths = made(tmp_path, layout, syntax)
    expected = np.stack([pydicom.dcmread(path).pixel_array for path in paths])
    first = pydicom.dcmread(paths[0])
    monkeypatch.setattr(pydicom, "dcmread", refuse)
    monkeypatch.setattr("seriesport.series.files.check_elements", refuse)
    read = Series(tmp_path)
    np.testing.assert_array_equal(read, expected)
    assert read.getDicomAttribute("Manufacturer") == first.Manufacturer
    assert str(read.getDicomAttribute("PatientName")) == str(first.PatientName)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_implicit_header_becomes_what_pydicom_makes_of_it(tmp_path: Path, layout: Any) -> None:
    (path,) = made(tmp_path, layout, IMPLICIT, slices=1)
    ours, syntax = encoded.read_encoded(path)
    theirs, _ = encoded._converted(path)
    assert syntax == str(pydicom.uid.ImplicitVRLittleEndian)
    assert encoded.split(ours).keys() == encoded.split(theirs).keys()
    for (tag, one), other in zip(
        sorted(encoded.split(ours).items()), encoded.split(theirs).values(), strict=True
    ):
        assert one == other, hex(tag)
    Walker(bytes_reader(ours), len(ours), Syntax(), descend=True).walk()


def test_a_private_value_that_its_vr_does_not_fit_is_unknown() -> None:
    """pydicom's dictionary of private elements is not right for every release of a scanner."""
    creator = struct.pack("<HHL", 0x2001, 0x10, 22) + b"Philips Imaging DD 001"
    content = creator + struct.pack("<HHLH", 0x2001, 0x1003, 2, 7)
    made_explicit = encoded.split(to_explicit(content, signed=False))
    assert made_explicit[0x20011003] == (b"UN", b"\7\0", False)


IMPLICIT_FILES = [
    path
    for path in sorted(data.WHEEL.rglob("*.dcm"))
    if (quick := quick_header(path)) is not None and not quick.explicit
]


@pytest.mark.parametrize("path", IMPLICIT_FILES, ids=lambda p: p.name)
def test_real_implicit_files_become_what_pydicom_makes_of_them(path: Path) -> None:
    ours, _ = encoded.read_encoded(path)
    theirs, _ = encoded._converted(path)

    def datasets(content: bytes) -> Dataset:
        return pydicom.filereader.read_dataset(io.BytesIO(content), False, True)

    assert datasets(ours) == datasets(theirs)


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    return struct.pack("<HH2s2xL", tag >> 16, tag & 0xFFFF, vr, size) + value


END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def odd(path: Path, *elements: bytes) -> None:
    """Put encoded elements before an explicit file's pixels."""
    content = path.read_bytes()
    at = content.index(b"\xe0\x7f\x10\x00OW")
    path.write_bytes(content[:at] + b"".join(elements) + content[at:])


def implicit_item(*elements: tuple[int, bytes]) -> bytes:
    inner = b"".join(
        struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value for tag, value in elements
    )
    return (
        struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
        + inner
        + struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
    )


UNKNOWN = element(
    0x2005140F,
    b"UN",
    implicit_item((0x20050014, b"Philips MR Imaging DD 005 "), (0x00189087, struct.pack("<d", 7.0)))
    + END,
    0xFFFFFFFF,
)
"""A private sequence as archives make it that do not know its VR: UN, its items implicit."""
WRITTEN = element(
    0x2005140F,
    b"UN",
    struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    + struct.pack("<HH2sH", 0x2005, 0x14, b"LO", 4)
    + b"Phil"
    + struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
    + END,
    0xFFFFFFFF,
)
"""The same, but with its items explicit against the rule."""
FRAGMENTS = element(
    0x00880200,
    b"SQ",
    struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    + struct.pack("<HH2sHH", 0x28, 0x10, b"US", 2, 8)
    + element(
        0x7FE00010,
        b"OB",
        struct.pack("<HHL", 0xFFFE, 0xE000, 0)
        + struct.pack("<HHL", 0xFFFE, 0xE000, 4)
        + b"\xff\xd8\xff\xd9"
        + END,
        0xFFFFFFFF,
    )
    + struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
    + END,
    0xFFFFFFFF,
)
"""An icon whose pixels are compressed."""
NO_VR = struct.pack("<HHL", 0x2005, 0x1499, 4) + b"abcd"
NEW_VR = struct.pack("<HH2sH", 0x2005, 0x149A, b"ZZ", 4) + b"abcd"


@pytest.mark.parametrize(
    "elements",
    [UNKNOWN, WRITTEN, FRAGMENTS, NO_VR, NEW_VR],
    ids=["UN", "UN explicit", "icon", "implicit", "ZZ"],
)
def test_odd_elements_stay_with_the_quick_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elements: bytes
) -> None:
    paths = data.ct(tmp_path, data.identity("odd"), slices=2, size=16).paths
    expected = np.stack([pydicom.dcmread(path).pixel_array for path in paths])
    for path in paths:
        odd(path, elements)
    tags = set(map(int, pydicom.dcmread(paths[0], stop_before_pixels=True).keys()))
    with monkeypatch.context() as patch:
        patch.setattr(pydicom, "dcmread", refuse)
        read = Series(tmp_path)
    np.testing.assert_array_equal(read, expected)
    assert set(map(int, read.header.dataset().keys())) == tags
    read.write(tmp_path / "again")
    again = Series(tmp_path / "again")
    np.testing.assert_array_equal(again, expected)


@pytest.mark.parametrize("cut", range(1, 200, 7))
def test_an_implicit_header_that_is_cut_is_refused(tmp_path: Path, cut: int) -> None:
    (path,) = made(tmp_path, philips, IMPLICIT, slices=1)
    quick = quick_header(path)
    assert quick is not None
    content = quick.top.encoded
    try:
        made_explicit = to_explicit(content[:-cut], signed=True)
    except ImplicitError:
        return
    # A cut between two elements cannot be told.
    assert content.startswith(content[:-cut])
    assert made_explicit == to_explicit(content, signed=True)[: len(made_explicit)]
