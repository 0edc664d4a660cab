from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import arrays
from seriesport.errors import SeriesportError
from seriesport.formats import FORMATS, detect, read, write

if TYPE_CHECKING:
    from seriesport.images.image import Image

VARIANTS = [
    ("x.nii", {}),
    ("x.nii.gz", {}),
    ("x.hdr", {}),
    ("x.mha", {}),
    ("x.mha", {"compress": False}),
    ("x.mhd", {}),
    ("x.mhd", {"compress": False}),
    ("x.npz", {}),
    ("x.mat", {}),
]
CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large]


def agree(made: Image, found: Image) -> None:
    assert found.axes == made.axes
    assert dict(found.tags) == dict(made.tags)
    assert found.array.dtype == made.array.dtype
    np.testing.assert_array_equal(found.array, made.array)
    if made.affine_lps is None:
        assert found.affine_lps is None
    else:
        assert found.affine_lps is not None
        np.testing.assert_allclose(found.affine_lps, made.affine_lps, rtol=1e-6, atol=1e-4)
    assert found.colour == made.colour


@pytest.mark.parametrize(("name", "opts"), VARIANTS)
@given(made=arrays.images())
@settings(max_examples=15, deadline=None, suppress_health_check=CHECKS)
def test_what_is_written_is_read_again(name: str, opts: dict[str, Any], made: Image) -> None:
    with TemporaryDirectory() as folder:
        files = write(made, Path(folder) / name, opts=opts)
        known = next(f.name for f in FORMATS.values() if name.endswith(f.suffixes))
        assert detect(files) == known
        agree(made, read(files))
        first = [path.read_bytes() for path in files]
        again = write(made, Path(folder, "again") / name, opts=opts)
        assert [path.name for path in again] == [path.name for path in files]
        assert [path.read_bytes() for path in again] == first


@pytest.mark.parametrize(("name", "opts"), VARIANTS)
def test_b_values_and_directions_are_kept(name: str, opts: dict[str, Any], tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    vectors = random.normal(size=(2, 3, 3))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    vectors[0, 0] = 0
    made = arrays.image(
        random.integers(0, 99, (2, 3, 4, 5, 6)),
        {"time": (0.0, 2.0), "b": (0.0, 500.0, 1000.0)},
        arrays.affine(),
        bvalues=np.array([[0.0, 500, 1000], [5.0, 505, 1005]]),
        bvectors=vectors,
    )
    found = read(write(made, tmp_path / name, opts=opts))
    agree(made, found)
    np.testing.assert_allclose(found.bvalues, made.bvalues)
    np.testing.assert_allclose(found.bvectors, made.bvectors, atol=1e-8)


@pytest.mark.parametrize(("name", "opts"), VARIANTS)
def test_arrays_that_are_not_contiguous_are_written_as_they_look(
    name: str, opts: dict[str, Any], tmp_path: Path
) -> None:
    array = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(5, 4, 3, 2).T[:, ::-1]
    made = arrays.image(array, {"time": (0.0, 1.0)}, arrays.affine())
    agree(made, read(write(made, tmp_path / name, opts=opts)))


def test_truth_values_and_half_floats_become_the_next_type(tmp_path: Path) -> None:
    for dtype, becomes in ((np.bool_, np.uint8), (np.float16, np.float32)):
        made = arrays.image(np.eye(4, dtype=dtype))
        for name, opts in VARIANTS:
            found = read(write(made, tmp_path / name, opts=opts))
            assert found.array.dtype == becomes
            np.testing.assert_array_equal(found.array, np.eye(4))


def test_the_content_decides_and_not_the_suffix(tmp_path: Path) -> None:
    made = arrays.image(np.eye(4, dtype=np.uint8))
    (path,) = write(made, tmp_path / "x.mat")
    assert detect(path.rename(tmp_path / "x.nii")) == "mat"
    agree(made, read(tmp_path / "x.nii"))


def test_a_folder_and_a_format_give_names_too(tmp_path: Path) -> None:
    made = arrays.image(np.eye(4, dtype=np.uint8))
    (path,) = write(made, tmp_path / "out", "npz", {"stem": "k3y"})
    assert path == tmp_path / "out" / "k3y.npz"


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    for call in (
        lambda: read(tmp_path / "notes.txt"),
        lambda: read(tmp_path / "notes.txt", "gif"),
        lambda: write(arrays.image(np.eye(2)), tmp_path / "x.gif"),
        lambda: write(arrays.image(np.eye(2)), tmp_path / "x.ps"),
    ):
        with pytest.raises(SeriesportError, match="format-unknown"):
            call()
    with pytest.raises(SeriesportError, match="file-unreadable"):
        read(tmp_path / "none.nii")


def test_nothing_is_left_where_a_format_does_not_fit(tmp_path: Path) -> None:
    made = arrays.image(np.ones((2, 2), np.complex64))
    for name in ("x.mha", "x.mat", "x.png"):
        with pytest.raises(SeriesportError, match="format-unfit"):
            write(made, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_another_images_b_values_are_not_left_beside(tmp_path: Path) -> None:
    (tmp_path / "x.bval").write_text("0 1000\n")
    with pytest.raises(SeriesportError, match="destination-conflict"):
        write(arrays.image(np.eye(2)), tmp_path / "x.nii")
