from __future__ import annotations

import gzip
import tracemalloc
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

import data
from dicom_files import errors, save
from images import OBLIQUE, frame_groups, header_of, place, vary
from seriesport.errors import SeriesportError
from seriesport.formats.dicom import with_geometry, write
from seriesport.images.frames import Window
from seriesport.images.image import Image
from seriesport.images.template import Header
from seriesport.images.uids import valid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from data import Made

CT, MR, PET, SC = (f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("2", "4", "128", "7"))
AFFINE = np.array([[0, 0, 1.5, -10], [0, 1.25, 0, -20], [3, 0, 0, 5.5], [0, 0, 0, 1.0]])


def read(made: Made) -> tuple[Image, Header]:
    image = Image.read(made.paths)
    return image, header_of(image)


def image_of(
    array: Any,
    affine: Any = AFFINE,
    axes: tuple[str, ...] = ("slice", "row", "column"),
    tags: Mapping[str, tuple[Any, ...]] | None = None,
    photometric: str = "MONOCHROME2",
) -> Image:
    return Image(np.asarray(array), axes, tags or {}, affine, None, None, photometric)


def picture(*size: int) -> Image:
    values = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    axes = ("page", "row", "column", "rgb")[4 - values.ndim :]
    return image_of(values, None, axes, photometric="RGB")


def noise(*shape: int) -> Any:
    return np.random.default_rng(0).normal(100, 20, shape).astype(np.float32)


def whole(made: Made, changes: Mapping[str, Any]) -> None:
    """Add attributes that the builders leave out."""

    def change(dataset: Any, _: int) -> None:
        for keyword, value in changes.items():
            setattr(dataset, keyword, value)

    vary(made.paths, change)


def complete_pet(folder: Path) -> Made:
    made = data.pet(folder, data.identity("pet"))
    tracer = Dataset()
    tracer.RadionuclideCodeSequence = Sequence([])
    tracer.RadionuclideTotalDose, tracer.RadionuclideHalfLife = "350000000", "6586.2"
    tracer.RadiopharmaceuticalStartTime = "110000"
    whole(
        made,
        {
            "RadiopharmaceuticalInformationSequence": Sequence([tracer]),
            "PatientOrientationCodeSequence": Sequence([]),
            "PatientGantryRelationshipCodeSequence": Sequence([]),
            "CollimatorType": "NONE",
            "CorrectedImage": "DECY",
            "DecayFactor": "1.5",
        },
    )
    vary(made.paths, lambda d, _: d.pop("PatientPosition"))
    return made


def complete_mr(folder: Path) -> Made:
    made = data.mr(folder, data.identity("mr"))
    vary(made.paths, lambda d, _: d.pop("TriggerTime"))
    return made


def equal(left: Image, right: Image) -> None:
    assert left.array.dtype == right.array.dtype
    assert left.axes == right.axes
    assert dict(left.tags) == dict(right.tags)
    np.testing.assert_array_equal(left.array, right.array)
    np.testing.assert_array_equal(left.affine_lps, right.affine_lps)


# A series that came from DICOM


@pytest.mark.parametrize("kind", ["ct", "mr", "pet", "enhanced", "jpeg_ls"])
def test_values_and_geometry_of_a_series_come_back_exactly(tmp_path: Path, kind: str) -> None:
    made = getattr(data, kind)(tmp_path / "in", data.identity(kind))
    image, header = read(made)
    paths = save(write(image, header), tmp_path / "out")
    equal(Image.read(paths), image)
    written = pydicom.dcmread(paths[0])
    assert written.ImageType[0] == header.get("ImageType")[0]
    assert written.StudyInstanceUID == made.identity.study_instance_uid
    assert written.SeriesInstanceUID != made.identity.series_instance_uid


