from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
import SimpleITK

import arrays
import data
import images
from seriesport import Series
from seriesport.errors import SeriesportError
from seriesport.formats import read, write
from seriesport.images.geometry import lps_to_ras
from seriesport.images.image import Image
from seriesport.images.window import Window
from seriesport.workflow.conversion import convert

if TYPE_CHECKING:
    from pathlib import Path

VALUES = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


def nibabel_file(path: Path, array: np.ndarray[Any, Any], ras: Any = None, **fields: Any) -> Path:
    """A NIfTI file that nibabel writes, with fields of its header changed."""
    made = nibabel.Nifti1Image(array, np.eye(4) if ras is None else ras)
    for name, value in fields.items():
        made.header[name] = value
    made.to_filename(path)
    return path


def refusal(path: Path, **opts: Any) -> SeriesportError:
    with pytest.raises(SeriesportError) as caught:
        read(path, opts=opts)
    return caught.value


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.hdr"])
def test_nibabel_finds_every_voxel_at_its_place(tmp_path: Path, name: str, mirrored: bool) -> None:
    made = arrays.image(VALUES, None, arrays.affine(mirrored=mirrored))
    write(made, tmp_path / name)
    images.agrees_with_nifti(made, tmp_path / name)
    header = nibabel.load(tmp_path / name).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-4)
    assert header.get_xyzt_units()[0] == "mm"


def test_itk_finds_every_voxel_at_its_place(tmp_path: Path) -> None:
    made = arrays.image(VALUES, None, arrays.affine())
    write(made, tmp_path / "x.nii.gz")
    found = SimpleITK.ReadImage(str(tmp_path / "x.nii.gz"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(found), VALUES)
    for k, j, i in np.ndindex(2, 2, 2):
        point = found.TransformIndexToPhysicalPoint((i, j, k))
        np.testing.assert_allclose(point, (made.affine_lps @ [k, j, i, 1])[:3], atol=1e-3)


def test_a_file_of_nibabel_is_found_at_its_place(tmp_path: Path) -> None:
    ras = lps_to_ras(arrays.affine())[:, [2, 1, 0, 3]]
    path = nibabel_file(tmp_path / "x.nii", VALUES.T, ras)
    found = read(path)
    np.testing.assert_array_equal(found.array, VALUES)
    np.testing.assert_allclose(found.affine_lps, arrays.affine(), atol=1e-5)
    images.agrees_with_nifti(found, path)


def test_time_is_the_fourth_dimension_whatever_the_order_of_tags(tmp_path: Path) -> None:
    values = np.arange(3 * 2 * 4 * 5 * 6).reshape(3, 2, 4, 5, 6)
    made = arrays.image(values, {"time": (0.0, 2.5, 5.0), "echo": (10.0, 20.0)}, arrays.affine())
    write(made, tmp_path / "x.nii")
    found = nibabel.load(tmp_path / "x.nii")
    assert found.shape == (6, 5, 4, 3, 2)
    assert found.header.get_zooms()[3] == 2.5
    assert found.header.get_xyzt_units() == ("mm", "sec")
    np.testing.assert_array_equal(np.asarray(found.dataobj), values.transpose(4, 3, 2, 0, 1))


@pytest.mark.parametrize(("unit", "factor"), [("sec", 1), ("msec", 1e-3), ("usec", 1e-6)])
def test_times_are_seconds(tmp_path: Path, unit: str, factor: float) -> None:
    made = nibabel.Nifti1Image(np.zeros((2, 2, 2, 3)), np.eye(4))
    made.header.set_xyzt_units("mm", unit)
    made.header["pixdim"][4] = 2 / factor
    made.to_filename(tmp_path / "x.nii")
    found = read(tmp_path / "x.nii")
    assert (found.axes[0], found.tags["time"]) == ("time", (0.0, 2.0, 4.0))


def test_metres_become_millimetres(tmp_path: Path) -> None:
    made = nibabel.Nifti1Image(VALUES, np.diag([0.002, 0.002, 0.003, 1]))
    made.header.set_xyzt_units("meter")
    made.to_filename(tmp_path / "x.nii")
    assert read(tmp_path / "x.nii").spacing == pytest.approx((3, 2, 2))


def test_whole_slopes_keep_integers_and_others_make_floats(tmp_path: Path) -> None:
    stored = np.arange(8, dtype=np.int16).reshape(2, 2, 2) * 1000
    for slope, intercept, dtype in ((1, -1024, "i2"), (10, 0, "i4"), (0.5, 1, "f4"), (0, 7, "i2")):
        made = nibabel.Nifti1Image(stored, np.eye(4))
        made.header.set_slope_inter(1, 0)
        made.to_filename(tmp_path / "x.nii")
        raw = bytearray((tmp_path / "x.nii").read_bytes())
        raw[112:120] = np.array([slope, intercept], "<f4").tobytes()
        (tmp_path / "x.nii").write_bytes(raw)
        found = read(tmp_path / "x.nii")
        assert found.array.dtype == dtype
        expected = stored.T.astype(float) * (slope or 1) + (intercept if slope else 0)
        np.testing.assert_allclose(found.array, expected)
        np.testing.assert_allclose(nibabel.load(tmp_path / "x.nii").get_fdata().T, expected)


def test_sform_is_taken_before_qform_unless_asked(tmp_path: Path) -> None:
    made = nibabel.Nifti1Image(VALUES, None)
    made.header.set_qform(np.diag([2.0, 2, 2, 1]), 1)
    made.header.set_sform(np.diag([3.0, 3, 3, 1]), 2)
    made.to_filename(tmp_path / "x.nii")
    assert read(tmp_path / "x.nii").spacing == (3, 3, 3)
    assert read(tmp_path / "x.nii", opts={"form": "qform"}).spacing == (2, 2, 2)
    made.header.set_sform(None, 0)
    made.to_filename(tmp_path / "x.nii")
    assert read(tmp_path / "x.nii").spacing == (2, 2, 2)
    made.header.set_qform(None, 0)
    made.header["sform_code"] = made.header["qform_code"] = 0
    nibabel.Nifti1Image(VALUES, None, made.header).to_filename(tmp_path / "x.nii")
    assert read(tmp_path / "x.nii").affine_lps is None


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_either_byte_order_is_read(tmp_path: Path, order: str, kind: Any) -> None:
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.int16)
    kind(VALUES, np.eye(4), header).to_filename(tmp_path / "x.nii")
    found = read(tmp_path / "x.nii").array
    np.testing.assert_array_equal(found, VALUES.T)
    assert found.dtype.isnative


