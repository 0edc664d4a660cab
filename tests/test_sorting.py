from __future__ import annotations

import random
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

import data
import images
from seriesport.errors import SeriesportError
from seriesport.images.image import Image

if TYPE_CHECKING:
    from pathlib import Path


def shuffled(paths: list[Path]) -> list[Path]:
    mixed = list(paths)
    random.Random(3).shuffle(mixed)
    return mixed


def code(paths: list[Path]) -> str:
    with pytest.raises(SeriesportError) as caught:
        Image.read(paths)
    return caught.value.code


def test_slices_are_ordered_by_position_whatever_files_numbers_and_thickness_say(
    tmp_path: Path,
) -> None:
    made = data.ct(tmp_path, data.identity("order"), slices=7)
    straight = Image.read(made.paths)

    def mislead(dataset: Any, i: int) -> None:
        dataset.InstanceNumber = (i * 5) % 7 + 1
        dataset.SliceThickness = "9.9"
        dataset.SliceLocation = str(-i)

    mixed = Image.read(shuffled(images.vary(made.paths, mislead)))
    assert mixed.axes == ("slice", "row", "column")
    assert mixed.spacing == (1.5, 5.625, 5.625)
    np.testing.assert_array_equal(mixed.array, straight.array)
    np.testing.assert_allclose(mixed.affine_ras, straight.affine_ras)


def test_volumes_over_time_come_in_the_order_of_time(tmp_path: Path) -> None:
    made = data.mr(tmp_path, data.identity("time"), times=4, slices=3)

    def only_time(dataset: Any, i: int) -> None:
        del dataset.TemporalPositionIdentifier, dataset.TriggerTime, dataset.AcquisitionNumber
        dataset.InstanceNumber = 12 - i

    series = Image.read(shuffled(images.vary(made.paths, only_time)))
    assert series.axes == ("time", "slice", "row", "column")
    assert series.array.shape == (4, 3, 64, 64)
    assert series.tags["time"] == pytest.approx((0.0, 0.3, 0.6, 0.9))
    means = series.array.mean(axis=(1, 2, 3))
    assert list(means) == sorted(means)