def test_an_unchanged_series_keeps_its_attributes(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("same"))

    def enrich(dataset: Any, index: int) -> None:
        inner, outer = Dataset(), Dataset()
        inner.CodeValue, outer.PurposeOfReferenceCodeSequence = str(index), Sequence([inner])
        dataset.ProcedureCodeSequence = Sequence([outer])
        dataset.ImagePositionPatient = ["-180.000000", "-180.000", f"{1.5 * index:.3f}"]
        block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
        block.add_new(0x10, "OB", bytes([index] * 10))

    vary(made.paths, enrich)
    image, header = read(made)
    for old, new in zip(made.paths, save(write(image, header), tmp_path / "out"), strict=True):
        before, after = pydicom.dcmread(old), pydicom.dcmread(new)
        [source] = after.SourceImageSequence
        assert source.ReferencedSOPInstanceUID == before.SOPInstanceUID
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "SourceImageSequence"):
            for dataset in (before, after):
                dataset.pop(keyword, None)
        for keyword in ("Laterality", "AcquisitionNumber"):  # Type 2, added where they lacked
            after.pop(keyword)
        assert after == before


def test_the_same_content_and_target_give_the_same_bytes(tmp_path: Path) -> None:
    made = data.mr(tmp_path, data.identity("twice"))

    def content(target: str, change: int = 0) -> list[tuple[str, bytes]]:
        image, header = read(made)
        image.array[0, 0, 0, 0] += change
        instances = write(image, header, target=target)
        return [(i.uid, i.payload.open().read()) for i in instances]

    first = content("xnat://a/b")
    assert content("xnat://a/b") == first
    others = [content("xnat://a/c"), content("xnat://a/b", change=1)]
    uids = [{uid for uid, _ in c} for c in (first, *others)]
    assert len(set.union(*uids)) == 3 * len(first)
    assert all(map(valid, set.union(*uids)))


def test_kept_uids_are_those_of_the_old_instances(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("keep"))
    image, header = read(made)
    instances = list(write(image, header, keep_uid=True))
    assert [i.uid for i in instances] == made.uids
    assert instances[0].header.series_instance_uid == made.identity.series_instance_uid
    written = pydicom.dcmread(save(instances, tmp_path / "out")[0])
    assert "SourceImageSequence" not in written


def test_frames_have_no_uids_that_could_be_kept(tmp_path: Path) -> None:
    image, header = read(data.enhanced(tmp_path, data.identity("frames"), frames=3))
    with pytest.raises(SeriesportError, match="no UIDs to keep"):
        write(image, header, keep_uid=True)


def test_changed_values_make_a_derived_series(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("derived"))
    whole(made, {"LossyImageCompression": "01"})
    vary(made.paths, lambda d, _: d.add_new(0x00280106, "SS", 0))
    image, header = read(made)
    changed = replace(image, array=image.array.astype(np.float32) + 0.37)
    paths = save(write(changed, header), tmp_path / "out")
    written = pydicom.dcmread(paths[0])
    assert written.ImageType == ["DERIVED", "SECONDARY", "AXIAL"]
    assert written.SourceImageSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    assert written.LossyImageCompression == "01"
    assert written.SmallestImagePixelValue == written.pixel_array.min()
    again = Image.read(paths)
    bound = written.RescaleSlope / 2 + 2e-4
    assert np.abs(again.array - changed.array).max() <= bound
    assert again.window == image.window
    assert errors(paths[0]) == []


def test_another_type_with_the_same_values_is_no_change(tmp_path: Path) -> None:
    image, header = read(data.ct(tmp_path / "in", data.identity("cast")))
    cast = replace(image, array=image.array.astype(np.float64))
    paths = save(write(cast, header), tmp_path / "out")
    assert pydicom.dcmread(paths[0]).ImageType[0] == "ORIGINAL"
    equal(Image.read(paths), image)


def test_a_mask_of_a_ct_gets_a_window_of_its_own(tmp_path: Path) -> None:
    image, header = read(data.ct(tmp_path / "in", data.identity("mask")))
    mask = replace(image, array=image.array > 0)
    written = pydicom.dcmread(save(write(mask, header), tmp_path / "out")[0])
    assert written.SOPClassUID == CT
    assert (written.WindowCenter, written.WindowWidth) == (1, 2)
    assert set(np.unique(written.pixel_array)) <= {0, 1}


