"""A Series is an array whose voxels stay where they are, and a header that can be read and set."""

from __future__ import annotations

import gzip
import pickle
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import data
import images
from seriesport import Series
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPE = (3, 4, 10, 12)


@pytest.fixture(scope="module")
def mr_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An oblique MR of 3 times and 4 slices, whose rows and columns differ in spacing."""
    folder = tmp_path_factory.mktemp("mr")
    made = data.mr(folder, data.identity("series"), size=16)

    def change(dataset: Any, i: int) -> None:
        images.place(dataset, i % 4, images.OBLIQUE, 2.5)
        dataset.PixelSpacing = ["1.5", "0.75"]
        dataset.Rows, dataset.Columns = SHAPE[2:]
        values = np.arange(i * 120, i * 120 + 120, dtype="<i2")
        dataset.PixelData = values.tobytes()

    images.vary(made.paths, change)
    return folder


@pytest.fixture
def mr(mr_folder: Path) -> Series:
    return Series(mr_folder, input_order="time")


@pytest.fixture
def ct(tmp_path: Path) -> Series:
    data.ct(tmp_path / "ct", data.identity("ct"))
    return Series(tmp_path / "ct")


def voxels(series: Series) -> dict[float, tuple[float, ...]]:
    """Every voxel's place by its value, which no other voxel has; tags are summed away."""
    assert series.affine_lps is not None
    index = dict(zip(series.axes, np.indices(series.shape).reshape(series.ndim, -1), strict=True))
    steps = [index.get(name, np.zeros(series.size)) for name in ("slice", "row", "column")]
    places = (series.affine_lps @ [*steps, np.ones(series.size)])[:3].T
    return dict(zip(series.ravel().tolist(), map(tuple, places), strict=True))


