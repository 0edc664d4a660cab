from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.io

import arrays
from seriesport.errors import SeriesportError
from seriesport.formats import read, write
from seriesport.images.geometry import lps_to_ras

if TYPE_CHECKING:
    from pathlib import Path

VALUES = np.arange(3 * 4 * 5 * 6, dtype=np.int16).reshape(3, 4, 5, 6)


def refusal(path: Path, **opts: Any) -> SeriesportError:
    with pytest.raises(SeriesportError) as caught:
        read(path, opts=opts)
    return caught.value


def test_scipy_finds_rows_and_columns_first(tmp_path: Path) -> None:
    made = arrays.image(VALUES, {"time": (0.0, 1.5, 3.0)}, arrays.affine())
    (path,) = write(made, tmp_path / "x.mat")
    found = scipy.io.loadmat(path)
    np.testing.assert_array_equal(found["array"], VALUES.transpose(2, 3, 1, 0))
    assert found["array"].dtype == np.int16
    assert found["axes"].tolist() == ["row column slice time"]
    assert found["values_time"].tolist() == [[0], [1.5], [3]]
    np.testing.assert_allclose(found["spacing"], [[1.5, 1.25, 3]])
    row, column, at = 2, 1, 3
    place = found["affine"] @ [row, column, at, 1]
    np.testing.assert_allclose(place, lps_to_ras(made.affine_lps) @ [at, row, column, 1])


def test_colours_stand_before_slices(tmp_path: Path) -> None:
    values = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    (path,) = write(arrays.image(values, colour=True), tmp_path / "x.mat")
    found = scipy.io.loadmat(path)
    np.testing.assert_array_equal(found["array"], values.transpose(1, 2, 3, 0))


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dtype", arrays.DTYPES)
def test_a_file_of_scipy_is_read(tmp_path: Path, dtype: str, compress: bool) -> None:
    volume = VALUES[0].astype(dtype)
    others = {"note": "text", "cells": np.array(["a", 1], object), "s": {"a": 1}}
    scipy.io.savemat(
        tmp_path / "x.mat", {**others, "V": volume.transpose(1, 2, 0)}, do_compression=compress
    )
    found = read(tmp_path / "x.mat")
    assert (found.axes, found.array.dtype) == (("slice", "row", "column"), np.dtype(dtype))
    np.testing.assert_array_equal(found.array, volume)


def test_values_that_matlab_packed_into_bytes_are_doubles_again(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"a": np.zeros((2, 2))})
    raw = (tmp_path / "x.mat").read_bytes()
    body = struct.pack("<II", 6, 8) + struct.pack("<II", 6, 0)
    body += struct.pack("<IIii", 5, 8, 2, 2) + struct.pack("<HH4s", 1, 1, b"a")
    body += struct.pack("<HH4B", 2, 4, 1, 2, 3, 250)
    (tmp_path / "x.mat").write_bytes(raw[:128] + struct.pack("<II", 14, len(body)) + body)
    assert scipy.io.loadmat(tmp_path / "x.mat")["a"].tolist() == [[1, 3], [2, 250]]
    found = read(tmp_path / "x.mat").array
    assert (found.dtype, found.tolist()) == (np.float64, [[1, 3], [2, 250]])


def test_one_of_several_variables_is_chosen_by_name(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"a": np.eye(3), "b": np.ones((2, 2))})
    assert refusal(tmp_path / "x.mat").code == "ambiguous"
    assert refusal(tmp_path / "x.mat", variable="c").code == "ambiguous"
    assert read(tmp_path / "x.mat", opts={"variable": "b"}).array.shape == (2, 2)


def test_hdf5_and_complex_values_are_refused_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform".ljust(512) + b"\x89HDF\r\n\x1a\n")
    error = refusal(path)
    assert (error.code, "HDF5" in error.message) == ("image-unsupported", True)
    scipy.io.savemat(path, {"a": np.array([[1j]])})
    assert refusal(path).code == "image-unsupported"


@pytest.mark.parametrize("compress", [False, True])
def test_a_file_that_is_cut_is_refused(tmp_path: Path, compress: bool) -> None:
    random = np.random.default_rng(0).integers(0, 9, (50, 50))
    scipy.io.savemat(tmp_path / "x.mat", {"a": random}, do_compression=compress)
    whole = (tmp_path / "x.mat").read_bytes()
    for share in (0.05, 0.5, 0.95):
        (tmp_path / "x.mat").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(SeriesportError, match="image-invalid"):
            read(tmp_path / "x.mat", "mat")


def test_dimensions_that_the_values_do_not_fill_are_refused(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"array": np.ones((2, 3))})
    raw = bytearray((tmp_path / "x.mat").read_bytes())
    at = raw.index(struct.pack("<ii", 2, 3))
    for shape in ((2, 4), (-2, 3), (1 << 30, 1)):
        raw[at : at + 8] = struct.pack("<ii", *shape)
        (tmp_path / "x.mat").write_bytes(raw)
        assert refusal(tmp_path / "x.mat").code in ("image-invalid", "image-too-large")


def test_a_damaged_compression_is_refused(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"array": np.ones((2, 3))})
    start = (tmp_path / "x.mat").read_bytes()[:128]
    for data in (b"not zlib", zlib.compress(b"x" * 100), zlib.compress(b"")):
        (tmp_path / "x.mat").write_bytes(start + struct.pack("<II", 15, len(data)) + data)
        assert refusal(tmp_path / "x.mat").code == "image-invalid"
