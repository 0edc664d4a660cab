"""b-values and gradient directions, compared with those that dcm2niix writes (FSL's convention)."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import dcm2niix
import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

import data
import images
from seriesport import Series
from seriesport.images.image import Image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

B = (0.0, 1000.0, 1000.0, 2000.0)
DIRECTIONS = ((0.0, 0.0, 0.0), (0.6, 0.0, 0.8), (0.0, -0.28, 0.96), (0.48, 0.6, 0.64))


def standard(dataset: Any, b: float, direction: tuple[float, ...]) -> None:
    dataset.Manufacturer = "Hitachi Medical Corporation"
    dataset.DiffusionBValue = b
    if b:
        dataset.DiffusionGradientOrientation = list(direction)


def canon(dataset: Any, b: float, direction: tuple[float, ...]) -> None:
    standard(dataset, b, direction)
    dataset.Manufacturer = "CANON_MEC"


def siemens(dataset: Any, b: float, direction: tuple[float, ...]) -> None:
    dataset.Manufacturer = "SIEMENS"
    block = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", str(int(b)))
    if b:
        block.add_new(0x0E, "FD", list(direction))


def philips(dataset: Any, b: float, direction: tuple[float, ...]) -> None:
    dataset.Manufacturer = "Philips Medical Systems"
    dataset.private_block(0x2001, "Philips Imaging DD 001", create=True).add_new(0x03, "FL", b)
    block = dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    for element, value in zip((0xB0, 0xB1, 0xB2), direction, strict=True):
        block.add_new(element, "FL", value)


def ge(dataset: Any, b: float, direction: tuple[float, ...]) -> None:
    dataset.Manufacturer = "GE MEDICAL SYSTEMS"
    dataset.PatientPosition = "HFS"
    shells = int(b) + 1_000_000_000 if b else 0
    block = dataset.private_block(0x0043, "GEMS_PARM_01", create=True)
    block.add_new(0x39, "IS", [shells, 8, 0, 0])
    block = dataset.private_block(0x0019, "GEMS_ACQU_01", create=True)
    for element, value in zip((0xBB, 0xBC, 0xBD), direction, strict=True):
        block.add_new(element, "DS", f"{value:.6f}")
    block.add_new(0xE0, "DS", "3")  # number of directions


def toshiba(dataset: Any, b: float, direction: tuple[float, ...]) -> None:
    """Nothing at b = 0."""
    if b:
        standard(dataset, b, direction)
    dataset.Manufacturer = "TOSHIBA_MEC"


def canon_comments(dataset: Any, b: float, direction: tuple[float, ...]) -> None:
    """Nothing at b = 0; directions in comments."""
    dataset.Manufacturer = "CANON_MEC"
    if b:
        dataset.DiffusionBValue = b
        x, y, z = direction
        dataset.ImageComments = f"b={b:.0f}({x:.3f},{y:.3f},{z:.3f})"


def united(dataset: Any, b: float, direction: tuple[float, ...]) -> None:
    standard(dataset, b, direction[::-1])
    dataset.Manufacturer = "UIH"
    block = dataset.private_block(0x0065, "Image Private Header", create=True)
    block.add_new(0x09, "FD", b)
    block.add_new(0x37, "FD", list(direction))


def nameless(vendor: Callable[..., None]) -> Callable[..., None]:
    """The same without the private creators, as some tools leave it."""

    def change(dataset: Any, b: float, direction: tuple[float, ...]) -> None:
        vendor(dataset, b, direction)
        for element in list(dataset):
            if element.tag.is_private_creator:
                del dataset[element.tag]

    return change


PLANES = {
    "axial": ["1", "0", "0", "0", "1", "0"],
    "tilted axial": ["0.96", "0", "-0.28", "0", "1", "0"],
    "feet first": ["-1", "0", "0", "0", "1", "0"],
    "sagittal": ["0", "1", "0", "0", "0", "-1"],
    "sagittal from the right": ["0", "-1", "0", "0", "0", "-1"],
    "coronal": images.OBLIQUE,
    "coronal from behind": ["-1", "0", "0", "0", "0", "-1"],
}


def series(
    folder: Path,
    vendor: Callable[[Any, float, tuple[float, ...]], None],
    phase: str = "COL",
    plane: str = "coronal",
) -> list[Path]:
    made = data.mr(folder, data.identity("dwi"), times=4, slices=3)

    def change(dataset: Any, i: int) -> None:
        volume, place = divmod(i, 3)
        images.place(dataset, place, PLANES[plane], 3.0)
        del dataset.TriggerTime, dataset.TemporalPositionIdentifier
        dataset.ScanningSequence, dataset.SequenceName = "EP", "ep_b"
        dataset.InPlanePhaseEncodingDirection = phase
        vendor(dataset, B[volume], DIRECTIONS[volume])

    return images.vary(made.paths, change)


def told_by_dcm2niix(folder: Path, out: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """b-values, and directions turned from FSL's voxel axes to LPS."""
    out.mkdir()
    command = [dcm2niix.bin, "-z", "n", "-f", "x", "-o", str(out), str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    affine = nibabel.load(out / "x.nii").affine[:3, :3]
    axes = affine / np.linalg.norm(affine, axis=0)
    vectors = np.loadtxt(out / "x.bvec")
    if np.linalg.det(axes) > 0:
        vectors[0] *= -1
    return np.loadtxt(out / "x.bval"), (np.diag([-1, -1, 1]) @ axes @ vectors).T


def agrees_with_dcm2niix(paths: list[Path], out: Path) -> None:
    image = Image.read(paths)
    bvalues, vectors = told_by_dcm2niix(paths[0].parent, out)
    assert image.bvalues is not None
    assert image.bvectors is not None
    np.testing.assert_allclose(image.bvalues, bvalues)
    np.testing.assert_allclose(image.bvectors, vectors, atol=1e-5)


@pytest.mark.parametrize(
    "vendor",
    [standard, siemens, philips, toshiba, *map(nameless, (siemens, philips, ge, united))],
)
def test_each_vendors_diffusion_is_read_as_dcm2niix_reads_it(
    tmp_path: Path, vendor: Callable[..., None]
) -> None:
    agrees_with_dcm2niix(series(tmp_path / "in", vendor), tmp_path / "out")


@pytest.mark.parametrize("vendor", [ge, canon, canon_comments, united])
@pytest.mark.parametrize("phase", ["COL", "ROW"])
@pytest.mark.parametrize("plane", PLANES)
def test_directions_along_the_images_own_axes_are_turned_as_dcm2niix_turns_them(
    tmp_path: Path, vendor: Callable[..., None], phase: str, plane: str
) -> None:
    agrees_with_dcm2niix(series(tmp_path / "in", vendor, phase, plane), tmp_path / "out")


@pytest.mark.parametrize("maker", ["CANON_MEC", "GE MEDICAL SYSTEMS"])
def test_directions_of_enhanced_instances_are_the_patients(tmp_path: Path, maker: str) -> None:
    made = data.enhanced(tmp_path / "in", data.identity("enhanced dwi"), frames=12)

    def group(item: Dataset, i: int) -> None:
        volume, place = divmod(i, 3)
        item.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 3.0 * place]
        item.FrameContentSequence[0].TemporalPositionIndex = volume + 1
        images.macro(item, "MRFOVGeometrySequence", InPlanePhaseEncodingDirection="COLUMN")
        kind = "DIRECTIONAL" if volume else "NONE"
        told = {"DiffusionBValue": B[volume], "DiffusionDirectionality": kind}
        images.macro(item, "MRDiffusionSequence", **told)
        if volume:
            direction = Dataset()
            direction.DiffusionGradientOrientation = list(DIRECTIONS[volume])
            item.MRDiffusionSequence[0].DiffusionGradientDirectionSequence = [direction]

    def change(dataset: Any, _: int) -> None:
        dataset.Manufacturer, dataset.PatientPosition = maker, "HFS"
        images.frame_groups(dataset, group)

    paths = images.vary(made.paths, change)
    image = Image.read(paths)
    np.testing.assert_allclose(image.bvectors, DIRECTIONS)
    if maker.startswith("CANON"):  # dcm2niix writes no directions of this GE
        agrees_with_dcm2niix(paths, tmp_path / "out")