def test_a_window_that_was_set_is_written(tmp_path: Path) -> None:
    image, header = read(data.ct(tmp_path / "in", data.identity("window")))
    changed = replace(image, window=Window(-600, 1500))
    written = pydicom.dcmread(save(write(changed, header), tmp_path / "out")[0])
    assert (written.WindowCenter, written.WindowWidth) == (-600, 1500)


def test_a_moved_series_says_so_everywhere(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("moved"))

    def add_private(dataset: Any, _: int) -> None:
        block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
        block.add_new(0x10, "OB", b"position")

    vary(made.paths, add_private)
    image, header = read(made)
    affine = image.affine_lps.copy()
    affine[:3, 3] += [1, 2, 3]
    affine[:3, 0] *= 2.5
    paths = save(write(replace(image, affine_lps=affine), header), tmp_path / "out")
    np.testing.assert_allclose(Image.read(paths).affine_lps, affine, atol=1e-9)
    written = pydicom.dcmread(paths[1])
    assert float(written.SliceLocation) == pytest.approx(affine[2, 3] + affine[2, 0])
    assert written.SpacingBetweenSlices == written.SliceThickness == 3.75
    assert not any(element.tag.is_private for element in written)
    assert written.ImageType[0] == "DERIVED"
    assert errors(paths[0]) == []


def test_chosen_slices_keep_what_they_were(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("chosen"), slices=8)
    image, header = read(made)
    affine = image.affine_lps.copy()
    affine[:3, 3] += 2 * affine[:3, 0]
    affine[:3, 0] *= 2
    part = replace(image, array=image.array[2::2], affine_lps=affine)
    paths = save(write(part, header.select(range(2, 8, 2))), tmp_path / "out")
    for path, number in zip(paths, (3, 5, 7), strict=True):
        written, old = pydicom.dcmread(path), pydicom.dcmread(made.paths[number - 1])
        assert written.InstanceNumber == number
        assert written.ImageType == old.ImageType
        assert written.ImagePositionPatient == old.ImagePositionPatient
        assert written.SpacingBetweenSlices == 3
        assert written.SliceThickness == old.SliceThickness


def test_what_the_user_set_is_written(tmp_path: Path) -> None:
    image, header = read(data.ct(tmp_path / "in", data.identity("set")))
    header = header.having("SeriesDescription", "M\u00fcnchen").having("SeriesNumber", 9999)
    [first, *_] = write(image, header)
    assert first.header.series_description == "M\u00fcnchen"
    assert first.header.series_number == "9999"
    written = pydicom.dcmread(save([first], tmp_path / "out")[0])
    assert written.SeriesDescription == "M\u00fcnchen"
    assert written.SpecificCharacterSet == "ISO_IR 192"


def test_a_lossy_past_stays_declared(tmp_path: Path) -> None:
    lossy = data.WHEEL / "SC_rgb_jpeg_dcmtk.dcm"
    image = Image.read([lossy])
    paths = save(write(image, header_of(image)), tmp_path / "out")
    assert pydicom.dcmread(paths[0]).LossyImageCompression == "01"
    assert pydicom.dcmread(paths[0]).PhotometricInterpretation == "RGB"


def test_an_enhanced_series_becomes_a_classic_one(tmp_path: Path) -> None:
    made = data.enhanced(tmp_path / "in", data.identity("classic"), frames=4)
    image, header = read(made)
    paths = save(write(image, header), tmp_path / "out")
    assert len(paths) == 4
    written = pydicom.dcmread(paths[2])
    assert written.SOPClassUID == MR
    [source] = written.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == made.uids[0]
    assert source.ReferencedFrameNumber == 3
    assert errors(paths[2]) == []


