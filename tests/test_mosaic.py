"""Siemens mosaics, taken apart as dcm2niix does it."""

from __future__ import annotations

import gzip
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dcm2niix
import nibabel
import numpy as np
import pydicom
import pytest

import images
from seriesport.errors import SeriesportError
from seriesport.images.image import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

REAL = Path(nibabel.__file__).parent / "nicom" / "tests" / "data"
CSA = (0x0029, 0x1010)


def unpacked(folder: Path, *names: str) -> list[Path]:
    """Real mosaics of 48 slices of 128 x 128, whose pixels are blank: with values in them."""
    folder.mkdir()
    paths = [folder / name for name in names]
    for path in paths:
        path.write_bytes(gzip.decompress((REAL / f"{path.name}.gz").read_bytes()))
    return images.vary(paths, paint)


def paint(dataset: Any, i: int) -> None:
    random = np.random.default_rng(i)
    picture = random.integers(1, 4096, (dataset.Rows, dataset.Columns), dtype=np.uint16)
    picture[6 * 128 :, 6 * 128 :] = 0  # the last tile of 7 x 7
    dataset.PixelData = picture.tobytes()


def nifti(paths: list[Path], out: Path) -> Path:
    out.mkdir()
    command = [dcm2niix.bin, "-z", "n", "-b", "n", "-f", "x", "-o", out, paths[0].parent]
    subprocess.run(list(map(str, command)), check=True, capture_output=True, timeout=60)
    return out / "x.nii"


def items(header: bytes, wanted: str) -> Iterator[tuple[int, int]]:
    """Where the items of a CSA element lie, and how long they are."""
    count, at = struct.unpack_from("<i", header, 8)[0], 16
    for _ in range(count):
        name, _, _, _, number, _ = struct.unpack_from("<64si4siii", header, at)
        at += 84
        for _ in range(number):
            length = struct.unpack_from("<4i", header, at)[1]
            at += 16
            if name.partition(b"\0")[0].decode() == wanted:
                yield at, length
            at += (length + 3) // 4 * 4


def older(header: bytes) -> bytes:
    """A CSA header of the second kind as one of the first."""
    made, at = bytearray(header[8:16]), 16
    first = struct.unpack_from("<i", header, at + 76)[0]
    for _ in range(struct.unpack_from("<i", header, 8)[0]):
        made += header[at : at + 84]
        number = struct.unpack_from("<i", header, at + 76)[0]
        at += 84
        for _ in range(number):
            length = struct.unpack_from("<4i", header, at)[1]
            end = at + 16 + (length + 3) // 4 * 4
            made += struct.pack("<4i", length + first, length, 77, length) + header[at + 16 : end]
            at = end
    return bytes(made)


def rewrite(dataset: Any, name: str, values: list[str]) -> None:
    """Give a CSA element other values, no longer than those that it has."""
    header = bytearray(dataset[CSA].value)
    for (at, length), value in zip(items(bytes(header), name), values, strict=False):
        header[at : at + length] = value.encode()[:length].ljust(length, b"\0")
    dataset[CSA].value = bytes(header)


def test_a_real_mosaic_becomes_a_volume(tmp_path: Path) -> None:
    paths = unpacked(tmp_path / "in", "siemens_dwi_0.dcm")
    image = Image.read(paths)
    assert image.axes == ("slice", "row", "column")
    assert image.array.shape == (48, 128, 128)
    assert image.spacing is not None
    assert image.spacing[0] == 3.0  # Slice Thickness is 2.5
    images.agrees_with_nifti(image, nifti(paths, tmp_path / "out"))


def test_mosaics_with_two_b_values_become_two_volumes(tmp_path: Path) -> None:
    paths = unpacked(tmp_path / "in", "siemens_dwi_1000.dcm", "siemens_dwi_0.dcm")
    image = Image.read(paths)
    assert image.tags == {"b": (0.0, 1000.0)}
    assert image.bvectors is not None
    np.testing.assert_allclose(image.bvectors[1], [0.99997449, 0.00505012, -0.00505012], atol=1e-6)
    assert image.frames is not None
    assert {f.path.name for f in image.frames[1]} == {"siemens_dwi_1000.dcm"}
    images.agrees_with_nifti(image, nifti(paths, tmp_path / "out"))


