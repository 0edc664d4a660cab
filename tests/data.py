"""Builders of DICOM series: small or realistic, the same for the same seed, with UIDs of their own.

    made = data.ct(tmp_path / "ct", data.identity("a test's name"), slices=5)

Every builder writes one file per instance and gives a `Made`. All identifiers can be given:
`data.identity("seed", patient_id="CANARY")`.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    RLELossless,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

ROOT = "1.2.826.0.1.3680043.10.1511"
PRIVATE_SOP_CLASS = UID(f"{ROOT}.1.1")
WHEEL = Path(pydicom.__file__).parent / "data" / "test_files"

SYNTAXES: dict[str, UID] = {
    "implicit": ImplicitVRLittleEndian,
    "explicit": ExplicitVRLittleEndian,
    "big-endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg2000": JPEG2000Lossless,
    "jpeg-ls": JPEGLSLossless,
}


def uid(*parts: object) -> str:
    """A UID that depends on the parts alone."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return f"{ROOT}.{int.from_bytes(digest[:12], 'big')}"


@dataclass(frozen=True)
class Identity:
    """What names a series and the study and patient that it belongs to."""

    seed: str
    patient_id: str
    patient_name: str
    accession_number: str
    study_instance_uid: str
    series_instance_uid: str
    series_number: int = 1
    series_description: str = "Made for a test"
    study_description: str = "Tests"
    patient_birth_date: str = "19700102"
    character_set: str = "ISO_IR 192"

    def series(self, number: int, **changes: Any) -> Identity:
        """Another series of the same study."""
        changed: dict[str, Any] = {
            "series_instance_uid": uid(self.seed, "series", number),
            "series_number": number,
        }
        return replace(self, **(changed | changes))

    def study(self, name: object, **changes: Any) -> Identity:
        """Another study of the same patient."""
        seed = f"{self.seed}/{name}"
        changed: dict[str, Any] = {
            "seed": seed,
            "study_instance_uid": uid(seed, "study"),
            "series_instance_uid": uid(seed, "series", self.series_number),
        }
        return replace(self, **(changed | changes))

    def instance_uid(self, number: int) -> str:
        """The SOP Instance UID of the instance with this number."""
        return uid(self.seed, self.series_instance_uid, "instance", number)


def identity(seed: str, **changes: Any) -> Identity:
    """Identifiers that no other seed gives; each may be given instead."""
    digits = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big")
    made = Identity(
        seed=seed,
        patient_id=f"P{digits}",
        patient_name=f"Test^P{digits}",
        accession_number=f"A{digits}",
        study_instance_uid=uid(seed, "study"),
        series_instance_uid=uid(seed, "series", changes.get("series_number", 1)),
    )
    return replace(made, **changes)


@dataclass(frozen=True)
class Made:
    """A series on disk."""

    identity: Identity
    paths: list[Path]
    uids: list[str]
    sop_class_uid: str
    transfer_syntax_uid: str

    @property
    def datasets(self) -> dict[str, bytes]:
        """By SOP Instance UID, the encoded data set; read anew each time."""
        return dict(zip(self.uids, map(dataset_bytes, self.paths), strict=True))


def dataset_bytes(path: Path) -> bytes:
    """The encoded data set of a DICOM file: what follows the file meta information (PS3.10 7.1)."""
    content = path.read_bytes()
    assert content[128:132] == b"DICM", f"{path.name} is no DICOM file"
    group, element, vr, length, value = struct.unpack_from("<HH2sHI", content, 132)
    assert (group, element, vr, length) == (2, 0, b"UL", 4), f"{path.name} has no group length"
    return content[144 + value :]


def transfer_syntax(path: Path) -> str:
    """The transfer syntax that a file's meta information names."""
    return str(pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID)


# Series of single-frame images


def ct(
    folder: Path,
    who: Identity,
    *,
    slices: int = 5,
    size: int = 64,
    syntax: str = "explicit",
    spacing: float = 1.5,
) -> Made:
    """CT, int16, axial: noise over a bright disc. 200 slices of 512 are 106 MB."""
    random = np.random.default_rng(_number(who.seed))
    base = _disc(size, 40, 1000) - 1024
    noise = random.normal(0, 12, (4, size, size)).astype(np.int16)
    instances: list[Dataset] = []
    for i in range(slices):
        image = (base + np.roll(noise[i % 4], 7 * i, axis=0)).astype(np.int16)
        instance = _image(who, CTImageStorage, "CT", i + 1, image)
        _place(instance, z=spacing * i, pixel=360 / size, thickness=spacing)
        instance.RescaleIntercept, instance.RescaleSlope = "0", "1"
        instance.RescaleType, instance.KVP = "HU", "120"
        instance.WindowCenter, instance.WindowWidth = "40", "400"
        instances.append(instance)
    return _write(folder, who, instances, syntax)


