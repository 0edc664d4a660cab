"""Input orders: what a user may name to sort images by, alone and together."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest

import data
import images
from seriesport.errors import SeriesportError
from seriesport.images.image import Image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TIMES, SLICES = 6, 3


def series(folder: Path, change: Callable[[Any, int, int], None]) -> list[Path]:
    """Six images at each of three positions, shuffled, that only the change tells apart."""
    made = data.mr(folder, data.identity("orders"), times=TIMES, slices=SLICES, size=16)

    def vary(dataset: Any, i: int) -> None:
        for keyword in ("TemporalPositionIdentifier", "TriggerTime", "AcquisitionNumber"):
            if keyword in dataset:
                delattr(dataset, keyword)
        dataset.AcquisitionTime, dataset.EchoTime = "120000", "10"
        change(dataset, *divmod(i, SLICES))

    paths = images.vary(made.paths, vary)
    random.Random(1).shuffle(paths)
    return paths


def refusal(paths: list[Path], order: Any, **opts: Any) -> SeriesportError:
    with pytest.raises(SeriesportError) as caught:
        Image.read(paths, order, opts)
    return caught.value


def stored(image: Image, *index: int) -> np.ndarray[Any, Any]:
    """The pixels of the file that an image says stands at an index."""
    assert image.frames is not None
    return pydicom.dcmread(image.frames[index].path).pixel_array


@pytest.mark.parametrize(
    ("order", "keyword", "values", "expected"),
    [
        ("te", "EchoTime", [30, 10, 50, 20, 40, 60], (10, 20, 30, 40, 50, 60)),
        ("fa", "FlipAngle", [15, 5, 2, 30, 20, 10], (2, 5, 10, 15, 20, 30)),
        ("triggertime", "TriggerTime", [0, 250, 50, 100, 150, 200], (0, 50, 100, 150, 200, 250)),
        ("b", "DiffusionBValue", [0, 800, 50, 100, 400, 200], (0, 50, 100, 200, 400, 800)),
        ("InversionTime", "InversionTime", [9, 8, 7, 6, 5, 4], (4, 5, 6, 7, 8, 9)),
        ("time", "AcquisitionTime", [f"12000{i}" for i in range(6)], (0, 1, 2, 3, 4, 5)),
    ],
)
def test_a_named_order_sorts_and_gives_its_values(
    tmp_path: Path, order: str, keyword: str, values: list[Any], expected: tuple[float, ...]
) -> None:
    def change(dataset: Any, volume: int, _: int) -> None:
        setattr(dataset, keyword, values[volume])

    image = Image.read(series(tmp_path, change), order)
    assert image.axes == (order, "slice", "row", "column")
    assert image.tags == {order: expected}
    np.testing.assert_array_equal(image.array[4, 1], stored(image, 4, 1))
    assert image.frames is not None
    header = pydicom.dcmread(image.frames[1, 2].path)
    assert float(getattr(header, keyword)) == float(sorted(values)[1])


def test_two_orders_make_two_axes(tmp_path: Path) -> None:
    def change(dataset: Any, volume: int, _: int) -> None:
        dataset.EchoTime = [10, 20][volume % 2]
        dataset.AcquisitionTime = f"12000{volume // 2}"

    paths = series(tmp_path, change)
    image = Image.read(paths, "time,te")
    assert image.axes == ("time", "te", "slice", "row", "column")
    assert image.array.shape == (3, 2, SLICES, 16, 16)
    assert image.tags == {"time": (0, 1, 2), "te": (10, 20)}
    other = Image.read(paths, "te,time")
    np.testing.assert_array_equal(other.array, image.array.swapaxes(0, 1))


def test_echoes_with_times_of_their_own_still_make_two_axes(tmp_path: Path) -> None:
    def change(dataset: Any, volume: int, place: int) -> None:
        dataset.EchoTime = [10, 20][volume % 2]
        dataset.AcquisitionTime = f"1200{volume:02d}.{place}"

    image = Image.read(series(tmp_path, change), "time,te")
    assert image.axes[:2] == ("time", "te")
    assert image.tags == {"time": (0, 2, 4), "te": (10, 20)}
    np.testing.assert_array_equal(image.array[2, 1, 0], stored(image, 2, 1, 0))


def test_an_option_gives_a_name_to_a_keyword_or_a_function(tmp_path: Path) -> None:
    def change(dataset: Any, volume: int, _: int) -> None:
        dataset.InversionTime = 100 * (volume + 1)

    paths = series(tmp_path, change)
    named = Image.read(paths, "ti", {"ti": "InversionTime"})
    assert named.tags == {"ti": (100, 200, 300, 400, 500, 600)}
    reversed_ = Image.read(paths, "ti", {"ti": lambda d: -d.InversionTime})
    np.testing.assert_array_equal(reversed_.array, named.array[::-1])
    alone = Image.read(paths, lambda d: -d.InversionTime)
    np.testing.assert_array_equal(alone.array, reversed_.array)


def test_an_order_that_fails_or_is_not_known_is_an_error(tmp_path: Path) -> None:
    paths = series(tmp_path, lambda *_: None)
    assert refusal(paths, "nonsense").code == "order-unknown"
    assert refusal(paths, "te,te").code == "order-unknown"
    assert refusal(paths, lambda d: d.Missing).code == "geometry-irregular"
    assert refusal(paths, "none").code == "geometry-irregular"
    assert "not all images" in refusal(paths, "InversionTime").message


def test_images_with_one_value_are_refused_or_kept_apart_by_option(tmp_path: Path) -> None:
    def change(dataset: Any, volume: int, _: int) -> None:
        dataset.DiffusionBValue = [0, 0, 0, 500, 500, 1000][volume]

    paths = series(tmp_path, change)
    assert "accept_duplicate_tag" in refusal(paths, "b").message
    image = Image.read(paths, "b", {"accept_duplicate_tag": True})
    assert image.tags == {"b": (0, 0, 0, 500, 500, 1000)}
    assert image.frames is not None
    assert [f.number for f in image.frames[:, 0]] == sorted(f.number for f in image.frames[:, 0])


def test_values_that_differ_between_positions_are_refused(tmp_path: Path) -> None:
    def change(dataset: Any, volume: int, place: int) -> None:
        dataset.EchoTime = 10 * volume + (5 if (volume, place) == (3, 1) else 0)

    assert refusal(series(tmp_path, change), "te").code == "geometry-irregular"


def test_volumes_without_times_follow_their_instance_numbers(tmp_path: Path) -> None:
    image = Image.read(series(tmp_path, lambda *_: None))
    assert image.axes[0] == "instance"
    assert image.array.shape[:2] == (TIMES, SLICES)
    assert image.frames is not None
    numbers = [f.number for f in image.frames.flat]
    assert numbers == list(range(1, TIMES * SLICES + 1))


@pytest.mark.parametrize("order", ["instance", "time"])
def test_volumes_with_different_holes_are_refused(tmp_path: Path, order: str) -> None:
    def change(dataset: Any, volume: int, place: int) -> None:
        dataset.AcquisitionTime = f"1200{3 * volume + place:02d}"

    paths = sorted(series(tmp_path, change))
    assert Image.read(paths, order).array.shape[0] == TIMES
    lost = [paths[1 * SLICES + 0], paths[3 * SLICES + 1], paths[4 * SLICES + 2]]
    kept = [p for p in paths if p not in lost]
    assert refusal(kept, order).code == "geometry-irregular"


def test_images_at_one_depth_that_lie_beside_each_other_are_refused(tmp_path: Path) -> None:
    def change(dataset: Any, volume: int, place: int) -> None:
        dataset.ImagePositionPatient = [10.0 * volume, 0, 3.0 * place]

    assert "shifted" in refusal(series(tmp_path, change), "auto").message


def test_dimensions_order_a_multi_frame_image_that_no_macro_orders(tmp_path: Path) -> None:
    made = data.enhanced(tmp_path, data.identity("dimensions"), frames=6)
    flat = Image.read(made.paths).array

    def regroup(dataset: Any, _: int) -> None:
        item = pydicom.Dataset()
        item.DimensionIndexPointer = 0x00209254  # Respiratory Interval Time
        dataset.DimensionIndexSequence.append(item)

        def group(group: Any, k: int) -> None:
            position = ["-110", "-110", str(3.0 * (k // 3))]
            images.macro(group, "PlanePositionSequence", ImagePositionPatient=position)
            content = group.FrameContentSequence[0]
            for keyword in ("TemporalPositionIndex", "FrameAcquisitionDateTime"):
                if keyword in content:
                    delattr(content, keyword)
            content.DimensionIndexValues = [
                *([1] * (len(dataset.DimensionIndexSequence) - 1)),
                3 - k % 3,
            ]

        images.frame_groups(dataset, group)

    image = Image.read(images.vary(made.paths, regroup))
    assert image.array.shape[:2] == (3, 2)
    assert list(image.tags.values()) == [(1, 2, 3)]
    np.testing.assert_array_equal(image.array[0, 1], flat[5])


def test_gantry_tilt_and_uneven_spacing_are_read_only_by_option(tmp_path: Path) -> None:
    tilted = data.ct(tmp_path / "tilt", data.identity("tilt"), slices=5)
    axial = ["1", "0", "0", "0", "1", "0"]
    images.vary(tilted.paths, lambda d, i: images.place(d, i, axial, 2.0, skew=0.5))
    assert "gantry tilt" in refusal(tilted.paths, "auto").message
    image = Image.read(tilted.paths, opts={"accept_gantry_tilt": True})
    assert image.affine_lps is not None
    np.testing.assert_allclose(image.affine_lps[:3, 0], [0.5, 0, 2], atol=1e-6)

    uneven = data.ct(tmp_path / "uneven", data.identity("uneven"), slices=5)
    images.vary(uneven.paths, lambda d, i: images.place(d, i + (i > 2), axial, 2.0))
    assert "apart" in refusal(uneven.paths, "auto").message
    image = Image.read(uneven.paths, opts={"accept_uneven_spacing": True})
    assert image.spacing is not None
    assert image.spacing[0] == pytest.approx(2.5)


def test_ge_volumes_without_times_and_numbers_follow_the_scanners_clock(tmp_path: Path) -> None:
    def change(dataset: Any, volume: int, place: int) -> None:
        dataset.Manufacturer, dataset.InstanceNumber = "GE MEDICAL SYSTEMS", 1
        block = dataset.private_block(0x0021, "GEMS_RELA_01", create=True)
        block.add_new(0x5E, "DS", str(20000 * (TIMES - volume) + 100 * place))

    image = Image.read(series(tmp_path, change))
    assert image.axes[0] == "timer"
    assert image.frames is not None
    assert [f.path.stem for f in image.frames[:, 0]] == [
        f"{1 + 3 * v:06d}" for v in range(5, -1, -1)
    ]


def test_an_option_written_as_text_means_what_it_says(tmp_path: Path) -> None:
    paths = series(tmp_path, lambda d, v, _: setattr(d, "FlipAngle", v // 2))
    assert Image.read(paths, "fa", {"accept_duplicate_tag": "True"}).array.shape[0] == TIMES
    assert refusal(paths, "fa", accept_duplicate_tag="False").code == "geometry-irregular"


def test_a_keyword_orders_the_frames_of_a_multi_frame_image(tmp_path: Path) -> None:
    made = data.enhanced(tmp_path, data.identity("keyword"), frames=6)

    def regroup(dataset: Any, _: int) -> None:
        def group(group: Any, k: int) -> None:
            position = ["-110", "-110", str(3.0 * (k // 3))]
            images.macro(group, "PlanePositionSequence", ImagePositionPatient=position)
            images.macro(group, "MRModifierSequence", InversionTimes=100.0 * (3 - k % 3))

        images.frame_groups(dataset, group)

    image = Image.read(images.vary(made.paths, regroup), "InversionTimes")
    assert image.tags == {"InversionTimes": (100, 200, 300)}
    assert image.frames is not None
    assert [f.index for f in image.frames[:, 1]] == [5, 4, 3]