def test_files_of_many_kinds_come_back_exactly(tmp_path: Path) -> None:
    names = (
        "693_J2KI.dcm examples_overlay.dcm examples_palette.dcm examples_ybr_color.dcm "
        "rtdose.dcm MR_small_bigendian.dcm JPEGLSNearLossless_16.dcm SC_rgb_rle_16bit_2frame.dcm"
    )
    for name in names.split():
        [path] = data.WHEEL.parent.rglob(name)
        image = Image.read([path])
        paths = save(write(image, header_of(image)), tmp_path / name)
        again = Image.read(paths)
        np.testing.assert_array_equal(again.array, image.array)
        np.testing.assert_array_equal(again.affine_lps, image.affine_lps)
        new = set(errors(paths[0])) - set(errors(path))
        assert not new, name


def test_a_mosaic_is_written_as_slices(tmp_path: Path) -> None:
    made = tmp_path / "in"
    made.mkdir()
    for name in ("siemens_dwi_0.dcm", "siemens_dwi_1000.dcm"):
        packed = Path(nibabel.__file__).parent / "nicom" / "tests" / "data" / f"{name}.gz"
        (made / name).write_bytes(gzip.decompress(packed.read_bytes()))
    image = Image.read(sorted(made.iterdir()), "b")
    paths = save(write(image, header_of(image)), tmp_path / "out")
    assert len(paths) == 96
    again = Image.read(paths, "b")
    np.testing.assert_array_equal(again.array, image.array)
    np.testing.assert_allclose(again.affine_lps, image.affine_lps, atol=1e-6)
    np.testing.assert_allclose(again.bvectors, image.bvectors, atol=1e-9)
    assert again.tags == image.tags
    written = pydicom.dcmread(paths[50])
    assert "MOSAIC" not in written.ImageType
    assert written.ImageType[0] == "ORIGINAL"
    assert not any(element.tag.is_private for element in written)
    assert not set(errors(paths[50])) - set(errors(made / "siemens_dwi_0.dcm"))


# What came from elsewhere


def test_a_picture_becomes_secondary_capture_of_the_template_s_patient(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("patient"))
    header = Header.of_files(made.paths).as_template(1)
    [path] = save(write(picture(31, 21), header), tmp_path / "out")
    written = pydicom.dcmread(path)
    assert written.SOPClassUID == SC
    assert (written.Modality, written.ConversionType) == ("OT", "WSD")
    assert written.PatientID == made.identity.patient_id
    assert written.StudyInstanceUID == made.identity.study_instance_uid
    assert written.AccessionNumber == made.identity.accession_number
    assert written.SeriesInstanceUID != made.identity.series_instance_uid
    assert np.array_equal(written.pixel_array, picture(31, 21).array)
    for keyword in ("ImageOrientationPatient", "ImagePositionPatient", "KVP", "PixelSpacing"):
        assert keyword not in written
    assert errors(path) == []


def test_the_size_of_a_picture_s_pixels_is_told(tmp_path: Path) -> None:
    scanned = replace(picture(6, 7), spacing=(1.0, 0.5, 0.25))
    [path] = save(write(scanned, Header.empty(1)), tmp_path / "out")
    assert pydicom.dcmread(path).NominalScannedPixelSpacing == [0.5, 0.25]
    assert errors(path) == []


def test_pages_become_an_instance_each(tmp_path: Path) -> None:
    paths = save(write(picture(3, 8, 9), Header.empty(3)), tmp_path / "out")
    assert [pydicom.dcmread(p).InstanceNumber for p in paths] == [1, 2, 3]
    assert np.array_equal(Image.read(paths).array, picture(3, 8, 9).array)
    assert errors(paths[2]) == []


@pytest.mark.parametrize("kind", ["ct", "mr", "pet"])
def test_a_volume_with_a_template_of_its_modality_is_that(tmp_path: Path, kind: str) -> None:
    makers = {"mr": complete_mr, "pet": complete_pet}
    made = (
        makers[kind](tmp_path / "in")
        if kind in makers
        else data.ct(tmp_path / "in", data.identity("volume"))
    )
    header = Header.of_files(made.paths).as_template(4)
    paths = save(write(image_of(noise(4, 6, 7)), header), tmp_path / "out")
    written = pydicom.dcmread(paths[0])
    assert written.SOPClassUID == made.sop_class_uid
    assert written.ImageType[0] == "DERIVED"
    assert written.FrameOfReferenceUID != pydicom.dcmread(made.paths[0]).FrameOfReferenceUID
    assert written.SliceThickness == 3
    assert errors(paths[0]) == []
    again = Image.read(paths)
    np.testing.assert_array_equal(again.affine_lps, AFFINE)
    assert np.abs(again.array - noise(4, 6, 7)).max() <= written.RescaleSlope / 2 + 1e-5