def mr(
    folder: Path,
    who: Identity,
    *,
    times: int = 3,
    slices: int = 4,
    size: int = 64,
    syntax: str = "explicit",
    spacing: float = 3.0,
) -> Made:
    """MR, times x slices images as acquired: all slices of a time, then those of the next."""
    random = np.random.default_rng(_number(who.seed))
    base = _disc(size, 100, 600)
    instances: list[Dataset] = []
    for t in range(times):
        for z in range(slices):
            noise = random.integers(0, 40, (size, size))
            instance = _image(
                who,
                MRImageStorage,
                "MR",
                len(instances) + 1,
                (base + 25 * t + noise).astype(np.int16),
            )
            _place(instance, z=spacing * z, pixel=220 / size, thickness=spacing)
            instance.ScanningSequence, instance.SequenceVariant = "EP", "SK"
            instance.ScanOptions, instance.MRAcquisitionType = "", "2D"
            instance.RepetitionTime, instance.EchoTime = str(100 * slices), "30"
            instance.TemporalPositionIdentifier, instance.NumberOfTemporalPositions = t + 1, times
            instance.AcquisitionNumber = t + 1
            seconds = 0.1 * slices * t
            instance.AcquisitionTime = f"12{seconds // 60:02.0f}{seconds % 60:09.6f}"
            instance.TriggerTime = str(100 * slices * t)
            instances.append(instance)
    return _write(folder, who, instances, syntax)


def pet(
    folder: Path, who: Identity, *, slices: int = 5, size: int = 64, syntax: str = "explicit"
) -> Made:
    """PET with a rescale slope of each slice's own."""
    random = np.random.default_rng(_number(who.seed))
    instances: list[Dataset] = []
    for i in range(slices):
        image = (_disc(size, 0, 20000) + random.integers(0, 500, (size, size))).astype(np.int16)
        instance = _image(who, PositronEmissionTomographyImageStorage, "PT", i + 1, image)
        _place(instance, z=4.0 * i, pixel=4.0, thickness=4.0)
        instance.RescaleIntercept, instance.RescaleSlope = "0", f"{0.5 + 0.01 * i:.4f}"
        instance.Units, instance.CountsSource, instance.DecayCorrection = (
            "BQML",
            "EMISSION",
            "START",
        )
        instance.SeriesType = ["STATIC", "IMAGE"]
        instance.NumberOfSlices, instance.ImageIndex = slices, i + 1
        instance.FrameReferenceTime, instance.ActualFrameDuration = "0", "60000"
        tracer = Dataset()
        tracer.RadionuclideTotalDose, tracer.RadionuclideHalfLife = "350000000", "6586.2"
        tracer.RadiopharmaceuticalStartTime = "110000"
        instance.RadiopharmaceuticalInformationSequence = DicomSequence([tracer])
        instances.append(instance)
    return _write(folder, who, instances, syntax)


def jpeg_ls(folder: Path, who: Identity, *, instances: int = 3) -> Made:
    """MR, JPEG-LS lossless, from the file in pydicom's wheel."""
    made: list[Dataset] = []
    for i in range(instances):
        one = pydicom.dcmread(WHEEL / "MR_small_jpeg_ls_lossless.dcm")
        _identify(one, who, i + 1)
        _place(one, z=5.0 * i, pixel=0.3125, thickness=5.0)
        one["PixelData"].VR = "OB"  # as PS3.5 annex A.4 wants it; DCMTK corrects it on its way
        one.pop("DataSetTrailingPadding", None)
        made.append(one)
    return _write(folder, who, made, "jpeg-ls")


# Other kinds of instances