def test_colours_are_rgb_for_nibabel(tmp_path: Path) -> None:
    values = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    write(arrays.image(values, colour=True), tmp_path / "x.nii")
    found = np.asarray(nibabel.load(tmp_path / "x.nii").dataobj)
    assert found.dtype.names == ("R", "G", "B")
    np.testing.assert_array_equal(found["G"].T, values[..., 1])


def test_long_dimensions_make_nifti_2(tmp_path: Path) -> None:
    made = arrays.image(np.zeros((2, 2, 40000), np.uint8))
    write(made, tmp_path / "x.nii")
    assert isinstance(nibabel.load(tmp_path / "x.nii"), nibabel.Nifti2Image)
    assert read(tmp_path / "x.nii").array.shape == (2, 2, 40000)


def test_the_window_is_kept(tmp_path: Path) -> None:
    made = arrays.image(VALUES, window=Window(40, 400))
    write(made, tmp_path / "x.nii")
    assert read(tmp_path / "x.nii").window == Window(40, 400)


def test_the_sidecar_is_passed_through(tmp_path: Path) -> None:
    sidecar = {"EchoTime": 0.03, "Manufacturer": "É"}
    files = write(arrays.image(VALUES), tmp_path / "x.nii.gz", opts={"sidecar": sidecar})
    assert [f.name for f in files] == ["x.json", "x.nii.gz"]
    assert json.loads(files[0].read_text("utf-8")) == sidecar


# Diffusion


