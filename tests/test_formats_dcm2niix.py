from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dcm2niix as tool
import nibabel
import numpy as np
import psutil
import pydicom
import pytest

import data
import images
from seriesport.errors import SeriesportError
from seriesport.formats import dcm2niix
from seriesport.images.image import Image
from seriesport.workflow.conversion import Conversion, convert

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CANARIES = {
    "patient_id": "CANARYID77",
    "patient_name": "Canaryname^Given",
    "accession_number": "CANARYACC",
}


def make(files: Sequence[Path], tmp_path: Path, out: str = "out") -> tuple[Conversion, Path]:
    scratch, target = tmp_path / "scratch", tmp_path / out
    scratch.mkdir(exist_ok=True)
    conversion = convert(files, "k3y", target, ["nifti"], scratch)
    assert list(scratch.iterdir()) == []
    return conversion, target


def refusal(files: Sequence[Path], tmp_path: Path) -> SeriesportError:
    with pytest.raises(SeriesportError) as caught:
        make(files, tmp_path)
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []
    assert list((tmp_path / "scratch").iterdir()) == []
    return caught.value


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


# The same voxels in the same places, looked up in RAS, as our own reading of the series


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ct", {"slices": 9}),
        ("ct", {"slices": 3, "syntax": "jpeg2000"}),
        ("ct", {"slices": 3, "syntax": "rle"}),
        ("ct", {"slices": 3, "syntax": "big-endian"}),
        ("ct", {"slices": 3, "syntax": "deflated"}),
        ("pet", {"slices": 4}),
        ("enhanced", {"frames": 8}),
        ("enhanced", {"frames": 8, "modality": "CT", "syntax": "jpeg2000"}),
    ],
)
def test_a_volume_has_the_same_voxels_in_the_same_places_as_the_series(
    tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    made = getattr(data, kind)(tmp_path / "in", data.identity(f"{kind} {options}"), **options)
    conversion, out = make(made.paths, tmp_path)
    assert names(out) == ["k3y.json", "k3y.nii.gz"]
    assert sum(o.size for o in conversion.outputs) == sum(p.stat().st_size for p in out.iterdir())
    plain = [p for p in made.paths if options.get("syntax") != "deflated"]
    if plain:
        images.agrees_with_nifti(Image.read(plain), out / "k3y.nii.gz")


def test_an_oblique_volume_agrees_too(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("oblique"), slices=6)
    images.vary(made.paths, lambda d, i: images.place(d, i, images.OBLIQUE, -2.5))
    _, out = make(made.paths, tmp_path)
    images.agrees_with_nifti(Image.read(made.paths), out / "k3y.nii.gz")


def test_volumes_over_time_agree_too(tmp_path: Path) -> None:
    made = data.mr(tmp_path / "in", data.identity("4-D"), times=3, slices=4)
    _, out = make(made.paths, tmp_path)
    assert nibabel.load(out / "k3y.nii.gz").shape == (64, 64, 4, 3)
    images.agrees_with_nifti(Image.read(made.paths), out / "k3y.nii.gz")


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small.dcm", "MR_small_jpeg_ls_lossless.dcm", "693_J2KI.dcm"]
)
def test_real_images_agree_too(tmp_path: Path, name: str) -> None:
    _, out = make([data.WHEEL / name], tmp_path)
    series = Image.read([data.WHEEL / name])
    image = np.asarray(nibabel.load(out / "k3y.nii.gz").dataobj)
    np.testing.assert_array_equal(image[:, ::-1, 0].T, series.array)


def test_a_real_stack_agrees_too(tmp_path: Path) -> None:
    files = sorted((data.WHEEL / "dicomdirtests" / "98892001" / "CT5N").iterdir())
    _, out = make(files, tmp_path)
    images.agrees_with_nifti(Image.read(files), out / "k3y.nii.gz")


# What is kept