def enhanced(
    folder: Path,
    who: Identity,
    *,
    frames: int = 20,
    size: int = 64,
    modality: str = "MR",
    syntax: str = "explicit",
) -> Made:
    """One Enhanced MR or CT instance of many frames. 50 frames of 512 are 26 MB."""
    random = np.random.default_rng(_number(who.seed))
    noise = random.integers(0, 60, (frames, size, size))
    sop_class = EnhancedMRImageStorage if modality == "MR" else EnhancedCTImageStorage
    instance = _image(who, sop_class, modality, 1, (_disc(size, 50, 800) + noise).astype(np.int16))
    instance.NumberOfFrames = frames
    instance.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    instance.AcquisitionDateTime, instance.ContentQualification = "20240102120000", "RESEARCH"
    organization = Dataset()
    organization.DimensionOrganizationUID = uid(who.seed, "dimensions")
    instance.DimensionOrganizationSequence = DicomSequence([organization])
    instance.DimensionIndexSequence = DicomSequence(
        [_dimension(who, 0x00209056), _dimension(who, 0x00209057)]
    )
    instance.SharedFunctionalGroupsSequence = DicomSequence([_shared_groups(size)])
    instance.PerFrameFunctionalGroupsSequence = DicomSequence(
        [_frame_groups(i) for i in range(frames)]
    )
    return _write(folder, who, [instance], syntax)


def sr(folder: Path, who: Identity, *, instances: int = 1, syntax: str = "explicit") -> Made:
    """Basic Text SR: no pixels, nested sequences."""
    made: list[Dataset] = []
    for i in range(instances):
        report = Dataset()
        _identify(report, who, i + 1)
        report.SOPClassUID, report.Modality = BasicTextSRStorage, "SR"
        report.CompletionFlag, report.VerificationFlag = "COMPLETE", "UNVERIFIED"
        report.ContentDate, report.ContentTime = "20240102", "120000"
        report.ReferencedPerformedProcedureStepSequence = DicomSequence([])
        report.PerformedProcedureCodeSequence = DicomSequence([])
        report.ValueType, report.ContinuityOfContent = "CONTAINER", "SEPARATE"
        report.ConceptNameCodeSequence = DicomSequence([_code("126000", "DCM", "Imaging Report")])
        text = Dataset()
        text.RelationshipType, text.ValueType = "CONTAINS", "TEXT"
        text.ConceptNameCodeSequence = DicomSequence([_code("121071", "DCM", "Finding")])
        text.TextValue = f"Nothing found, {i}"
        report.ContentSequence = DicomSequence([text])
        made.append(report)
    return _write(folder, who, made, syntax)


def private(folder: Path, who: Identity, *, instances: int = 2, syntax: str = "explicit") -> Made:
    """Instances of a private SOP class, with a private block of bytes."""
    made: list[Dataset] = []
    for i in range(instances):
        one = Dataset()
        _identify(one, who, i + 1)
        one.SOPClassUID, one.Modality = PRIVATE_SOP_CLASS, "OT"
        block = one.private_block(0x0011, "SERIESPORT TESTS", create=True)
        block.add_new(0x01, "OB", bytes(range(256)) * 8)
        block.add_new(0x02, "LO", f"number {i}")
        made.append(one)
    return _write(folder, who, made, syntax)


# The parts


def _number(seed: str) -> int:
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")


def _disc(size: int, low: int, high: int) -> npt.NDArray[np.int32]:
    y, x = np.mgrid[:size, :size] - size / 2
    inside = x**2 / (0.42 * size) ** 2 + y**2 / (0.33 * size) ** 2 < 1
    return np.where(inside, high, low).astype(np.int32)


def _identify(instance: Dataset, who: Identity, number: int) -> None:
    instance.SpecificCharacterSet = who.character_set
    instance.SOPInstanceUID = who.instance_uid(number)
    instance.StudyDate, instance.SeriesDate = "20240102", "20240102"
    instance.StudyTime, instance.SeriesTime = "120000", "120000"
    instance.AccessionNumber, instance.ReferringPhysicianName = who.accession_number, ""
    instance.Manufacturer, instance.StudyID = "Seriesport", "1"
    instance.StudyDescription = who.study_description
    instance.SeriesDescription = who.series_description
    instance.PatientName, instance.PatientID = who.patient_name, who.patient_id
    instance.PatientBirthDate, instance.PatientSex = who.patient_birth_date, "O"
    instance.StudyInstanceUID = who.study_instance_uid
    instance.SeriesInstanceUID = who.series_instance_uid
    instance.SeriesNumber, instance.InstanceNumber = who.series_number, number


