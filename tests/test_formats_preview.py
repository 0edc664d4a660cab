from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import data
import images
from seriesport.formats.preview import EDGE, to_grey
from seriesport.images.frames import Window
from seriesport.workflow.conversion import convert

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def make(files: Sequence[Path], tmp_path: Path) -> Image.Image:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    (output,) = convert(files, "k3y", tmp_path / "out", ["preview"], scratch).outputs
    with Image.open(tmp_path / "out" / output.name) as picture:
        picture.load()
    assert max(picture.size) <= EDGE
    return picture


def grey(picture: Image.Image) -> np.ndarray[Any, Any]:
    return np.asarray(picture.convert("L")).astype(int)


def test_the_window_of_the_header_decides_the_grey(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("window"), slices=1)

    def ramp(dataset: Any, _: int) -> None:
        values = np.tile(np.arange(-320, 320, 10, dtype="<i2"), (64, 1))
        dataset.PixelData = values.tobytes()
        dataset.WindowCenter, dataset.WindowWidth = "0", "200"

    picture = grey(make(images.vary(made.paths, ramp), tmp_path))
    row = picture[picture.shape[0] // 2]
    scale = len(row) / 64
    at = {v: row[int(((v + 320) / 10 + 0.5) * scale)] for v in (-200, -50, 0, 50, 200)}
    assert (at[-200], at[200]) == (0, 255)
    assert at[-50] == pytest.approx(64, abs=6)
    assert at[0] == pytest.approx(128, abs=6)
    assert at[50] == pytest.approx(191, abs=6)


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("inverted"), slices=1)
    normal = grey(make(made.paths, tmp_path))

    def invert(dataset: Any, _: int) -> None:
        dataset.PhotometricInterpretation = "MONOCHROME1"

    inverted = grey(make(images.vary(made.paths, invert), tmp_path))
    assert np.abs(inverted + normal - 255).max() <= 1


def test_window_functions_follow_the_standard() -> None:
    values = np.array([-1000.0, 40.0, 139.5, 1000.0])
    linear = to_grey(values, Window(40, 200), (-1000, 1000), "MONOCHROME2")
    assert linear.tolist() == [0, 128, 255, 255]
    exact = to_grey(values, Window(40, 200, "LINEAR_EXACT"), (-1000, 1000), "MONOCHROME2")
    assert exact.tolist() == [0, 128, 254, 255]
    sigmoid = to_grey(values, Window(40, 200, "SIGMOID"), (-1000, 1000), "MONOCHROME2")
    assert sigmoid.tolist() == [0, 128, 224, 255]
    table = Window(0, 0, "LUT", (40, (0, 255, 510)))
    looked_up = to_grey(np.array([0, 40, 41, 99]), table, (0, 99), "MONOCHROME2")
    assert looked_up.tolist() == [0, 0, 128, 255]


def test_a_window_that_shows_nothing_gives_way_to_percentiles() -> None:
    values = np.linspace(0, 1, 101)
    shown = to_grey(values, Window(5000, 100), (0.0, 1.0), "MONOCHROME2")
    assert (shown.min(), shown.max()) == (0, 255)


def test_a_volume_is_shown_in_three_planes_with_the_right_of_the_patient_on_the_left(
    tmp_path: Path,
) -> None:
    made = data.ct(tmp_path / "in", data.identity("planes"), slices=32, spacing=10)

    def mark(dataset: Any, i: int) -> None:
        values = np.full((64, 64), -1000, "<i2")
        values[8:56, 4:60] = 40  # the body
        values[28:36, 8:16] = 1000  # a bone on the patient's right
        if i > 24:
            values[8:56, 4:60] = 1000  # the head end
        dataset.PixelData = values.tobytes()

    picture = grey(make(images.vary(made.paths, mark), tmp_path))
    mm = (EDGE - 4) / (360 + 360)  # 360 x 360 mm in the plane, 320 mm high
    width, height = round(360 * mm), round(320 * mm)
    coronal = picture[:height, :width]
    axial = picture[height + 4 :, :width]
    sagittal = picture[:height, width + 4 :]
    assert coronal[height // 10].mean() > 200 > coronal[height // 2].mean()
    assert axial[width // 2, round(12 * 5.625 * mm)] > 250
    assert 100 < axial[width // 2, round(50 * 5.625 * mm)] < 150
    assert sagittal[height // 10, width // 2] > 250


@pytest.mark.parametrize("missing", [False, True])
def test_a_coronal_volume_stands_upright(tmp_path: Path, missing: bool) -> None:
    made = data.ct(tmp_path / "in", data.identity("coronal"), slices=32)

    def mark(dataset: Any, i: int) -> None:
        images.place(dataset, i, ["1", "0", "0", "0", "0", "-1"], 5.625)
        values = np.full((64, 64), -1000, "<i2")
        values[:16, 8:56] = 1000  # the head end: the first rows
        dataset.PixelData = values.tobytes()

    files = images.vary(made.paths, mark)
    picture = grey(make(files[:9] + files[10:] if missing else files, tmp_path))
    if missing:
        assert picture.shape == (EDGE, EDGE), "an irregular stack is a sheet of 4 x 4"
    else:
        assert picture[20, 190] > 250
        assert picture[300, 190] == 0


def test_volumes_over_time_are_a_sheet_of_their_middle_slices(tmp_path: Path) -> None:
    made = data.mr(tmp_path / "in", data.identity("sheet"), times=4, slices=3)

    def level(dataset: Any, i: int) -> None:
        bright = 100 * (i // 3 + 1) if i % 3 == 1 else 0
        dataset.PixelData = np.full((64, 64), bright, "<i2").tobytes()
        dataset.WindowCenter, dataset.WindowWidth = "255.5", "511"

    picture = grey(make(images.vary(made.paths, level), tmp_path))
    half = picture.shape[0] // 2
    middle = [picture[y, x] for y in (half // 2, half + half // 2) for x in (half // 2, half + 9)]
    assert middle == pytest.approx([50, 100, 150, 200], abs=2)


def test_pixels_that_are_not_square_keep_their_aspect_ratio(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("aspect"), slices=1)

    def stretch(dataset: Any, _: int) -> None:
        dataset.PixelSpacing = ["2", "1"]

    picture = make(images.vary(made.paths, stretch), tmp_path)
    assert picture.height == 2 * picture.width


def test_localizers_of_different_planes_are_a_sheet(tmp_path: Path) -> None:
    files = [
        f
        for f in sorted((data.WHEEL / "dicomdirtests" / "98892003" / "MR700").iterdir())
        if f.is_file()
    ]
    assert make(files, tmp_path).mode == "L"


def test_colour_stays_colour(tmp_path: Path) -> None:
    picture = make([data.WHEEL / "examples_rgb_color.dcm"], tmp_path)
    assert (picture.mode, picture.size) == ("RGB", (768, 576))
    assert make([data.WHEEL / "examples_ybr_color.dcm"], tmp_path).mode == "RGB"


def test_the_same_series_gives_the_same_bytes_without_time_or_text(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("png"), slices=20, spacing=9)
    make(made.paths, tmp_path)
    first = (tmp_path / "out" / "k3y.png").read_bytes()
    make(made.paths, tmp_path)
    assert (tmp_path / "out" / "k3y.png").read_bytes() == first
    for chunk in (b"tIME", b"tEXt", b"iTXt", b"zTXt", b"eXIf"):
        assert chunk not in first