@pytest.mark.parametrize(
    ("orientation", "normal"),
    [
        (None, ["-0.0000000", "-0.0052363", "-0.9999862"]),
        (["0", "1", "0", "0", "0", "-1"], ["1.00000000", "0.00000000", "0.00000000"]),
        (["0", "1", "0", "0", "0", "-1"], ["-1.0000000", "0.00000000", "0.00000000"]),
        (["1", "0", "0", "0", "0", "-1"], ["0.00000000", "1.00000000", "0.00000000"]),
        (["1", "0", "0", "0", "0", "-1"], ["0.00000000", "-1.0000000", "0.00000000"]),
    ],
)
def test_slices_run_as_the_slice_normal_says(
    tmp_path: Path, orientation: list[str] | None, normal: list[str]
) -> None:
    paths = unpacked(tmp_path / "in", "siemens_dwi_0.dcm")

    def turn(dataset: Any, _: int) -> None:
        if orientation:
            dataset.ImageOrientationPatient = orientation
        rewrite(dataset, "SliceNormalVector", normal)

    image = Image.read(images.vary(paths, turn))
    images.agrees_with_nifti(image, nifti(paths, tmp_path / "out"))


def test_a_mosaic_that_does_not_tell_its_slices_is_refused(tmp_path: Path) -> None:
    paths = unpacked(tmp_path / "in", "siemens_dwi_0.dcm")

    def forget(dataset: Any, _: int) -> None:
        del dataset[CSA]

    with pytest.raises(SeriesportError, match="does not tell its slice normal"):
        Image.read(images.vary(paths, forget))


def test_a_mosaic_that_its_slices_do_not_fill_is_refused() -> None:
    with pytest.raises(SeriesportError, match="cannot be divided"):
        Image.read([REAL / "0.dcm"])  # reduced to 256 x 256: no 7 x 7 tiles


@pytest.mark.parametrize("cut", [4, 60, 150, 3000])
def test_a_broken_siemens_header_is_refused_and_no_crash(tmp_path: Path, cut: int) -> None:
    paths = unpacked(tmp_path / "in", "siemens_dwi_0.dcm")

    def damage(dataset: Any, _: int) -> None:
        header = dataset[CSA].value
        dataset[CSA].value = header[:cut] + b"\xff" * (len(header) - cut)

    with pytest.raises(SeriesportError, match="geometry-irregular"):
        Image.read(images.vary(paths, damage))


def test_a_mosaic_is_still_shown_where_it_cannot_be_taken_apart(tmp_path: Path) -> None:
    from seriesport.formats.source import Source  # noqa: PLC0415

    source = Source([REAL / "0.dcm"], tmp_path)
    assert [(f.rows, f.columns) for f in source.frames] == [(256, 256)]
    assert pydicom.dcmread(REAL / "0.dcm").pixel_array.shape == (256, 256)


def test_a_csa_header_of_the_first_kind_says_the_same(tmp_path: Path) -> None:
    newer = Image.read(unpacked(tmp_path / "newer", "siemens_dwi_1000.dcm"))
    paths = unpacked(tmp_path / "older", "siemens_dwi_1000.dcm")

    def change(dataset: Any, _: int) -> None:
        dataset[CSA].value = older(dataset[CSA].value)

    image = Image.read(images.vary(paths, change))
    images.agrees_with_nifti(image, nifti(paths, tmp_path / "out"))
    np.testing.assert_array_equal(image.array, newer.array)
    np.testing.assert_allclose(image.affine_lps, newer.affine_lps)
    np.testing.assert_allclose(image.bvectors, newer.bvectors)