def dicoms(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def refused(code: str, action: Callable[[], object]) -> str:
    with pytest.raises(SeriesportError) as caught:
        action()
    assert caught.value.code == code
    return caught.value.message


# Slicing


def parts(length: int) -> st.SearchStrategy[Any]:
    return st.one_of(st.integers(-length, length - 1), st.slices(length))


def keys() -> st.SearchStrategy[tuple[Any, ...]]:
    whole = st.tuples(*(parts(n) for n in SHAPE[:2]), *(st.slices(n) for n in SHAPE[2:]))
    return whole.flatmap(
        lambda key: st.sampled_from([key, key[:1], key[:2], (..., key[3]), (key[0], ..., key[3])])
    )


@given(key=keys())
@settings(deadline=None, max_examples=60)
def test_every_voxel_stays_where_it_was_by_any_slicing(mr_folder: Path, key: Any) -> None:
    mr = _series(mr_folder)
    expected = np.asarray(mr)[key]
    part = mr[key]
    np.testing.assert_array_equal(np.asarray(part), expected)
    if not expected.size:
        assert isinstance(part, np.ndarray)
        return
    _stay(part, _voxels(mr_folder))
    assert len(part.header) == max(1, int(np.prod(part.shape[: part.axes.index("row")])))


@given(key=keys())
@settings(deadline=None, max_examples=60)
def test_a_slice_keeps_its_own_header_by_any_slicing(mr_folder: Path, key: Any) -> None:
    part = _series(mr_folder)[key]
    if isinstance(part, np.ndarray):
        return
    first = np.asarray(part)[..., 0, 0].ravel() // 120 + 1
    assert list(part.header.values("InstanceNumber")) == first.tolist()
    if "time" in part.axes:
        assert part.tags["time"] == tuple(np.array([0, 0.4, 0.8])[_first(key)])


def _stay(part: Series, before: dict[float, tuple[float, ...]], atol: float = 1e-9) -> None:
    after = voxels(part)
    expected = [before[value] for value in after]
    np.testing.assert_allclose(list(after.values()), expected, atol=atol)


def _first(key: Any) -> Any:
    return key[0] if key[0] is not Ellipsis else slice(None)


_cache: dict[Path, Any] = {}


def _series(folder: Path) -> Series:
    if folder not in _cache:
        series = Series(folder, input_order="time")
        _cache[folder] = (series, voxels(series))
    return _cache[folder][0]


def _voxels(folder: Path) -> dict[float, tuple[float, ...]]:
    _series(folder)
    return _cache[folder][1]


def test_slicing_moves_the_origin_and_steps_change_the_spacing(mr: Series) -> None:
    part = mr[1, 1:3, ::2, ::-3]
    assert part.shape == (2, 5, 4)
    assert part.spacing == (2.5, 3.0, 2.25)
    assert mr.spacing == (2.5, 1.5, 0.75)
    positions = mr.imagePositions
    assert positions is not None
    np.testing.assert_allclose(mr[:, 2].imagePositions, positions[2:3])
    assert mr[0, 2].shape == SHAPE[2:]
    assert mr[0, 2].axes == ("row", "column")


def test_what_geometry_cannot_follow_is_a_plain_array(mr: Series) -> None:
    keys: list[Any] = [mr > 3, [0, 1], (0, 0, 3), None, (0, slice(0, 0)), np.array([True] * 3)]
    for key in keys:
        assert type(mr[key]) is np.ndarray
        plain = np.asarray(key) if isinstance(key, Series) else key
        np.testing.assert_array_equal(mr[key], np.asarray(mr)[plain])
    for array in (mr.reshape(-1), mr.T, mr.transpose(3, 2, 1, 0), np.sort(mr), np.stack([mr, mr])):
        assert type(array) is np.ndarray
    assert mr[0, 0, 0, 0] == 0
    with pytest.raises(IndexError):
        mr[5]


def test_iteration_gives_volumes_and_then_slices(mr: Series) -> None:
    volumes = list(mr)
    assert [v.axes for v in volumes] == [("slice", "row", "column")] * 3
    assert [s.axes for s in volumes[0]] == [("row", "column")] * 4
    assert len(mr) == 3


# Arithmetic


def test_arithmetic_keeps_place_and_header(mr: Series) -> None:
    results = [mr + 1, 2.5 * mr, -mr, mr / 2, np.sqrt(mr), mr > 5, np.where(mr > 5, mr, 0),
               np.clip(mr, 2, 50), mr.astype(np.float32), np.zeros_like(mr), mr - mr[0], mr * mr,
               np.isfinite(mr), abs(mr), mr // 2, ~(mr > 5), np.add(1, mr)]  # fmt: skip
    for result in results:
        assert isinstance(result, Series)
        np.testing.assert_array_equal(result.affine_lps, mr.affine_lps)
        assert result.patientName == mr.patientName
        assert result.axes == mr.axes
    np.testing.assert_array_equal(np.asarray(mr * 2.5), np.asarray(mr) * 2.5)


def test_results_go_where_they_are_asked_for(mr: Series) -> None:
    plain = np.empty(mr.shape)
    assert np.multiply(mr, 2, out=plain) is plain
    other = mr.astype(float)
    assert np.multiply(mr, 2, out=other) is other
    np.testing.assert_array_equal(np.asarray(other), plain)


def test_arithmetic_between_different_places_drops_the_geometry(mr: Series) -> None:
    moved = mr.copy()
    affine = moved.affine_lps
    assert affine is not None
    affine[0, 3] += 5
    moved.affine_lps = affine
    assert type(mr + moved) is np.ndarray
    affine[0, 3] -= 5 - 1e-6
    moved.affine_lps = affine
    assert isinstance(mr + moved, Series)


def test_reductions_over_tags_are_images_and_others_are_numbers(mr: Series) -> None:
    array = np.asarray(mr)
    for result in (mr.mean("time"), np.mean(mr, axis=0), np.mean(mr, 0), mr.mean(axis=-4),
                   np.add.reduce(mr, axis=0) / 3, np.median(mr, axis=0)):  # fmt: skip
        assert isinstance(result, Series)
        assert result.axes == ("slice", "row", "column")
        np.testing.assert_allclose(np.asarray(result), array.mean(axis=0))
        np.testing.assert_array_equal(result.affine_lps, mr.affine_lps)
        assert list(result.header.values("InstanceNumber")) == [1, 2, 3, 4]
    assert type(mr.max("slice")) is np.ndarray
    assert type(mr.sum(axis=(0, 1))) is np.ndarray
    assert mr.sum() == array.sum()
    assert (mr.min(), mr.max(), mr.std()) == (array.min(), array.max(), array.std())
    with pytest.raises(ValueError, match="no axis is called 'echo'"):
        mr.mean("echo")


def test_a_flip_turns_the_axis_round_and_no_voxel_moves(mr_folder: Path) -> None:
    mr = _series(mr_folder)
    turned = np.flip(mr, axis=(1, 3))
    np.testing.assert_array_equal(np.asarray(turned), np.flip(np.asarray(mr), axis=(1, 3)))
    _stay(turned, _voxels(mr_folder))


def test_in_place_changes_stay_in_place(mr: Series) -> None:
    mr[...] = 7
    assert (mr == 7).all()
    mr[0, 1:3] = mr[1, 1:3] * 2
    assert mr.sum() == 7 * mr.size + 7 * 2 * 120
    before = mr
    mr += 1
    assert mr is before
    mr[mr > 10] = 0
    assert mr.max() == 8
    copy = mr.copy()
    copy[...] = 1
    assert mr.max() == 8


def test_a_pickled_series_is_the_same_and_holds_no_paths(mr: Series, mr_folder: Path) -> None:
    content = pickle.dumps(mr)
    assert mr_folder.parent.name.encode() not in content
    back = pickle.loads(content)
    assert (back == mr).all()
    np.testing.assert_array_equal(back.affine_lps, mr.affine_lps)
    assert back.patientName == mr.patientName
    np.testing.assert_array_equal(back.timeline, mr.timeline)


def test_a_series_is_copied_by_series(mr: Series) -> None:
    other = Series(mr)
    other[...] = 0
    other.patientName = "Other"
    assert mr.max() > 0
    assert mr.patientName == "Test^" + mr.patientID


def test_repr_and_errors_show_no_patient(mr: Series) -> None:
    assert repr(mr) == (
        "<Series MR, time 3 x slice 4 x row 10 x column 12, int16, 2.5 x 1.5 x 0.75 mm>"
    )
    for keyword in ("PatientName", "PatientID", "PatientBirthDate"):
        message = refused("header-invalid", lambda k=keyword: mr.setDicomAttribute(k, "A\nSECRET"))
        assert "SECRET" not in message


# Attributes


def test_attributes_are_read_and_set(mr: Series, tmp_path: Path) -> None:
    who = data.identity("series")
    assert (mr.patientName, mr.patientID) == (who.patient_name, who.patient_id)
    assert (mr.patientBirthDate, mr.accessionNumber) == ("19700102", who.accession_number)
    assert (mr.studyInstanceUID, mr.seriesInstanceUID) == (
        who.study_instance_uid,
        who.series_instance_uid,
    )
    assert (mr.seriesNumber, mr.seriesDescription) == (1, "Made for a test")
    assert (mr.imageType, mr.modality, mr.colour) == (("ORIGINAL", "PRIMARY", "AXIAL"), "MR", False)
    assert mr.getDicomAttribute("EchoTime") == 30
    assert mr.getDicomAttribute("BodyPartExamined") is None
    np.testing.assert_allclose(mr.orientation, [float(v) for v in images.OBLIQUE])

    mr.patientName, mr.patientID, mr.patientBirthDate = "Größe^Ana", "P 1", "20000229"
    mr.accessionNumber, mr.seriesNumber, mr.seriesDescription = "A1", 12, "new"
    mr.imageType, mr.window = ["DERIVED", "SECONDARY"], (100, 50)
    mr.setDicomAttribute("BodyPartExamined", "BRAIN")
    mr.setDicomAttribute("SoftwareVersions", None)
    mr.write(tmp_path / "out")

    back = Series(tmp_path / "out", input_order="time")
    assert (back.patientName, back.patientID, back.patientBirthDate) == (
        "Größe^Ana",
        "P 1",
        "20000229",
    )
    assert (back.accessionNumber, back.seriesNumber, back.seriesDescription) == ("A1", 12, "new")
    assert (back.imageType, back.window) == (("DERIVED", "SECONDARY"), (100, 50))
    assert back.getDicomAttribute("BodyPartExamined") == "BRAIN"


def test_a_header_that_breaks_the_rules_is_named_without_its_value(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    made = data.ct(tmp_path, data.identity("odd"))
    for path in made.paths:
        content = path.read_bytes()
        number = b"\x20\x00\x11\x00IS\x02\x001 "
        assert number in content
        path.write_bytes(content.replace(number, number[:-2] + b"X7"))
    odd = Series(tmp_path)
    message = refused("instance-invalid", lambda: odd.seriesNumber)
    assert "SeriesNumber" in message
    assert "X7" not in message + caplog.text + "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("patientName", 7),
        ("patientID", "x" * 65),
        ("patientBirthDate", "1970"),
        ("patientBirthDate", "19701341"),
        ("accessionNumber", "x" * 17),
        ("seriesNumber", 1.5),
        ("seriesNumber", "4"),
        ("seriesNumber", 2**40),
        ("seriesInstanceUID", "1.02.3"),
        ("studyInstanceUID", "abc"),
        ("imageType", 3),
        ("window", (40, 0)),
        ("window", 40),
        ("spacing", (1, 1)),
        ("spacing", (1, 1, -1)),
        ("affine_lps", np.full((4, 4), np.nan)),
        ("affine_lps", np.eye(3)),
        ("affine_ras", "x"),
        ("timeline", [0, 1]),
        ("timeline", [0, 2, 1]),
        ("bvalues", [0, -1, 2]),
        ("bvectors", np.ones((3, 3))),
    ],
)
def test_a_wrong_value_is_refused_and_changes_nothing(mr: Series, name: str, value: Any) -> None:
    before = str(getattr(mr, name))
    refused("header-invalid", lambda: setattr(mr, name, value))
    assert str(getattr(mr, name)) == before


def test_what_follows_from_the_array_cannot_be_set(mr: Series) -> None:
    for keyword in ("Rows", "ImagePositionPatient", "SOPInstanceUID", "RescaleSlope", "Nonsense"):
        refused("header-invalid", lambda k=keyword: mr.setDicomAttribute(k, "1"))
    with pytest.raises(AttributeError):
        mr.shape = (1,)  # type: ignore[misc]


def test_geometry_is_set_by_spacing_and_affine(mr: Series) -> None:
    before = mr.affine_lps
    assert before is not None
    mr.spacing = (5, 3, 1.5)
    assert mr.spacing == (5, 3, 1.5)
    np.testing.assert_allclose(mr.affine_lps[:3, :3], before[:3, :3] * 2)
    np.testing.assert_allclose(mr.affine_lps[:3, 3], before[:3, 3])
    ras = mr.affine_ras
    assert ras is not None
    np.testing.assert_allclose(ras, np.diag([-1, -1, 1, 1]) @ mr.affine_lps)
    mr.affine_ras = np.diag([-1.0, -1, 1, 1]) @ before
    np.testing.assert_allclose(mr.affine_lps, before)


def test_times_and_diffusion_are_read_and_set(mr: Series) -> None:
    np.testing.assert_allclose(mr.timeline, [0, 0.4, 0.8])
    assert mr.bvalues is None
    mr.bvalues = [0, 1000, 1000]
    mr.bvectors = [[0, 0, 0], [1, 0, 0], [0, 0.6, 0.8]]
    np.testing.assert_array_equal(mr[1:].bvalues, [1000, 1000])
    np.testing.assert_array_equal(mr[2].bvectors, [0, 0.6, 0.8])
    mr.timeline = [0, 2, 4]
    assert mr[::2].tags == {"time": (0.0, 4.0)}


def test_the_timeline_of_another_order_comes_from_the_headers(mr_folder: Path) -> None:
    mr = Series(mr_folder)
    assert mr.axes[0] == "temporal"
    np.testing.assert_allclose(mr.timeline, [0, 0.4, 0.8])
    np.testing.assert_allclose(mr[1:].timeline, [0, 0.4])
    assert mr[0].timeline is None


# Sources


def test_a_list_of_files_is_a_series_and_two_are_not(tmp_path: Path) -> None:
    who = data.identity("list")
    one = data.ct(tmp_path / "one", who)
    two = data.ct(tmp_path / "two", who.series(2))
    assert Series(one.paths[::-1]).shape == (5, 64, 64)
    assert Series([str(path) for path in one.paths[:1]]).shape == (64, 64)
    refused("ambiguous", lambda: Series([*one.paths, *two.paths]))
    refused("not-found", lambda: Series([]))


def test_the_files_of_two_series_in_one_folder_are_never_one_volume(tmp_path: Path) -> None:
    who = data.identity("two in a folder")
    data.ct(tmp_path / "one", who)
    data.ct(tmp_path / "two", who.series(2), slices=3)
    message = refused("ambiguous", lambda: Series(tmp_path))
    assert "series 1 (CT, 5 instances); series 2 (CT, 3 instances)" in message
    assert Series(tmp_path, opts={"series": 2}).shape[0] == 3
    refused("not-found", lambda: Series(tmp_path, opts={"series": 9}))


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    made = data.ct(tmp_path, data.identity("cut"))
    content = made.paths[2].read_bytes()
    made.paths[2].write_bytes(content[:-100])
    message = refused("instance-truncated", lambda: Series(tmp_path))
    assert "instance 3" in message


def test_a_missing_slice_is_refused(tmp_path: Path) -> None:
    made = data.ct(tmp_path, data.identity("gap"))
    made.paths[2].unlink()
    refused("geometry-irregular", lambda: Series(tmp_path))


@pytest.mark.parametrize("syntax", ["implicit", "big-endian", "deflated", "rle", "jpeg-ls"])
def test_every_transfer_syntax_reads_alike(tmp_path: Path, syntax: str) -> None:
    who = data.identity("syntax")
    if syntax == "jpeg-ls":
        made = data.jpeg_ls(tmp_path / "jpeg", who)
        expected = np.stack([pydicom.dcmread(p).pixel_array for p in made.paths])
        np.testing.assert_array_equal(np.asarray(Series(tmp_path / "jpeg")), expected)
        return
    data.mr(tmp_path / "plain", who)
    data.mr(tmp_path / syntax, who, syntax=syntax)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in (tmp_path / syntax).iterdir():
            archive.write(path, path.name)
    plain = Series(tmp_path / "plain")
    for source in (tmp_path / syntax, tmp_path / "a.zip"):
        np.testing.assert_array_equal(np.asarray(Series(source)), np.asarray(plain))


@pytest.mark.parametrize("kind", ["native", "rle", "scaled", "multi-frame", "palette", "rgb"])
def test_a_member_of_a_zip_reads_as_the_file_that_it_was(tmp_path: Path, kind: str) -> None:
    who = data.identity("stored")
    folder = tmp_path / "files"
    if kind in ("palette", "rgb"):
        name = {"palette": "examples_palette.dcm", "rgb": "examples_rgb_color.dcm"}[kind]
        folder.mkdir()
        (folder / name).write_bytes((data.WHEEL / name).read_bytes())
    elif kind == "multi-frame":
        data.enhanced(folder, who)
    elif kind == "scaled":
        data.pet(folder, who, size=200)
    else:
        data.ct(folder, who, size=200, syntax="explicit" if kind == "native" else kind)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_STORED) as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    there, here = Series(folder), Series(tmp_path / "a.zip")
    np.testing.assert_array_equal(np.asarray(here), np.asarray(there))
    assert here.header.elements(0) == there.header.elements(0)