def _image(
    who: Identity, sop_class: UID, modality: str, number: int, pixels: npt.NDArray[np.int16]
) -> Dataset:
    instance = Dataset()
    _identify(instance, who, number)
    instance.SOPClassUID, instance.Modality = sop_class, modality
    instance.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    instance.AcquisitionDate, instance.AcquisitionTime = "20240102", "120000"
    instance.ContentDate, instance.ContentTime = "20240102", "120000"
    instance.FrameOfReferenceUID, instance.PositionReferenceIndicator = uid(who.seed, "frame"), ""
    instance.PatientPosition = "HFS"
    instance.SamplesPerPixel, instance.PhotometricInterpretation = 1, "MONOCHROME2"
    instance.Rows, instance.Columns = pixels.shape[-2:]
    instance.BitsAllocated, instance.BitsStored, instance.HighBit = 16, 16, 15
    instance.PixelRepresentation = 1
    instance.PixelData = pixels.astype("<i2").tobytes()
    instance["PixelData"].VR = "OW"
    return instance


def _place(instance: Dataset, *, z: float, pixel: float, thickness: float) -> None:
    half = pixel * (int(instance.Rows) - 1) / 2
    instance.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    instance.ImagePositionPatient = [f"{-half:.6f}", f"{-half:.6f}", f"{z:.6f}"]
    instance.PixelSpacing = [f"{pixel:.6f}"] * 2
    instance.SliceThickness = f"{thickness:.4f}"
    instance.SliceLocation = f"{z:.4f}"


def _dimension(who: Identity, pointer: int) -> Dataset:
    index = Dataset()
    index.DimensionOrganizationUID = uid(who.seed, "dimensions")
    index.DimensionIndexPointer, index.FunctionalGroupPointer = pointer, 0x00209111
    return index


def _shared_groups(size: int) -> Dataset:
    shared, measures, orientation, rescale = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [f"{220 / size:.6f}"] * 2, "3"
    measures.SpacingBetweenSlices = "3"
    orientation.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    rescale.RescaleIntercept, rescale.RescaleSlope, rescale.RescaleType = "0", "1", "US"
    shared.PixelMeasuresSequence = DicomSequence([measures])
    shared.PlaneOrientationSequence = DicomSequence([orientation])
    shared.PixelValueTransformationSequence = DicomSequence([rescale])
    return shared


def _frame_groups(i: int) -> Dataset:
    groups, content, position = Dataset(), Dataset(), Dataset()
    content.StackID, content.InStackPositionNumber = "1", i + 1
    content.DimensionIndexValues = [1, i + 1]
    content.FrameAcquisitionNumber = 1
    content.FrameAcquisitionDateTime = "20240102120000"
    position.ImagePositionPatient = ["-110", "-110", f"{3.0 * i:.4f}"]
    groups.FrameContentSequence = DicomSequence([content])
    groups.PlanePositionSequence = DicomSequence([position])
    return groups


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _write(folder: Path, who: Identity, instances: Sequence[Dataset], syntax: str) -> Made:
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for i, instance in enumerate(instances):
        path = folder / f"{i + 1:06d}.dcm"
        write(instance, path, syntax)
        paths.append(path)
    uids = [str(instance.SOPInstanceUID) for instance in instances]
    return Made(who, paths, uids, str(instances[0].SOPClassUID), str(SYNTAXES[syntax]))


def write(instance: Dataset, path: Path, syntax: str = "explicit") -> None:
    """Write an uncompressed, little-endian data set as a file in a transfer syntax (see SYNTAXES).

    One that is compressed already is written in the syntax that it has.
    """
    wanted = SYNTAXES[syntax]
    instance.file_meta = FileMetaDataset()
    instance.file_meta.MediaStorageSOPClassUID = instance.SOPClassUID
    instance.file_meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
    instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if wanted in (RLELossless, JPEG2000Lossless) and "PixelData" in instance:
        instance.compress(wanted, generate_instance_uid=False)
    else:
        instance.file_meta.TransferSyntaxUID = wanted
        if wanted == ExplicitVRBigEndian and "PixelData" in instance:
            instance.PixelData = np.frombuffer(instance.PixelData, "<i2").astype(">i2").tobytes()
    instance.save_as(path, enforce_file_format=True)