def test_true_and_false_are_no_ct(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("labels"))
    mask = image_of(noise(4, 6, 7) > 100)
    paths = save(write(mask, Header.of_files(made.paths).as_template(4)), tmp_path / "out")
    written = pydicom.dcmread(paths[0])
    assert (written.SOPClassUID, written.BitsAllocated) == (SC, 8)
    assert errors(paths[0]) == []
    np.testing.assert_array_equal(Image.read(paths).array, mask.array)


def test_a_slope_says_what_its_values_are(tmp_path: Path) -> None:
    pet = data.pet(tmp_path / "pet", data.identity("slope"))
    image, header = read(pet)
    for path in save(write(image, header, modality="OT"), tmp_path / "sc"):
        assert errors(path) == []
        assert pydicom.dcmread(path).RescaleType == "US"
    ct = data.ct(tmp_path / "ct", data.identity("units"), slices=2)
    vary(ct.paths, lambda dataset, _: dataset.pop("RescaleType"))
    image, header = read(ct)
    changed = replace(image, array=image.array * 1.5)
    for path in save(write(changed, header), tmp_path / "hounsfield"):
        assert "RescaleType" not in pydicom.dcmread(path)


def test_a_stated_modality_decides(tmp_path: Path) -> None:
    header = Header.of_files(data.ct(tmp_path / "in", data.identity("stated")).paths).as_template(4)
    paths = save(write(image_of(noise(4, 6, 7)), header, modality="OT"), tmp_path / "sc")
    assert pydicom.dcmread(paths[0]).SOPClassUID == SC
    paths = save(write(image_of(noise(4, 6, 7)), header, modality="MR"), tmp_path / "mr")
    assert pydicom.dcmread(paths[0]).SOPClassUID == MR
    assert pydicom.dcmread(paths[0]).Modality == "MR"
    assert errors(paths[0]) == []
    with pytest.raises(SeriesportError, match="in colour"):
        write(picture(3, 4), header.select([0]), modality="CT")