def test_volumes_are_sorted_by_b_value_and_direction_when_asked(tmp_path: Path) -> None:
    paths = series(tmp_path, siemens)[::-1]
    image = Image.read(paths, "dti")
    assert image.axes == ("dti", "slice", "row", "column")
    assert [b for b, _ in image.tags["dti"]] == [0, 1000, 1000, 2000]
    by_vector = Image.read(paths, "bvector")
    assert by_vector.tags["bvector"] == tuple(sorted(by_vector.tags["bvector"]))
    assert by_vector.bvectors is not None
    np.testing.assert_allclose(by_vector.bvectors, by_vector.tags["bvector"])


def test_elements_without_creator_are_read_where_the_vr_is_not_written(tmp_path: Path) -> None:
    paths = series(tmp_path / "in", nameless(siemens))
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        dataset.save_as(path, implicit_vr=True, little_endian=True)
    agrees_with_dcm2niix(paths, tmp_path / "out")


def test_another_makers_private_block_is_not_taken_for_the_vendors(tmp_path: Path) -> None:
    def change(dataset: Any, b: float, direction: tuple[float, ...]) -> None:
        siemens(dataset, b, direction)
        dataset[0x0019, 0x0010].value = "SOMEBODY ELSE"

    assert Image.read(series(tmp_path, change)).bvalues is None