def diffusion(tmp_path: Path, step: float) -> tuple[Image, Path]:
    """An oblique diffusion series, and what dcm2niix makes of it."""
    made = data.mr(tmp_path / "in", data.identity("dwi"), times=7, slices=3)
    random = np.random.default_rng(5)

    def change(dataset: Any, i: int) -> None:
        images.diffusion(dataset, i // 3)
        images.place(dataset, i % 3, images.OBLIQUE, step)
        if i // 3:
            vector = random.normal(size=3) if i % 3 == 0 else change.vector
            change.vector = vector / np.linalg.norm(vector)
            dataset.DiffusionGradientOrientation = [float(v) for v in change.vector]

    images.vary(made.paths, change)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    convert(made.paths, "ref", tmp_path / "out", ["nifti"], scratch)
    return Image.read(made.paths, "instance"), tmp_path / "out" / "ref.nii.gz"


@pytest.mark.parametrize("step", [2.5, -2.5])
def test_directions_agree_with_dcm2niix_in_the_patient(tmp_path: Path, step: float) -> None:
    made, reference = diffusion(tmp_path, step)
    found = read(reference)
    assert found.axes[0] == "b"
    assert made.bvectors is not None
    np.testing.assert_allclose(found.bvalues, made.bvalues)
    np.testing.assert_allclose(found.bvectors, made.bvectors, atol=1e-4)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_first_axis_of_bvec_turns_with_the_determinant(tmp_path: Path, mirrored: bool) -> None:
    made = arrays.image(
        np.zeros((4, 2, 2, 2), np.int16),
        {"b": (0.0, 1.0, 1.0, 1.0)},
        arrays.affine((0, 0, 0), (1, 1, 1), mirrored=mirrored),
        bvalues=np.array([0.0, 1, 1, 1]),
        bvectors=np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    )
    write(made, tmp_path / "x.nii.gz")
    table = np.loadtxt(tmp_path / "x.bvec")
    positive = np.linalg.det(nibabel.load(tmp_path / "x.nii.gz").affine[:3, :3]) > 0
    assert positive != mirrored
    # Columns rise to the left, as x of LPS does; slices rise to the head unless mirrored.
    first, third = -1 if positive else 1, -1 if mirrored else 1
    np.testing.assert_allclose(table, np.c_[[0, 0, 0], np.diag([first, 1, third])])


def test_a_bval_of_another_length_is_refused(tmp_path: Path) -> None:
    nibabel_file(tmp_path / "x.nii", np.zeros((2, 2, 2, 3), np.int16))
    (tmp_path / "x.bval").write_text("0 1000\n")
    assert refusal(tmp_path / "x.nii").code == "image-invalid"
    (tmp_path / "x.bval").write_text("0 1000 nan\n")
    assert refusal(tmp_path / "x.nii").code == "image-invalid"


# Refused


@pytest.mark.parametrize("field", ["srow_x", "qoffset_x"])
def test_an_affine_that_is_not_finite_is_refused(tmp_path: Path, field: str) -> None:
    made = nibabel.Nifti1Image(VALUES, np.eye(4))
    made.set_sform(None if field == "qoffset_x" else np.eye(4), int(field == "srow_x"))
    made.set_qform(np.eye(4), 1)
    made.to_filename(tmp_path / "x.nii")
    at = {"srow_x": 280, "qoffset_x": 268}[field]
    raw = bytearray((tmp_path / "x.nii").read_bytes())
    raw[at : at + 4] = np.array([np.nan], "<f4").tobytes()
    (tmp_path / "x.nii").write_bytes(raw)
    assert refusal(tmp_path / "x.nii").code == "geometry-irregular"


def test_a_flat_affine_is_refused(tmp_path: Path) -> None:
    made = nibabel.Nifti1Image(VALUES, np.eye(4))
    made.header.set_sform(np.diag([1, 1, 0, 1]), 1)
    raw = bytearray(made.to_bytes())
    raw[280 : 280 + 48] = np.diag([1, 1, 0, 1])[:3].astype("<f4").tobytes()
    (tmp_path / "x.nii").write_bytes(raw)
    assert refusal(tmp_path / "x.nii").code == "geometry-irregular"


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_file_that_is_cut_is_refused(tmp_path: Path, suffix: str) -> None:
    (path,) = write(arrays.image(VALUES), tmp_path / f"x{suffix}")
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(SeriesportError, match="image-invalid"):
            read(path, "nifti")


def test_analyze_is_refused_with_a_reason(tmp_path: Path) -> None:
    nibabel.AnalyzeImage(VALUES, np.eye(4)).to_filename(tmp_path / "x.img")
    assert refusal(tmp_path / "x.hdr").code == "image-unsupported"


def test_a_single_volume_has_its_b_value_and_direction(tmp_path: Path) -> None:
    path = tmp_path / "one.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.diag([-2, 2, 2, 1])), path)
    (tmp_path / "one.bval").write_text("1000\n")
    (tmp_path / "one.bvec").write_text("0\n0.6\n0.8\n")
    si = Series(path)
    assert si.axes == ("slice", "row", "column")
    assert si.bvalues is not None
    assert float(si.bvalues) == 1000
    np.testing.assert_allclose(si.bvectors, [0, -0.6, 0.8])
    si.write(tmp_path / "again.nii.gz")
    assert (tmp_path / "again.bvec").read_text().split() == ["0", "0.6", "0.8"]
    si.write(tmp_path / "dicom")