def test_without_a_template_the_patient_is_empty(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(-(10**9), 10**9, (4, 6, 7)).astype(np.int32)
    paths = save(write(image_of(labels), Header.empty(4)), tmp_path / "out")
    written = pydicom.dcmread(paths[0])
    assert (written.PatientID, written.PatientName, written.StudyDate) == ("", "", "")
    assert written.SOPClassUID == SC
    np.testing.assert_array_equal(Image.read(paths).array, labels)
    assert errors(paths[0]) == []


def test_geometry_of_another_series_is_taken_where_it_fits(tmp_path: Path) -> None:
    image, _ = read(data.ct(tmp_path, data.identity("like"), slices=4, size=16))
    bare = image_of(np.zeros((4, 16, 16), np.int16), None)
    np.testing.assert_array_equal(with_geometry(bare, image).affine_lps, image.affine_lps)
    mirrored = image.affine_lps.copy()
    mirrored[:3, 1] *= -1
    wrong = [
        (image_of(np.zeros((5, 16, 16)), None), "5 slices"),
        (image_of(np.zeros((4, 15, 16)), None), "15 rows"),
        (image_of(np.zeros((4, 16, 17)), None), "17 columns"),
        (image_of(np.zeros((4, 16, 16)), mirrored), "handedness"),
    ]
    for other, problem in wrong:
        with pytest.raises(SeriesportError, match=problem) as caught:
            with_geometry(other, image)
        assert caught.value.code == "geometry-mismatch"
    with pytest.raises(SeriesportError, match="no place"):
        with_geometry(bare, bare)


def test_a_header_for_other_slices_is_refused() -> None:
    with pytest.raises(SeriesportError, match="4 slices with a header for 3") as caught:
        write(image_of(noise(4, 6, 7)), Header.empty(3))
    assert caught.value.code == "geometry-mismatch"


@pytest.mark.parametrize(
    ("row", "column", "value"), [(0, 3, np.nan), (0, 2, np.inf), (0, 1, 0.8), (2, 0, 0.0)]
)
def test_an_affine_that_dicom_cannot_say_is_refused(row: int, column: int, value: float) -> None:
    affine = AFFINE.copy()
    affine[row, column] = value
    with pytest.raises(SeriesportError) as caught:
        write(image_of(noise(4, 6, 7), affine), Header.empty(4))
    assert caught.value.code == "geometry-irregular"


# Geometry and tags


def rotation(angles: tuple[float, float, float]) -> Any:
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        i, j = [(1, 2), (0, 2), (0, 1)][axis]
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


ANGLES = st.floats(-np.pi, np.pi) | st.sampled_from([0.0, np.pi / 2, -np.pi / 2, np.pi])
SPACING = st.floats(0.2, 9.0)


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(ANGLES, ANGLES, ANGLES),
    st.tuples(SPACING, SPACING, SPACING),
    st.tuples(*[st.floats(-500, 500)] * 3),
    st.booleans(),
)
def test_any_orientation_comes_back(
    angles: tuple[float, float, float],
    spacing: tuple[float, float, float],
    origin: tuple[float, float, float],
    left_handed: bool,
) -> None:
    affine = np.eye(4)
    # Columns of an axial series: slices to the head, rows to the back, columns to the left.
    affine[:3, :3] = rotation(angles) @ np.eye(3)[:, ::-1] @ np.diag(spacing)
    affine[:3, 3] = origin
    if left_handed:
        affine[:3, 0] *= -1
    image = image_of(np.arange(60, dtype=np.int16).reshape(3, 4, 5), affine)
    with TemporaryDirectory() as folder:
        again = Image.read(save(write(image, Header.empty(3)), Path(folder, "out")))
    if left_handed:  # a reader sorts along the normal
        affine[:3, 3] += 2 * affine[:3, 0]
        affine[:3, 0] *= -1
        image = replace(image, array=image.array[::-1])
    np.testing.assert_array_equal(again.array, image.array)
    np.testing.assert_allclose(again.affine_lps, affine, atol=1e-7)


@pytest.mark.parametrize(
    "orientation",
    [["1", "0", "0", "0", "1", "0"], ["1", "0", "0", "0", "0", "-1"],
     ["0", "1", "0", "0", "0", "-1"], OBLIQUE],
)  # fmt: skip
def test_axial_coronal_sagittal_and_oblique_series_stay_where_they_are(
    tmp_path: Path, orientation: list[str]
) -> None:
    made = data.ct(tmp_path / "in", data.identity("planes"))
    vary(made.paths, lambda d, i: place(d, i, orientation, 2.2))
    image, header = read(made)
    equal(Image.read(save(write(image, header), tmp_path / "own")), image)
    template = header.as_template(len(header))
    again = Image.read(save(write(image, template), tmp_path / "template"))
    np.testing.assert_array_equal(again.array, image.array)
    np.testing.assert_allclose(again.affine_lps, image.affine_lps, atol=1e-9)


TAGS = {
    "time": (0.0, 1.25, 90000.5),
    "te": (4.6, 9.2, 13.8),
    "fa": (5.0, 10.0, 20.0),
    "b": (0.0, 500.0, 1000.0),
    "triggertime": (0.0, 33.3, 66.6),
    "InversionTime": (100.0, 200.0, 400.0),
}


