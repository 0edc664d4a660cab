"""The quick look at headers, against pydicom's full one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

import data
import images
from seriesport.dicom.part10 import check_whole
from seriesport.images.headers import quick_header
from seriesport.images.image import Image

if TYPE_CHECKING:
    from pathlib import Path

KEYWORDS = (
    "Rows",
    "ImageType",
    "PixelSpacing",
    "ImagePositionPatient",
    "RescaleSlope",
    "InstanceNumber",
    "Manufacturer",
    "AcquisitionTime",
    "BitsStored",
    "PhotometricInterpretation",
    "WindowCenter",
)
FILES = sorted(data.WHEEL.rglob("*.dcm"))
PLAIN = [path for path in FILES if quick_header(path) is not None]


def normal(value: Any) -> Any:
    if isinstance(value, (list, pydicom.multival.MultiValue)):
        return [normal(v) for v in value]
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value).strip() if value not in (None, "") else None


@pytest.mark.parametrize("path", PLAIN, ids=lambda p: p.name)
def test_the_quick_look_sees_what_a_full_one_sees(path: Path) -> None:
    quick = quick_header(path)
    assert quick is not None
    full = pydicom.dcmread(path, force=True)
    before = {int(t) for t in full.keys() if t < 0x7FE00008}  # noqa: SIM118 - tags, not elements
    assert set(quick.top.values) == before
    for keyword in KEYWORDS:
        assert normal(quick.get(keyword)) == normal(full.get(keyword)), keyword
    assert (quick.top.pixels is not None) == ("PixelData" in full)


def test_most_of_pydicoms_files_are_plain() -> None:
    assert len(PLAIN) >= 60


def test_private_elements_are_found_in_any_block(tmp_path: Path) -> None:
    made = data.ct(tmp_path, data.identity("blocks"), slices=1)

    def add(dataset: Any, _: int) -> None:
        dataset.private_block(0x0043, "SOMEBODY ELSE", create=True).add_new(0x39, "LO", "no")
        dataset.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x39, "IS", [700, 8])

    header = quick_header(images.vary(made.paths, add)[0])
    assert header is not None
    assert header.private("GEMS_PARM_01", 0x0043, 0x39, "IS") == [700, 8]
    assert header.private("NOBODY", 0x0043, 0x39, "IS") is None


@given(st.data())
def test_mangled_headers_are_none_or_read_and_never_hang(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("mangled") / "x.dcm"
    content = bytearray(FILES[data.draw(st.integers(0, len(FILES) - 1))].read_bytes()[:6000])
    for _ in range(data.draw(st.integers(0, 6))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    header = quick_header(path)
    if header is not None:
        assert sum(map(len, header.top.values.values())) <= len(header.top.buffer)


@given(st.data())
def test_what_the_quick_look_calls_whole_the_full_check_accepts(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "x.dcm"
    content = bytearray(PLAIN[data.draw(st.integers(0, len(PLAIN) - 1))].read_bytes())
    start = 132 + int.from_bytes(content[140:144], "little")
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(start, min(start + 3000, len(content)) - 1))] = data.draw(
            st.integers(0, 255)
        )
    cut = data.draw(st.sampled_from([0, 0, 1, 2, 8, 1000]))
    path.write_bytes(content[: len(content) - cut])
    header = quick_header(path)
    if header is not None and header.top.whole:
        data_set = path.read_bytes()[header.start :]
        check_whole(data_set, len(data_set), header.top.transfer_syntax_uid)


def test_the_quick_look_calls_most_native_images_whole_and_none_that_is_cut(
    tmp_path: Path,
) -> None:
    for path in data.ct(tmp_path, data.identity("whole"), slices=2, size=16).paths:
        header = quick_header(path)
        assert header is not None
        assert header.top.whole
        path.write_bytes(path.read_bytes()[:-2])
        cut = quick_header(path)
        assert cut is not None
        assert not cut.top.whole


def test_pixels_read_as_they_lie_are_what_pydicom_decodes(tmp_path: Path) -> None:
    made = data.mr(tmp_path, data.identity("bits"), times=1, slices=2)

    def shorten(dataset: Any, i: int) -> None:
        stored = dataset.pixel_array.astype(np.uint16) % 4096
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, i
        dataset.PixelData = (stored | 0x8000).tobytes()  # a bit that is no part of the value

    for path in images.vary(made.paths, shorten):
        image = Image.read([path])
        np.testing.assert_array_equal(image.array, pydicom.dcmread(path).pixel_array)
        assert image.frames is not None
        assert image.frames.flat[0].native.unused == 4
