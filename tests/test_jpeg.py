"""JPEG and JPEG-LS: every value is the one that DCMTK's decoder gives."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames

import data
from peers.process import program
from seriesport import Series
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (61, 83)
KINDS = {  # bits allocated, bits stored, signed, samples, frames
    "8 bits": (8, 8, False, 1, 1),
    "6 bits": (8, 6, False, 1, 1),
    "8 of 16 bits": (16, 8, False, 1, 1),
    "12 bits": (16, 12, False, 1, 1),
    "12 bits signed": (16, 12, True, 1, 1),
    "16 bits": (16, 16, False, 1, 1),
    "16 bits signed": (16, 16, True, 1, 1),
    "RGB": (8, 8, False, 3, 1),
    "RGB of 16 bits": (16, 16, False, 3, 1),
    "12 bits in frames": (16, 12, False, 1, 3),
    "RGB in frames": (8, 8, False, 3, 3),
}
LOSSLESS = {
    "selection value 1": ("dcmcjpeg", "+e1"),
    "process 14": ("dcmcjpeg", "+el", "+sv", "7"),
    "JPEG-LS": ("dcmcjpls", "+el"),
}
LOSSY = {
    "baseline": ("8 bits", "dcmcjpeg", "+eb"),
    "baseline, 4:2:2": ("RGB", "dcmcjpeg", "+eb", "+s2"),
    "baseline, 4:4:4": ("RGB in frames", "dcmcjpeg", "+eb", "+s4"),
    "baseline, RGB": ("RGB", "dcmcjpeg", "+eb", "+cr"),
    "extended, 8 bits": ("8 bits", "dcmcjpeg", "+ee"),
    "extended, 12 bits": ("12 bits in frames", "dcmcjpeg", "+ee"),
    "point transform": ("12 bits", "dcmcjpeg", "+el", "+pt", "2"),
    "near-lossless": ("12 bits", "dcmcjpls", "+en"),
    "near-lossless, 6 bits": ("6 bits", "dcmcjpls", "+en"),
    "near-lossless, RGB": ("RGB", "dcmcjpls", "+en"),
}


def native(folder: Path, kind: str) -> Path:
    """Write an image of values that use all bits."""
    allocated, stored, signed, samples, frames = KINDS[kind]
    shape = (frames, *SHAPE, samples)
    waves = sum(np.sin(i / (7 + 2 * n)) for n, i in enumerate(np.indices(shape)))
    noise = np.random.default_rng(1).normal(0, 0.02, shape)
    level = np.clip((waves + 4) / 8 + noise, 0, 1) * ((1 << stored) - 1)
    values = np.rint(level) - (1 << stored - 1 if signed else 0)
    instance = pydicom.dcmread(data.WHEEL / "CT_small.dcm")
    for name in ("PixelPaddingValue", "SmallestImagePixelValue", "LargestImagePixelValue"):
        instance.pop(name, None)
    instance.SOPClassUID = instance.file_meta.MediaStorageSOPClassUID = (
        pydicom.uid.SecondaryCaptureImageStorage
    )
    instance.RescaleIntercept = "0"
    instance.Rows, instance.Columns = SHAPE
    instance.BitsAllocated, instance.BitsStored, instance.HighBit = allocated, stored, stored - 1
    instance.PixelRepresentation, instance.SamplesPerPixel = int(signed), samples
    if samples == 3:
        instance.PhotometricInterpretation, instance.PlanarConfiguration = "RGB", 0
    if frames > 1:
        instance.NumberOfFrames = frames
    content = values.astype(f"<{'i' if signed else 'u'}{allocated // 8}").tobytes()
    instance.PixelData = content + b"\0" * (len(content) % 2)
    instance.save_as(folder / "native.dcm")
    return folder / "native.dcm"


def run(tool: str, *arguments: str | Path) -> None:
    subprocess.run([program(tool), *map(str, arguments)], check=True, timeout=60)


def values(path: Path) -> np.ndarray:
    return np.asarray(Series(path))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_lossless_has_the_values_that_were_encoded(tmp_path: Path, kind: str) -> None:
    original = native(tmp_path, kind)
    expected = values(original)
    for way, (tool, *options) in LOSSLESS.items():
        run(tool, *options, original, tmp_path / "jpeg.dcm")
        np.testing.assert_array_equal(values(tmp_path / "jpeg.dcm"), expected, way)


@pytest.mark.parametrize("way", LOSSY)
def test_what_is_lossy_has_the_values_of_dcmtk(tmp_path: Path, way: str) -> None:
    kind, tool, *options = LOSSY[way]
    original, coded, decoded = native(tmp_path, kind), tmp_path / "jpeg.dcm", tmp_path / "raw.dcm"
    run(tool, *options, original, coded)
    run(tool.replace("mcj", "mdj"), coded, decoded)
    np.testing.assert_array_equal(values(coded), values(decoded))


def test_a_jpeg_that_breaks_a_rule_in_passing_is_read(tmp_path: Path) -> None:
    coded = data.WHEEL / "JPEG-lossy.dcm"  # its scan ends at a spectral coefficient of 0
    run("dcmdjpeg", coded, tmp_path / "raw.dcm")
    np.testing.assert_array_equal(values(coded), values(tmp_path / "raw.dcm"))


@pytest.mark.parametrize(
    ("keyword", "value"), [("Rows", 60), ("Columns", 84), ("BitsAllocated", 8)]
)
def test_a_picture_that_is_not_the_headers_is_refused(
    tmp_path: Path, keyword: str, value: int
) -> None:
    run("dcmcjpeg", "+e1", native(tmp_path, "12 bits"), tmp_path / "jpeg.dcm")
    instance = pydicom.dcmread(tmp_path / "jpeg.dcm")
    setattr(instance, keyword, value)
    instance.save_as(tmp_path / "jpeg.dcm")
    with pytest.raises(SeriesportError, match="conversion-failed"):
        Series(tmp_path / "jpeg.dcm")


@pytest.mark.parametrize("way", [("dcmcjpeg", "+eb"), ("dcmcjpeg", "+e1"), ("dcmcjpls", "+el")])
def test_a_stream_that_is_cut_short_is_refused(tmp_path: Path, way: tuple[str, str]) -> None:
    run(*way, native(tmp_path, "8 bits"), tmp_path / "jpeg.dcm")
    instance = pydicom.dcmread(tmp_path / "jpeg.dcm")
    stream = next(generate_frames(instance.PixelData, number_of_frames=1))
    instance.PixelData = encapsulate([stream[: len(stream) * 4 // 5]])
    instance.save_as(tmp_path / "jpeg.dcm")
    with pytest.raises(SeriesportError, match="conversion-failed"):
        Series(tmp_path / "jpeg.dcm")