@pytest.mark.parametrize("name", TAGS)
def test_a_tag_of_a_volume_is_found_again(tmp_path: Path, name: str) -> None:
    made = complete_mr(tmp_path / "in")
    image = image_of(
        noise(3, 4, 6, 7), axes=(name, "slice", "row", "column"), tags={name: TAGS[name]}
    )
    header = Header.of_files(made.paths).as_template(12).having("AcquisitionDate", "20240102")
    paths = save(write(image, header), tmp_path / "out")
    again = Image.read(paths, name)
    assert again.axes == image.axes
    np.testing.assert_allclose(again.tags[name], TAGS[name], atol=1e-6)
    assert np.abs(again.array - image.array).max() < 0.01


def test_two_tags_and_names_of_the_user_s_own(tmp_path: Path) -> None:
    tags = {"time": (0.0, 2.0), "ti": (100.0, 200.0, 400.0)}
    image = image_of(noise(2, 3, 4, 6, 7), axes=("time", "ti", "slice", "row", "column"), tags=tags)
    opts = {"ti": "InversionTime"}
    header = Header.empty(24).having("ScanningSequence", "IR")
    paths = save(write(image, header, modality="MR", opts=opts), tmp_path / "out")
    again = Image.read(paths, "time,ti", opts)
    assert again.axes == image.axes
    assert dict(again.tags) == tags
    assert np.abs(again.array - image.array).max() < 0.01
    assert errors(paths[0]) == []


def test_diffusion_of_volumes_is_written(tmp_path: Path) -> None:
    bvalues, vectors = (
        np.array([0.0, 1000.0, 1000.0]),
        np.array([[0, 0, 0], [0, 0.6, 0.8], [1, 0, 0]]),
    )
    image = replace(
        image_of(noise(3, 4, 6, 7), axes=("frame", "slice", "row", "column")),
        bvalues=bvalues,
        bvectors=vectors,
    )
    paths = save(write(image, Header.empty(12), modality="MR"), tmp_path / "out")
    again = Image.read(paths, "dti")
    np.testing.assert_array_equal(again.bvalues, bvalues)
    np.testing.assert_array_equal(again.bvectors, vectors)
    assert np.abs(again.array - image.array).max() < 0.01


def test_times_that_were_shifted_keep_the_order_of_slices(tmp_path: Path) -> None:
    made = data.mr(tmp_path / "in", data.identity("timed"))
    image = Image.read(made.paths, "time")
    header = header_of(image)
    shifted = replace(image, tags={"time": tuple(t * 2 for t in image.tags["time"])})
    again = Image.read(save(write(shifted, header), tmp_path / "out"), "time")
    np.testing.assert_allclose(again.tags["time"], shifted.tags["time"], atol=1e-6)


def test_times_of_enhanced_frames_come_back(tmp_path: Path) -> None:
    made = data.enhanced(tmp_path / "in", data.identity("timed frames"), frames=6)

    def retime(dataset: Any, _: int) -> None:
        def change(group: Dataset, i: int) -> None:
            stamp = f"202401021200{10 * (i // 3):02d}"
            group.FrameContentSequence[0].FrameAcquisitionDateTime = stamp
            del group.FrameContentSequence[0].FrameAcquisitionNumber
            position = ["-110", "-110", f"{3.0 * (i % 3)}"]
            group.PlanePositionSequence[0].ImagePositionPatient = position

        frame_groups(dataset, change)

    vary(made.paths, retime)
    image = Image.read(made.paths, "time")
    header = header_of(image)
    assert image.tags == {"time": (0.0, 10.0)}
    equal(Image.read(save(write(image, header), tmp_path / "same"), "time"), image)
    later = replace(image, tags={"time": (5.0, 30.0)})
    again = Image.read(save(write(later, header), tmp_path / "later"), "time")
    assert again.tags == {"time": (0.0, 25.0)}


# Memory


def test_one_slice_is_in_memory_at_a_time() -> None:
    image = image_of(np.zeros((32, 512, 512), np.float32))
    image.array[:] = np.linspace(0, 1, 512)
    header = Header.empty(32)
    tracemalloc.start()
    for instance in write(image, header):
        assert instance.payload.size > 512 * 512 * 2
        with instance.payload.open() as stream:
            stream.read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * image.array[0].nbytes
