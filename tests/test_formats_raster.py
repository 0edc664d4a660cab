from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image as Pillow

import arrays
from seriesport.errors import SeriesportError
from seriesport.formats import read, write
from seriesport.images.window import Window

if TYPE_CHECKING:
    from pathlib import Path

RANDOM = np.random.default_rng(3)


def refusal(paths: Any, **opts: Any) -> SeriesportError:
    with pytest.raises(SeriesportError) as caught:
        read(paths, opts=opts)
    return caught.value


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("slices", [1, 3])
@pytest.mark.parametrize("dtype", ["u1", "u2", "rgb"])
def test_pictures_come_back_as_they_are(
    tmp_path: Path, suffix: str, slices: int, dtype: str
) -> None:
    colour = dtype == "rgb"
    shape = [*([slices] if slices > 1 else []), 5, 7, *([3] if colour else [])]
    values = RANDOM.integers(0, 256 if colour or dtype == "u1" else 65536, shape)
    values = values.astype("u1" if colour else dtype)
    made = arrays.image(values, colour=colour)
    files = write(made, tmp_path / f"x.{suffix}")
    pages = 1 if suffix == "tif" else slices
    names = ["x"] if pages == 1 else [f"x_{i:04d}" for i in range(1, pages + 1)]
    assert [path.name for path in files] == [f"{name}.{suffix}" for name in names]
    found = read(files)
    assert (found.axes, found.array.dtype) == (made.axes, made.array.dtype)
    np.testing.assert_array_equal(found.array, values)
    again = write(made, tmp_path / "again" / f"x.{suffix}")
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in files]


@pytest.mark.parametrize("dtype", ["i2", "i4", "f4"])
def test_a_tiff_holds_signed_and_floating_values_when_asked(tmp_path: Path, dtype: str) -> None:
    values = RANDOM.normal(scale=900, size=(2, 5, 7)).astype(dtype)
    (path,) = write(arrays.image(values), tmp_path / "x.tif", opts={"values": "stored"})
    np.testing.assert_array_equal(read(path).array, values)


def test_a_jpeg_is_nearly_the_same(tmp_path: Path) -> None:
    ramp = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    found = read(write(arrays.image(ramp), tmp_path / "x.jpg"))
    assert found.array.dtype == np.uint8
    assert np.abs(found.array.astype(int) - ramp).max() < 8


def test_values_are_shown_by_the_window(tmp_path: Path) -> None:
    values = np.array([[-1000, 0], [40, 1000]], np.int16)
    made = arrays.image(values, window=Window(40, 80))
    shown = read(write(made, tmp_path / "x.png")).array
    assert shown.dtype == np.uint8
    assert shown[0].tolist() == [0, 0]
    assert (abs(int(shown[1, 0]) - 128) < 3, int(shown[1, 1])) == (True, 255)
    with pytest.raises(SeriesportError, match="format-unfit"):
        write(made, tmp_path / "x.png", opts={"values": "stored"})


def test_palettes_and_other_colours_become_rgb(tmp_path: Path) -> None:
    colours = Pillow.fromarray(RANDOM.integers(0, 255, (4, 4, 3), np.uint8))
    for mode, name in (("P", "x.png"), ("CMYK", "x.jpg"), ("YCbCr", "x.tif")):
        picture = colours.quantize(16) if mode == "P" else colours.convert(mode)
        picture.save(tmp_path / name)
        found = read(tmp_path / name)
        assert (found.axes, found.photometric) == (("row", "column", "rgb"), "RGB")
        if mode == "P":
            np.testing.assert_array_equal(found.array, np.asarray(picture.convert("RGB")))


def test_what_is_transparent_shows_white(tmp_path: Path) -> None:
    picture = Pillow.new("RGBA", (2, 1), (255, 0, 0, 255))
    picture.putpixel((1, 0), (0, 0, 0, 0))
    picture.save(tmp_path / "x.png")
    assert read(tmp_path / "x.png").array.tolist() == [[[255, 0, 0], [255, 255, 255]]]
    Pillow.new("LA", (1, 1), (0, 0)).save(tmp_path / "x.png")
    assert read(tmp_path / "x.png").array.tolist() == [[255]]


def test_black_and_white_is_0_and_255(tmp_path: Path) -> None:
    Pillow.fromarray(np.array([[True, False]])).save(tmp_path / "x.png")
    assert read(tmp_path / "x.png").array.tolist() == [[255, 0]]


@pytest.mark.parametrize("compression", [None, "tiff_deflate"])
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, [[1, 2, 3], [4, 5, 6]]),
        (3, [[6, 5, 4], [3, 2, 1]]),
        (5, [[1, 4], [2, 5], [3, 6]]),
        (6, [[4, 1], [5, 2], [6, 3]]),
        (8, [[3, 6], [2, 5], [1, 4]]),
    ],
)
def test_a_photograph_stands_upright(
    tmp_path: Path, orientation: int, upright: list[list[int]], compression: str | None
) -> None:
    picture = Pillow.fromarray(np.array([[1, 2, 3], [4, 5, 6]], np.uint8))
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "x.tif", exif=exif, compression=compression)
    exif[0x0112] = orientation
    picture.save(tmp_path / "x.png", exif=exif)
    for name in ("x.tif", "x.png"):
        assert read(tmp_path / name).array.tolist() == upright


def test_pictures_that_differ_are_refused(tmp_path: Path) -> None:
    for name, size in (("a.png", (2, 3)), ("b.png", (3, 2))):
        Pillow.new("L", size).save(tmp_path / name)
    assert refusal([tmp_path / "a.png", tmp_path / "b.png"]).code == "geometry-irregular"


def test_colours_of_16_bits_are_refused(tmp_path: Path) -> None:
    Pillow.new("RGB", (2, 2)).save(tmp_path / "x.png")
    raw = bytearray((tmp_path / "x.png").read_bytes())
    raw[24] = 16
    (tmp_path / "x.png").write_bytes(raw)
    # Pillow checks the CRC of the header chunk.
    import zlib  # noqa: PLC0415

    raw[29:33] = zlib.crc32(raw[12:29]).to_bytes(4, "big")
    (tmp_path / "x.png").write_bytes(raw)
    assert refusal(tmp_path / "x.png").code == "image-unsupported"


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_a_file_that_is_cut_is_refused(tmp_path: Path, suffix: str) -> None:
    (path,) = write(
        arrays.image(RANDOM.integers(0, 255, (64, 64), np.uint8)), tmp_path / f"x.{suffix}"
    )
    whole = path.read_bytes()
    for share in (0.05, 0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        assert refusal(path).code == "image-invalid"


def test_a_file_that_is_missing_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(SeriesportError, match="file-unreadable"):
        read(tmp_path / "x.png", "png")