def test_a_zip_beyond_the_usual_limits_needs_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = data.ct(tmp_path / "ct", data.identity("empty"), slices=1, size=1024)
    images.vary(made.paths, lambda d, _: setattr(d, "PixelData", bytes(len(d.PixelData))))
    with zipfile.ZipFile("a.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.write(made.paths[0], "a.dcm")
    refused("zip-bomb", lambda: Series("a.zip"))
    Path("config").mkdir()
    Path("config/config.yaml").write_text("zip_limits: {ratio: 5000}\n")
    assert Series("a.zip").shape == (1024, 1024)


def test_nothing_and_other_things_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused("not-found", lambda: Series(tmp_path / "empty"))
    refused("not-found", lambda: Series(tmp_path / "nowhere"))
    (tmp_path / "empty" / "a.txt").write_text("hello")
    refused("format-unknown", lambda: Series(tmp_path / "empty"))
    refused("address-invalid", lambda: Series(7))
    refused("format-unfit", lambda: Series(np.zeros(4)))
    refused("format-unfit", lambda: Series(np.array([["a"]])))


# Templates and geometries


def test_an_array_takes_header_and_place_from_another_series(ct: Series, tmp_path: Path) -> None:
    values = np.asarray(ct).astype(np.float32) / 3
    made = Series(values, template=ct, geometry=ct)
    made.seriesDescription = "a third"
    assert made.axes == ct.axes
    np.testing.assert_array_equal(made.affine_lps, ct.affine_lps)
    made.write(tmp_path / "out")
    back = Series(tmp_path / "out")
    step = np.ptp(values) / 65535
    np.testing.assert_allclose(np.asarray(back), values, atol=step / 2 * 1.01)
    np.testing.assert_allclose(back.affine_lps, ct.affine_lps, atol=1e-6)
    assert (back.patientID, back.studyInstanceUID) == (ct.patientID, ct.studyInstanceUID)
    assert back.seriesInstanceUID != ct.seriesInstanceUID


def test_a_template_and_a_geometry_may_be_addresses(ct: Series, tmp_path: Path) -> None:
    folder = tmp_path / "ct"
    made = Series(np.asarray(ct), template=str(folder), geometry=folder)
    np.testing.assert_array_equal(made.affine_lps, ct.affine_lps)
    assert made.patientName == ct.patientName
    affine = np.diag([2.0, 3, 4, 1])
    np.testing.assert_array_equal(Series(np.asarray(ct), geometry=affine).affine_lps, affine)


def test_what_is_made_with_a_template_says_what_it_will_be_written_as(
    ct: Series, tmp_path: Path
) -> None:
    figure = Series(np.zeros((20, 30, 3), np.uint8), template=ct)
    volume = Series(np.asarray(ct) * 2, template=ct, geometry=ct)
    numbered = Series(np.asarray(ct)[0], template=ct)
    numbered.seriesNumber, numbered.seriesDescription = 77, "A figure"
    for number, made in enumerate((figure, volume, numbered)):
        told = (made.modality, made.seriesNumber, made.seriesDescription, made.SOPClassUID)
        made.write(tmp_path / f"made-{number}")
        back = Series(tmp_path / f"made-{number}")
        assert told == (back.modality, back.seriesNumber, back.seriesDescription, back.SOPClassUID)
    assert ct.seriesNumber is not None
    assert (figure.modality, figure.seriesNumber) == ("OT", ct.seriesNumber * 100 + 1)
    assert (volume.modality, volume.seriesNumber) == ("CT", ct.seriesNumber * 100 + 1)
    assert (numbered.modality, numbered.seriesNumber) == ("OT", 77)


@pytest.mark.parametrize("number", [None, -4, 2**31 - 1])
def test_a_template_without_a_number_to_go_by_is_no_obstacle(
    ct: Series, tmp_path: Path, number: int | None
) -> None:
    ct.seriesNumber = number
    ct.write(tmp_path / "numbered")
    assert Series(np.zeros((20, 30)), template=tmp_path / "numbered").seriesNumber == 1001


def test_a_geometry_of_another_size_is_refused(ct: Series) -> None:
    message = refused("geometry-mismatch", lambda: Series(np.zeros((3, 64, 64)), geometry=ct))
    assert "3 slices" in message
    refused("geometry-mismatch", lambda: Series(np.zeros((5, 64, 60)), geometry=ct))


def test_nifti_whose_axes_run_otherwise_is_turned_to_its_geometry(
    ct: Series, tmp_path: Path
) -> None:
    turned = np.flip(ct, axis=(0, 1))
    assert isinstance(turned, Series)
    turned.write(tmp_path / "turned.nii.gz")
    back = Series(tmp_path / "turned.nii.gz", template=ct, geometry=ct)
    np.testing.assert_array_equal(np.asarray(back), np.asarray(ct))
    np.testing.assert_allclose(back.affine_lps, ct.affine_lps, atol=1e-4)


def sagittal_nifti(ct: Series, path: Path) -> Path:
    """A NIfTI of a CT whose first axis is the CT's slice axis: read as sagittal slices."""
    nibabel.save(nibabel.Nifti1Image(np.asarray(ct), ct.affine_ras), path)
    return path


@pytest.mark.parametrize("template", [True, False])
def test_a_nifti_of_other_planes_is_written_in_those_of_its_geometry(
    ct: Series, tmp_path: Path, template: bool
) -> None:
    path = sagittal_nifti(ct, tmp_path / "sagittal.nii")
    assert Series(path).shape != ct.shape
    made = Series(path, template=ct if template else None, geometry=tmp_path / "ct")
    made.write(tmp_path / "out")
    back = Series(tmp_path / "out")
    np.testing.assert_array_equal(np.asarray(back), np.asarray(ct))
    np.testing.assert_allclose(back.affine_lps, ct.affine_lps, atol=1e-4)


@pytest.mark.parametrize("by_address", [True, False])
def test_what_lies_on_another_series_shares_its_frame_of_reference(
    ct: Series, mr: Series, tmp_path: Path, by_address: bool
) -> None:
    ct.write(tmp_path / "copy")
    geometry = tmp_path / "copy" if by_address else ct
    frame = ct.getDicomAttribute("FrameOfReferenceUID")
    made = Series(np.asarray(ct) * 2, template=mr, geometry=geometry)
    made.write(tmp_path / "out")
    assert Series(tmp_path / "out").getDicomAttribute("FrameOfReferenceUID") == frame
    nowhere = Series(np.asarray(ct) * 2, template=ct, geometry=np.diag([1.0, 2, 2, 1]))
    nowhere.write(tmp_path / "other")
    assert Series(tmp_path / "other").getDicomAttribute("FrameOfReferenceUID") != frame


def test_slices_that_are_turned_to_a_geometry_keep_no_header_of_others(
    ct: Series, tmp_path: Path
) -> None:
    made = Series(ct[::-1], geometry=ct)
    np.testing.assert_array_equal(np.asarray(made), np.asarray(ct))
    made.write(tmp_path / "out")
    of = {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, dicoms(tmp_path / "ct"))}
    for one in map(pydicom.dcmread, dicoms(tmp_path / "out")):
        for source in one.get("SourceImageSequence", []):
            old = of[source.ReferencedSOPInstanceUID]
            assert old.ImagePositionPatient == one.ImagePositionPatient