def test_echoes_come_in_the_order_of_echo_time(tmp_path: Path) -> None:
    made = data.mr(tmp_path, data.identity("echo"), times=3, slices=2)

    def echo(dataset: Any, i: int) -> None:
        dataset.EchoTime = ["30", "5", "12"][i // 2]

    series = Image.read(images.vary(made.paths, echo))
    assert series.tags == {"echo": (5.0, 12.0, 30.0)}


def test_directions_of_one_b_value_are_told_apart_by_time(tmp_path: Path) -> None:
    made = data.mr(tmp_path, data.identity("dwi"), times=4, slices=2)
    series = Image.read(
        images.vary(made.paths, lambda dataset, i: images.diffusion(dataset, i // 2))
    )
    assert series.axes[0] == "temporal"
    assert series.array.shape[0] == 4


def test_a_missing_slice_of_one_volume_is_refused(tmp_path: Path) -> None:
    made = data.mr(tmp_path, data.identity("hole"), times=3, slices=4)
    assert code(made.paths[:5] + made.paths[6:]) == "geometry-irregular"


def test_images_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    made = data.ct(tmp_path, data.identity("twins"), slices=4)

    def twin(dataset: Any, i: int) -> None:
        images.place(dataset, i // 2, ["1", "0", "0", "0", "1", "0"], 3)
        dataset.InstanceNumber = i // 2

    assert code(images.vary(made.paths, twin)) == "geometry-irregular"


def test_images_of_different_size_are_refused(tmp_path: Path) -> None:
    small = data.ct(tmp_path / "a", data.identity("size"), slices=2, size=32)
    large = data.ct(tmp_path / "b", data.identity("size"), slices=2, size=64)
    assert code(small.paths + large.paths) == "geometry-irregular"


def test_enhanced_frames_are_ordered_by_their_functional_groups(tmp_path: Path) -> None:
    made = data.enhanced(tmp_path / "one", data.identity("enhanced"), frames=6)
    straight = Image.read(made.paths)
    assert straight.array.shape == (6, 64, 64)
    assert straight.spacing == (3.0, 3.4375, 3.4375)

    def scatter(dataset: Any, _: int) -> None:
        def move(group: Dataset, k: int) -> None:
            images.macro(
                group,
                "PlanePositionSequence",
                ImagePositionPatient=["-110", "-110", str(3.0 * ((k * 5) % 6))],
            )

        images.frame_groups(dataset, move)

    mixed = Image.read(images.vary(made.paths, scatter))
    order = sorted(range(6), key=lambda k: (k * 5) % 6)
    np.testing.assert_array_equal(mixed.array, straight.array[order])


def test_enhanced_frames_over_time_become_volumes(tmp_path: Path) -> None:
    made = data.enhanced(tmp_path, data.identity("enhanced 4-D"), frames=6)
    flat = Image.read(made.paths).array

    def in_time(dataset: Any, _: int) -> None:
        def group(group: Dataset, k: int) -> None:
            position = ["-110", "-110", str(3.0 * (k // 3))]
            images.macro(group, "PlanePositionSequence", ImagePositionPatient=position)
            group.FrameContentSequence[0].TemporalPositionIndex = k % 3 + 1

        images.frame_groups(dataset, group)

    series = Image.read(images.vary(made.paths, in_time))
    assert series.axes == ("temporal", "slice", "row", "column")
    assert series.tags == {"temporal": (1.0, 2.0, 3.0)}
    np.testing.assert_array_equal(series.array[1, 1], flat[4])


def test_a_single_image_has_two_axes_and_a_place(tmp_path: Path) -> None:
    made = data.ct(tmp_path, data.identity("single"), slices=1)
    series = Image.read(made.paths)
    assert series.axes == ("row", "column")
    assert series.array.shape == (64, 64)
    assert series.spacing == (1.5, 5.625, 5.625)


def test_whole_numbered_rescaling_keeps_integers(tmp_path: Path) -> None:
    made = data.ct(tmp_path, data.identity("rescale"), slices=2)
    stored = Image.read(made.paths).array

    def rescale(dataset: Any, _: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = "2", "-1024"

    series = Image.read(images.vary(made.paths, rescale))
    assert series.array.dtype == np.int16
    np.testing.assert_array_equal(series.array, stored * 2 - 1024)


def test_integers_that_outgrow_their_type_get_a_wider_one(tmp_path: Path) -> None:
    made = data.ct(tmp_path, data.identity("wider"), slices=2)
    stored = Image.read(made.paths).array.astype(np.int64)

    def rescale(dataset: Any, _: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = "100", "7"

    series = Image.read(images.vary(made.paths, rescale))
    assert series.array.dtype == np.int32
    np.testing.assert_array_equal(series.array, stored * 100 + 7)


@pytest.mark.parametrize(("slope", "intercept"), [("1e18", "1e18"), ("1e30", "0"), ("1e300", "1")])
def test_a_huge_rescaling_is_done_in_floats(tmp_path: Path, slope: str, intercept: str) -> None:
    made = data.ct(tmp_path, data.identity("huge"), slices=2)
    stored = [images.pydicom.dcmread(path).pixel_array for path in made.paths]

    def rescale(dataset: Any, _: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept

    series = Image.read(images.vary(made.paths, rescale))
    expected = np.array(stored) * float(slope) + float(intercept)
    np.testing.assert_allclose(series.array, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["RescaleSlope", "RescaleIntercept"])
def test_a_rescaling_that_is_not_finite_is_refused(tmp_path: Path, name: str) -> None:
    made = data.ct(tmp_path, data.identity("infinite"), slices=2)
    images.vary(made.paths, lambda dataset, _: setattr(dataset, name, "1e999"))
    assert code(made.paths) == "instance-invalid"


def test_each_pet_slice_is_rescaled_by_its_own_slope(tmp_path: Path) -> None:
    made = data.pet(tmp_path, data.identity("pet"), slices=3)
    series = Image.read(made.paths)
    assert series.array.dtype == np.float32
    stored = images.pydicom.dcmread(made.paths[2]).pixel_array
    np.testing.assert_allclose(series.array[2], stored * 0.52, rtol=1e-6)


@pytest.mark.parametrize("syntax", ["implicit", "big-endian", "rle", "jpeg2000"])
def test_compressed_and_other_transfer_syntaxes_give_the_same_values(
    tmp_path: Path, syntax: str
) -> None:
    who = data.identity("syntax")
    plain = Image.read(data.ct(tmp_path / "plain", who, slices=2).paths)
    other = Image.read(data.ct(tmp_path / syntax, who, slices=2, syntax=syntax).paths)
    np.testing.assert_array_equal(other.array, plain.array)


def test_colour_stays_colour_and_a_palette_becomes_it() -> None:
    rgb = Image.read([data.WHEEL / "examples_rgb_color.dcm"])
    assert (rgb.axes, rgb.colour) == (("row", "column", "rgb"), True)
    palette = Image.read([data.WHEEL / "examples_palette.dcm"])
    assert palette.array.shape == (350, 800, 3)
    loop = Image.read([data.WHEEL / "examples_ybr_color.dcm"])
    assert (loop.axes[0], loop.array.shape) == ("frame", (30, 240, 320, 3))
    assert loop.affine_ras is None


def test_a_report_is_no_image(tmp_path: Path) -> None:
    assert code(data.sr(tmp_path, data.identity("sr")).paths) == "not-an-image"


def test_a_truncated_image_is_refused(tmp_path: Path) -> None:
    made = data.ct(tmp_path, data.identity("cut"), slices=3)
    content = made.paths[1].read_bytes()
    made.paths[1].write_bytes(content[:-100])
    with pytest.raises(SeriesportError, match=r"instance 2 .*conversion-failed"):
        Image.read(made.paths)


@pytest.mark.parametrize(
    ("frames", "expected"), [("2000000000", "instance-invalid"), ("2", "conversion-failed")]
)
def test_an_image_that_declares_more_frames_than_it_has_is_refused(
    tmp_path: Path, frames: str, expected: str
) -> None:
    made = data.ct(tmp_path, data.identity("frames"), slices=1)

    def declare(dataset: Any, _: int) -> None:
        dataset.NumberOfFrames = frames

    assert code(images.vary(made.paths, declare)) == expected


def test_a_dose_grid_takes_its_planes_from_the_offset_vector() -> None:
    series = Image.read([data.WHEEL / "rtdose.dcm"])
    assert series.array.shape == (15, 10, 10)
    assert series.spacing == (5.0, 10.0, 10.0)


def test_offsets_of_a_dose_grid_may_count_from_the_patients_origin(tmp_path: Path) -> None:
    relative = Image.read([data.WHEEL / "rtdose.dcm"])
    dataset = images.pydicom.dcmread(data.WHEEL / "rtdose.dcm")
    z = dataset.ImagePositionPatient[2]
    dataset.GridFrameOffsetVector = [z + offset for offset in dataset.GridFrameOffsetVector]
    dataset.save_as(tmp_path / "absolute.dcm")
    absolute = Image.read([tmp_path / "absolute.dcm"])
    np.testing.assert_allclose(absolute.affine_lps, relative.affine_lps)


@pytest.mark.parametrize("kind", ["ct", "enhanced", "pet"])
def test_reading_takes_the_memory_of_the_array_and_little_more(tmp_path: Path, kind: str) -> None:
    count = {"frames" if kind == "enhanced" else "slices": 60}
    made = getattr(data, kind)(tmp_path, data.identity("memory"), size=256, **count)
    Image.read(made.paths)
    tracemalloc.start()
    try:
        series = Image.read(made.paths)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < series.array.nbytes + 4 * 256 * 256 * 8


def test_values_behind_a_modality_table_are_looked_up(tmp_path: Path) -> None:
    made = data.ct(tmp_path, data.identity("table"), slices=2, size=16)
    raw = np.array([pydicom.dcmread(path).pixel_array for path in made.paths]).astype(int)
    low, count = int(raw.min()), int(np.ptp(raw)) + 1

    def tabled(dataset: Dataset, _: int) -> None:
        table = Dataset()
        table.LUTDescriptor = [count, low, 16]
        table.ModalityLUTType = "HU"
        table.LUTData = [7 * index for index in range(count)]
        table["LUTData"].VR = "US"
        dataset.ModalityLUTSequence = [table]
        del dataset.RescaleSlope, dataset.RescaleIntercept

    looked_up = Image.read(images.vary(made.paths, tabled)).array
    assert np.array_equal(looked_up, 7 * (raw - low))