def test_b_values_and_directions_are_kept(tmp_path: Path) -> None:
    made = data.mr(tmp_path / "in", data.identity("dwi"), times=4, slices=3)
    images.vary(made.paths, lambda d, i: images.diffusion(d, i // 3))
    _, out = make(made.paths, tmp_path)
    assert names(out) == ["k3y.bval", "k3y.bvec", "k3y.json", "k3y.nii.gz"]
    assert np.loadtxt(out / "k3y.bval").tolist() == [0, 1000, 1000, 1000]
    assert np.abs(np.loadtxt(out / "k3y.bvec")).sum(axis=0).tolist() == [0, 1, 1, 1]


def test_several_images_of_one_series_are_all_kept(tmp_path: Path) -> None:
    made = data.mr(tmp_path / "in", data.identity("echoes"), times=2, slices=3)

    def echo(dataset: Any, i: int) -> None:
        dataset.EchoTime, dataset.EchoNumbers = str(10 + i // 3), i // 3 + 1

    images.vary(made.paths, echo)
    conversion, out = make(made.paths, tmp_path)
    expected = ["k3y_e1.json", "k3y_e1.nii.gz", "k3y_e2.json", "k3y_e2.nii.gz"]
    assert names(out) == expected
    assert [o.name for o in conversion.outputs] == expected
    assert json.loads((out / "k3y_e2.json").read_text())["EchoTime"] == 0.011


def test_images_that_differ_by_a_letter_keep_it_whatever_the_order_of_files(
    tmp_path: Path,
) -> None:
    made = data.ct(tmp_path / "in", data.identity("letters"), slices=6)

    def two_kinds(dataset: Any, i: int) -> None:
        dataset.ImageType = ["ORIGINAL" if i < 3 else "DERIVED", "PRIMARY", "AXIAL"]
        images.place(dataset, i % 3, ["1", "0", "0", "0", "1", "0"], 2)

    images.vary(made.paths, two_kinds)
    first, out = make(made.paths, tmp_path)
    assert names(out) == ["k3y.json", "k3y.nii.gz", "k3ya.json", "k3ya.nii.gz"]
    second, _ = make(made.paths[::-1], tmp_path, "again")
    assert first.outputs == second.outputs
    for stem in ("k3y", "k3ya"):
        derived = json.loads((out / f"{stem}.json").read_text())["ImageType"][0] == "DERIVED"
        files = made.paths[3:] if derived else made.paths[:3]
        images.agrees_with_nifti(Image.read(files), out / f"{stem}.nii.gz")


def test_the_same_series_gives_the_same_bytes(tmp_path: Path) -> None:
    made = data.mr(tmp_path / "in", data.identity("same"))
    first, out = make(made.paths, tmp_path)
    second, _ = make(made.paths, tmp_path, "again")
    assert first.outputs == second.outputs
    header = (out / "k3y.nii.gz").read_bytes()[:10]
    assert header[3] == 0, "the gzip header carries a name"
    assert header[4:8] == bytes(4), "the gzip header carries a time"


def test_no_identifier_is_in_image_sidecar_or_notes(tmp_path: Path) -> None:
    made = data.mr(tmp_path / "in", data.identity("canary", **CANARIES))

    def talk(dataset: Any, _: int) -> None:
        dataset.ImageComments = "comment of Mx Canaryname"
        dataset.SeriesDescription = "knee CANARYNAME left"
        dataset.ProtocolName = "CANARYID77_protocol"
        dataset.OperatorsName = "Operatorcanary"
        dataset.InstitutionName = "Operatorcanary's house"

    images.vary(made.paths, talk)
    conversion, out = make(made.paths, tmp_path)
    text = gzip.decompress((out / "k3y.nii.gz").read_bytes()).lower()
    text += (out / "k3y.json").read_bytes().lower() + str(conversion.notes).lower().encode()
    for canary in (b"canary", made.identity.series_instance_uid.encode(), b"19700102"):
        assert canary not in text
    assert json.loads((out / "k3y.json").read_text())["EchoTime"] == 0.03


# What dcm2niix says, and what it cannot place


def test_each_wording_that_is_relied_on_is_one_of_the_installed_program() -> None:
    program = Path(tool.bin).read_bytes()
    wordings = [w for remark in dcm2niix.REMARKS for w in remark.wordings]
    assert [w for w in wordings if w.encode() not in program] == []


def timed(made: data.Made) -> list[Path]:
    """Put all frames of an Enhanced instance at one place, one a second."""

    def at_once(dataset: Any, _: int) -> None:
        for i, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            frame.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 0]
            frame.FrameContentSequence[0].FrameAcquisitionDateTime = f"2020010100000{i}"

    return images.vary(made.paths, at_once)


def test_a_series_that_dcm2niix_cannot_place_is_written_by_our_own_writer(tmp_path: Path) -> None:
    made = data.enhanced(tmp_path / "in", data.identity("one place", **CANARIES), frames=8)
    files = timed(made)
    conversion, out = make(files, tmp_path)
    assert names(out) == ["k3y.json", "k3y.nii.gz"]
    assert {output.software for output in conversion.outputs} == {"seriesport"}
    assert "written by Seriesport's own NIfTI writer" in conversion.notes
    voxels = np.asarray(nibabel.load(out / "k3y.nii.gz").dataobj)
    assert voxels.shape == (64, 64, 1, 8)
    np.testing.assert_array_equal(voxels[:, :, 0].T, Image.read(files).array)
    sidecar = json.loads((out / "k3y.json").read_text())
    assert sidecar["ConversionSoftware"] == "Seriesport"
    assert "CANARY" not in str(sidecar).upper()


def test_slices_without_a_place_are_refused(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("nowhere"), slices=4)
    images.vary(made.paths, lambda d, _: d.__delattr__("ImagePositionPatient"))
    assert refusal(made.paths, tmp_path).code == "geometry-irregular"


def test_a_singular_affine_is_refused(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("singular"), slices=4)
    flat = ["1", "0", "0", "1", "0", "0"]
    images.vary(made.paths, lambda d, _: setattr(d, "ImageOrientationPatient", flat))
    assert refusal(made.paths, tmp_path).code == "geometry-irregular"


def talking(
    monkeypatch: pytest.MonkeyPatch, line: str, change: Callable[[Path], object] = lambda _: None
) -> None:
    """Let dcm2niix say a line more, and change what it made."""
    run = dcm2niix._run

    def talk(source: Any, out: Path) -> tuple[str, int]:
        console, status = run(source, out)
        change(out)
        return f"{line}{console}", status

    monkeypatch.setattr(dcm2niix, "_run", talk)


def test_a_warning_without_an_end_of_line_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = data.ct(tmp_path / "in", data.identity("no newline"), slices=8)
    talking(monkeypatch, "Warning: Slices were spatially flipped")
    conversion, _ = make(made.paths, tmp_path)
    assert {output.software for output in conversion.outputs} == {"dcm2niix"}


def split(out: Path) -> None:
    """Make two images of one, as of an Enhanced file with magnitude and field map."""
    image = nibabel.load(out / "image.nii", mmap=False)
    voxels = np.asarray(image.dataobj)
    half = voxels.shape[2] // 2
    for name, part in (("image", voxels[:, :, :half]), ("image_fieldmap", voxels[:, :, half:])):
        nibabel.save(nibabel.Nifti1Image(part, image.affine), out / f"{name}.nii")


def test_one_instance_that_becomes_two_images_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = data.enhanced(tmp_path / "in", data.identity("two of one"), frames=8)
    talking(monkeypatch, "", split)
    _, out = make(made.paths, tmp_path)
    assert [n for n in names(out) if n.endswith(".gz")] == [
        "k3y.nii.gz",
        "k3y_fieldmap.nii.gz",
    ]


def test_an_image_that_repeats_slices_makes_up_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = data.ct(tmp_path / "in", data.identity("tilt"), slices=6)

    def halve(out: Path) -> None:
        split(out)
        for suffix in ("", "_Tilt_1"):
            shutil.copy(out / "image_fieldmap.nii", out / f"image{suffix}.nii")
        (out / "image_fieldmap.nii").unlink()

    talking(monkeypatch, "", halve)
    error = refusal(made.paths, tmp_path)
    assert error.message == "dcm2niix made 3 of 6 slices"


# What is refused


def test_a_missing_slice_is_incomplete(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("hole"), slices=9)
    assert refusal(made.paths[:4] + made.paths[5:], tmp_path).code == "conversion-incomplete"


def test_a_missing_slice_of_one_volume_is_incomplete(tmp_path: Path) -> None:
    made = data.mr(tmp_path / "in", data.identity("hole 4-D"), times=3, slices=4)
    assert refusal(made.paths[:-1], tmp_path).code == "conversion-incomplete"


def test_uneven_spacing_is_irregular(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("uneven"), slices=6)

    def spread(dataset: Any, i: int) -> None:
        dataset.ImagePositionPatient = ["0", "0", str(2 * i if i < 3 else 5 * i - 9)]

    assert refusal(images.vary(made.paths, spread), tmp_path).code == "geometry-irregular"


def test_an_instance_that_dcm2niix_leaves_out_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = data.ct(tmp_path / "in", data.identity("left out"), slices=6)
    run = dcm2niix._run

    def forgetful(source: Any, out: Path) -> tuple[str, int]:
        (source.folder / "000006.dcm").unlink()
        return run(source, out)

    monkeypatch.setattr(dcm2niix, "_run", forgetful)
    error = refusal(made.paths, tmp_path)
    assert (error.code, error.message) == (
        "conversion-incomplete",
        "dcm2niix made 5 of 6 slices",
    )


def test_a_truncated_instance_fails(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("cut"), slices=4)
    made.paths[2].write_bytes(made.paths[2].read_bytes()[:-2000])
    assert refusal(made.paths, tmp_path).code in ("conversion-failed", "conversion-incomplete")


def test_a_report_is_no_image(tmp_path: Path) -> None:
    made = data.sr(tmp_path / "in", data.identity("sr"))
    assert refusal(made.paths, tmp_path).code == "not-an-image"


def test_a_report_among_images_is_passed_over(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("both"), slices=3)
    report = data.sr(tmp_path / "sr", data.identity("both"))
    _, out = make([*report.paths, *made.paths], tmp_path)
    assert nibabel.load(out / "k3y.nii.gz").shape == (64, 64, 3)


def test_a_converter_that_takes_too_long_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = data.ct(tmp_path / "in", data.identity("slow"), slices=30)
    monkeypatch.setattr(dcm2niix, "TIMEOUT", 0.0)
    assert refusal(made.paths, tmp_path).code == "timeout"
    assert not [c for c in psutil.Process().children() if "dcm2niix" in c.name()]


def test_a_hostile_description_names_no_file(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("hostile"), slices=2)

    def hostile(dataset: pydicom.Dataset, _: int) -> None:
        dataset.SeriesDescription = "$(touch /tmp/pwned); ../../x %s %n"
        dataset.ProtocolName = dataset.SeriesDescription

    _, out = make(images.vary(made.paths, hostile), tmp_path)
    assert names(out) == ["k3y.json", "k3y.nii.gz"]