# Writing


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".npz", ".mha", ".mat"])
def test_other_formats_are_known_by_their_suffix(mr: Series, tmp_path: Path, suffix: str) -> None:
    assert mr.write(tmp_path / f"image{suffix}").complete
    back = Series(tmp_path / f"image{suffix}")
    np.testing.assert_array_equal(np.asarray(back), np.asarray(mr))
    np.testing.assert_allclose(back.affine_lps, mr.affine_lps, atol=1e-4)
    assert back.axes == mr.axes


def test_an_input_order_names_the_axis_of_a_file_that_does_not(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", array=np.zeros((2, 3, 4, 5)))
    assert Series(tmp_path / "a.npz").axes[0] == "dim1"
    assert Series(tmp_path / "a.npz", input_order="time").axes[0] == "time"


def test_sliced_and_changed_series_are_written_where_they_are(mr: Series, tmp_path: Path) -> None:
    part = mr[:, 1:, ::2, ::-1] + 1
    part.write(tmp_path / "out")
    back = Series(tmp_path / "out", input_order="time")
    _stay(back, voxels(part), 1e-6)
    assert back.imageType[:2] == ("DERIVED", "SECONDARY")
    np.testing.assert_allclose(back.timeline, mr.timeline)


def test_a_picture_is_written_to_a_single_file(tmp_path: Path) -> None:
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[:, :10, 0] = 255
    series = Series(picture)
    assert series.colour
    series.write(tmp_path / "one.dcm")
    np.testing.assert_array_equal(np.asarray(Series(tmp_path / "one.dcm")), picture)
    volume = Series(np.zeros((2, 4, 4), np.int16))
    refused("format-unfit", lambda: volume.write(tmp_path / "two.dcm"))


def test_formats_and_destinations_that_do_not_fit_are_refused(ct: Series, tmp_path: Path) -> None:
    refused("format-unknown", lambda: ct.write(tmp_path / "x", formats=["nonsense"]))
    assert ".nrrd" in refused("format-unknown", lambda: ct.write(tmp_path / "x.nrrd"))
    assert ".gz" in refused("format-unknown", lambda: ct.write(tmp_path / "x.tar.gz"))
    assert not list(tmp_path.glob("x.*"))
    refused("files-unsupported", lambda: ct.write(tmp_path / "x.zip", formats=["nifti"]))
    refused("files-unsupported", lambda: ct.write("dicom://a:1/B", formats=["dicom", "nifti"]))
    refused("server-unknown", lambda: ct.write("dicom://nowhere/AET"))
    assert not (tmp_path / "x.zip").exists()


@pytest.mark.parametrize(
    ("name", "told"), [("a.dcm.gz", "gunzip"), ("DICOMDIR", "give the folder with the files")]
)
def test_dicom_that_is_no_instance_says_what_to_do(tmp_path: Path, name: str, told: str) -> None:
    empty = data.WHEEL / "dicomdirtests" / "DICOMDIR-empty.dcm"
    image = gzip.compress((data.WHEEL / "CT_small.dcm").read_bytes())
    (tmp_path / name).write_bytes(empty.read_bytes() if name == "DICOMDIR" else image)
    for source in (tmp_path, tmp_path / name):
        with pytest.raises(SeriesportError, match=told) as caught:
            Series(source)
        assert caught.value.code == "not-found"