def test_trace_images_are_told_apart_by_their_b_value(tmp_path: Path) -> None:
    def trace(dataset: Any, b: float, _: tuple[float, ...]) -> None:
        siemens(dataset, b * (1 + dataset.AcquisitionNumber), (0.0, 0.0, 0.0))
        dataset.ImageType = ["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW", "ND"]
        if b:
            del dataset[0x0019, 0x100E]

    paths = series(tmp_path / "in", trace)
    image = Image.read(paths, "dti")
    assert [b for b, _ in image.tags["dti"]] == [0, 3000, 4000, 10000]
    assert {vector for _, vector in image.tags["dti"]} == {(0.0, 0.0, 0.0)}
    assert image.bvalues is not None
    np.testing.assert_allclose(
        image.bvalues, told_by_dcm2niix(tmp_path / "in", tmp_path / "out")[0]
    )


def test_a_map_beside_toshibas_diffusion_images_is_not_one_at_b_0(tmp_path: Path) -> None:
    def change(dataset: Any, b: float, direction: tuple[float, ...]) -> None:
        toshiba(dataset, b, direction)
        if not b:
            dataset.ImageType = ["DERIVED", "SECONDARY", "ADC"]

    assert Image.read(series(tmp_path, change)).bvalues is None


def test_a_series_without_diffusion_has_no_b_values(tmp_path: Path) -> None:
    made = data.mr(tmp_path, data.identity("none"), times=2, slices=2)
    paths = images.vary(made.paths, lambda d, _: ge(d, 0, (0, 0, 0)))
    image = Image.read(paths)
    assert (image.bvalues, image.bvectors) == (None, None)


@pytest.mark.parametrize("maker", ["GE MEDICAL SYSTEMS", "CANON_MEC", "UIH", "Philips"])
@pytest.mark.parametrize("phase", ["COLUMN", "ROW"])
def test_directions_of_frames_that_are_written_one_by_one_stay_what_they_are(
    tmp_path: Path, maker: str, phase: str
) -> None:
    made = data.enhanced(tmp_path / "in", data.identity("apart"), frames=8, size=16)

    def group(item: Dataset, i: int) -> None:
        volume, place = divmod(i, 2)
        item.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 3.0 * place]
        item.FrameContentSequence[0].TemporalPositionIndex = volume + 1
        images.macro(item, "MRFOVGeometrySequence", InPlanePhaseEncodingDirection=phase)
        images.macro(item, "MRDiffusionSequence", DiffusionBValue=B[volume])
        if volume:
            direction = Dataset()
            direction.DiffusionGradientOrientation = list(DIRECTIONS[volume])
            item.MRDiffusionSequence[0].DiffusionGradientDirectionSequence = [direction]

    def change(dataset: Any, _: int) -> None:
        dataset.Manufacturer = maker
        images.frame_groups(dataset, group)

    images.vary(made.paths, change)
    series = Series(tmp_path / "in")
    np.testing.assert_allclose(series.bvectors, DIRECTIONS, atol=1e-6)
    series.write(tmp_path / "out")
    np.testing.assert_allclose(Series(tmp_path / "out").bvectors, DIRECTIONS, atol=1e-6)
