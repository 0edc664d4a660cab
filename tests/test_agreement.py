"""Images that scanners made, beside dcm2niix: shape, affine and every voxel."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import dcm2niix
import nibabel
import numpy as np
import pytest

import data
from seriesport.images.image import Image

SERIES = {
    "a CT of GE": [data.WHEEL / "CT_small.dcm"],
    "an MR of Toshiba, JPEG 2000": [data.WHEEL / "MR_small_jp2klossless.dcm"],
    "a stack": sorted((data.WHEEL / "dicomdirtests" / "77654033" / "CT2").glob("*"))[-2:],
    "an oblique image of Siemens": [
        Path(nibabel.__file__).parent / "nicom" / "tests" / "data" / "decimal_rescale.dcm"
    ],
}


def turned(image: Image, affine: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Our volume along a NIfTI's axes, after its affine has been found to be ours, turned."""
    assert image.affine_ras is not None
    volume = image.array if "slice" in image.axes else image.array[None]
    to_ours = np.linalg.inv(image.affine_ras) @ affine
    order = [int(np.argmax(np.abs(to_ours[:3, i]))) for i in range(3)]
    exact = np.zeros((3, 3))
    exact[order, range(3)] = np.sign(to_ours[order, range(3)])
    np.testing.assert_allclose(to_ours[:3, :3], exact, atol=1e-4)
    first = [0 if exact[a, order.index(a)] > 0 else volume.shape[a] - 1 for a in range(3)]
    np.testing.assert_allclose(to_ours[:3, 3], first, atol=2e-3)
    flips = tuple(slice(None, None, int(exact[a, i])) for i, a in enumerate(order))
    return volume.transpose(order)[flips]


@pytest.mark.parametrize("name", SERIES)
def test_real_images_are_what_dcm2niix_makes_of_them(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    for i, path in enumerate(SERIES[name]):
        (tmp_path / "in" / f"{i}.dcm").symlink_to(path)
    command = [dcm2niix.bin, "-z", "n", "-b", "n", "-f", "x", "-o"]
    subprocess.run(
        [*command, tmp_path / "out", tmp_path / "in"], check=True, capture_output=True, timeout=60
    )
    (made,) = (tmp_path / "out").glob("*.nii")
    nifti = nibabel.load(made)
    image = Image.read(SERIES[name])
    np.testing.assert_allclose(
        turned(image, nifti.affine), np.asarray(nifti.dataobj), rtol=2e-6, atol=1e-4
    )
