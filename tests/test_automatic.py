"""What `auto` takes a series for, by its header alone, and what it says that it took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

import data
import images
from seriesport import Series
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SLICES = 2
DIRECTIONS = ((0.6, 0.0, 0.8), (0.0, -0.28, 0.96), (0.48, 0.6, 0.64), (-0.6, 0.8, 0.0))
_CLOCKS = ("TemporalPositionIdentifier", "TriggerTime", "AcquisitionNumber")


def classic(folder: Path, volumes: int, change: Callable[[Any, int], None]) -> Path:
    """Volumes of classic MR images that have one time and one number, unless changed."""
    made = data.mr(folder, data.identity("auto"), times=volumes, slices=SLICES, size=16)

    def vary(dataset: Any, i: int) -> None:
        for keyword in _CLOCKS:
            delattr(dataset, keyword)
        dataset.AcquisitionTime, dataset.EchoTime, dataset.InstanceNumber = "120000", "10", 1
        change(dataset, i // SLICES)

    images.vary(made.paths, vary)
    return folder


def enhanced(folder: Path, volumes: int, change: Callable[[Dataset, int], None]) -> Path:
    """Volumes of one Enhanced MR instance without times."""
    made = data.enhanced(folder, data.identity("auto"), frames=volumes * SLICES, size=16)

    def group(item: Dataset, i: int) -> None:
        volume, place = divmod(i, SLICES)
        item.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 3.0 * place]
        content = item.FrameContentSequence[0]
        content.TemporalPositionIndex = 1
        content.DimensionIndexValues = [1, place + 1]
        content.FrameAcquisitionDateTime = "20240102120000"
        change(item, volume)

    def vary(dataset: Any, _: int) -> None:
        dataset.Manufacturer = "Philips Medical Systems"
        images.frame_groups(dataset, group)

    images.vary(made.paths, vary)
    return folder


def weight(item: Dataset, b: float, direction: tuple[float, ...] | None, *, trace: bool) -> None:
    kind = "ISOTROPIC" if trace else "DIRECTIONAL" if direction else "NONE"
    images.macro(item, "MRDiffusionSequence", DiffusionBValue=b, DiffusionDirectionality=kind)
    if direction:
        one = Dataset()
        one.DiffusionGradientOrientation = list(direction)
        item.MRDiffusionSequence[0].DiffusionGradientDirectionSequence = [one]


def echoes(dataset: Any, volume: int) -> None:
    """Four echoes, three times, each image with a time of its own."""
    dataset.EchoTime = [10, 20, 30, 40][volume % 4]
    dataset.AcquisitionTime = f"1200{volume:02d}"


def test_enhanced_diffusion_is_ordered_by_b_value_and_direction(tmp_path: Path) -> None:
    def change(item: Dataset, volume: int) -> None:
        told = (*((1000.0, d) for d in DIRECTIONS), (0.0, None), (1000.0, None))
        weight(item, *told[volume], trace=volume == 5)

    series = Series(enhanced(tmp_path, 6, change))
    assert series.input_order == "dti"
    assert series.axes == ("dti", "slice", "row", "column")
    assert series.bvalues.tolist() == [0, 1000, 1000, 1000, 1000, 1000]
    assert series.tags["dti"][0] == (0.0, (0.0, 0.0, 0.0))
    trace = series.tags["dti"].index((1000.0, (0.0, 0.0, 0.0)))
    stored = pydicom.dcmread(next(tmp_path.iterdir())).pixel_array
    np.testing.assert_array_equal(series[trace], stored[5 * SLICES :])


def test_enhanced_diffusion_with_echoes_has_an_axis_for_each(tmp_path: Path) -> None:
    def change(item: Dataset, volume: int) -> None:
        weight(item, 1000.0, DIRECTIONS[volume % 4], trace=False)
        images.macro(item, "MREchoSequence", EffectiveEchoTime=[60.0, 90.0][volume // 4])

    series = Series(enhanced(tmp_path, 8, change))
    assert series.input_order == "echo,dti"
    assert series.shape[:2] == (2, 4)


def test_images_at_b_0_that_are_repeated_are_told_apart_by_their_dimensions(tmp_path: Path) -> None:
    def change(item: Dataset, volume: int) -> None:
        weight(item, *((0.0, None), (1000.0, DIRECTIONS[volume]))[volume > 1], trace=False)
        item.FrameContentSequence[0].DimensionIndexValues.append(volume + 1)

    folder = enhanced(tmp_path, 4, change)

    def point(dataset: Any, _: int) -> None:
        item = Dataset()
        item.DimensionIndexPointer = 0x20051413  # private to Philips: no keyword
        dataset.DimensionIndexSequence.append(item)

    images.vary(list(folder.iterdir()), point)
    series = Series(folder)
    assert series.input_order == "20051413"
    assert series.bvalues.tolist() == [0, 0, 1000, 1000]
    assert Series(folder, "20051413").shape == series.shape


def test_a_dynamic_multi_echo_series_has_both_axes(tmp_path: Path) -> None:
    series = Series(classic(tmp_path, 12, echoes))
    assert series.input_order == "time,echo"
    assert series.shape == (3, 4, SLICES, 16, 16)
    assert series.tags["echo"] == (10, 20, 30, 40)
    assert series.tags["time"] == (0, 4, 8)
    again = Series(tmp_path, series.input_order)
    np.testing.assert_array_equal(again, series)


def test_b_values_and_echoes_that_are_taken_again_and_again_have_an_axis_each(
    tmp_path: Path,
) -> None:
    def change(dataset: Any, volume: int) -> None:
        dataset.EchoTime = [60, 90][volume % 2]
        dataset.DiffusionBValue = [0, 500, 1000][volume // 2 % 3]
        dataset.AcquisitionTime = f"1200{volume:02d}"

    series = Series(classic(tmp_path, 12, change))
    assert series.input_order == "time,echo,b"
    assert series.shape[:3] == (2, 2, 3)


def test_diffusion_in_many_directions_stays_in_the_order_of_its_times(tmp_path: Path) -> None:
    def change(dataset: Any, volume: int) -> None:
        dataset.Manufacturer = "Hitachi"
        dataset.DiffusionBValue = [0.0, 1000.0][volume % 2]
        dataset.DiffusionGradientOrientation = list(DIRECTIONS[volume % 4])
        dataset.AcquisitionTime = f"1200{9 - volume:02d}"

    series = Series(classic(tmp_path, 4, change))
    assert series.input_order == "time"
    assert series.bvalues.tolist() == [1000, 0, 1000, 0]


@pytest.mark.parametrize(
    ("keyword", "values", "order"),
    [("FlipAngle", (15, 5, 2), "fa"), ("InversionTime", (900, 100, 300), "ti")],
)
def test_what_the_scan_varied_is_taken_before_times(
    tmp_path: Path, keyword: str, values: tuple[float, ...], order: str
) -> None:
    def change(dataset: Any, volume: int) -> None:
        setattr(dataset, keyword, values[volume])
        dataset.AcquisitionTime = f"1200{volume:02d}"

    series = Series(classic(tmp_path, 3, change))
    assert series.input_order == order
    assert series.tags[order] == tuple(sorted(values))


def test_cardiac_phases_of_several_dynamics_have_both_axes(tmp_path: Path) -> None:
    def change(dataset: Any, volume: int) -> None:
        dataset.TemporalPositionIdentifier = volume // 3 + 1
        dataset.TriggerTime = [0, 50, 100][volume % 3]
        dataset.AcquisitionTime = f"1200{volume:02d}"

    series = Series(classic(tmp_path, 6, change))
    assert series.input_order == "temporal,trigger"
    assert series.shape[:2] == (2, 3)


def test_two_explanations_with_different_orders_are_refused_and_named(tmp_path: Path) -> None:
    def change(dataset: Any, volume: int) -> None:
        dataset.EchoTime = [10, 20, 30][volume]
        dataset.FlipAngle = [30, 10, 20][volume]

    folder = classic(tmp_path, 3, change)
    with pytest.raises(SeriesportError, match="by echo or by fa") as caught:
        Series(folder)
    assert caught.value.code == "order-ambiguous"
    assert Series(folder, "fa").tags == {"fa": (10, 20, 30)}


def test_trigger_times_that_do_not_follow_the_clock_are_refused(tmp_path: Path) -> None:
    def change(dataset: Any, volume: int) -> None:
        dataset.TriggerTime = [703, 698, 711][volume]
        dataset.AcquisitionTime = f"1200{volume:02d}"

    with pytest.raises(SeriesportError, match="by trigger or by time"):
        Series(classic(tmp_path, 3, change))


def test_what_varies_is_named_where_nothing_explains_it(tmp_path: Path) -> None:
    folder = classic(tmp_path, 3, lambda d, v: setattr(d, "EchoTime", [10, 10, 20][v]))
    with pytest.raises(SeriesportError, match=r"what varies is echo \(2 values\)"):
        Series(folder)


def test_a_single_volume_and_pictures_say_what_they_are(tmp_path: Path) -> None:
    data.ct(tmp_path / "ct", data.identity("volume"), slices=3)
    assert Series(tmp_path / "ct").input_order == "none"
    made = data.ct(tmp_path / "flat", data.identity("flat"), slices=3)
    images.vary(made.paths, lambda d, _: delattr(d, "ImagePositionPatient"))
    flat = Series(tmp_path / "flat")
    assert flat.input_order == "frame"
    assert Series(tmp_path / "flat", flat.input_order).shape == flat.shape


def test_a_geometry_is_taken_from_a_series_whose_order_is_not_told(tmp_path: Path) -> None:
    def change(dataset: Any, volume: int) -> None:
        dataset.EchoTime = [10, 20, 30][volume]
        dataset.FlipAngle = [30, 10, 20][volume]

    folder = classic(tmp_path, 3, change)
    placed = Series(np.zeros((SLICES, 16, 16)), geometry=folder)
    np.testing.assert_allclose(placed.affine_lps, Series(folder, "fa").affine_lps)
