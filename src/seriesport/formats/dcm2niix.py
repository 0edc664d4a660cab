"""NIfTI with BIDS sidecar, .bval and .bvec, by dcm2niix; compressed by isal.

One image is `STEM.nii.gz` with `STEM.json`, and `STEM.bval` and `STEM.bvec` for diffusion. Where
dcm2niix makes several of one series, its own suffix follows the stem (`STEM_e2.nii.gz` for an
echo, `_ph` for phase, `_i00003` for an instance of a localizer, `_Tilt_1` for gantry tilt
corrected, `_ROI1` for an overlay). Images that it tells apart by nothing but a letter (`STEM`,
`STEMa`) take their letters in the order of their contents' digests, since dcm2niix deals them
out in the order in which the file system lists the files.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import dcm2niix as tool
import nibabel
import numpy as np

from seriesport.errors import SeriesportError
from seriesport.formats import nifti, sandbox
from seriesport.formats.streams import PIECE, compressing
from seriesport.store.files import move
from seriesport.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from seriesport.formats.source import Source

TIMEOUT = 3600.0
"""Longest time that dcm2niix may take for a series, in seconds."""
_NAME = "image"
_SUFFIXES = (".nii", ".json", ".bval", ".bvec")
_FLAT = 1e-9
"""Volume of a voxel in mm³ below which an affine places nothing."""
_SAFE = re.compile(r"[A-Za-z0-9_-]{0,60}")

_FREE_TEXT = ("ImageComments", "PatientName", "PatientID", "PatientBirthDate", "AccessionNumber")
"""What no sidecar keeps: comments are where names are typed."""


@dataclass(frozen=True, slots=True)
class _Remark:
    """Something that dcm2niix says and that matters."""

    wordings: tuple[str, ...]
    """Parts of its lines as console/nii_dicom.cpp and console/nii_dicom_batch.cpp print them."""
    text: str
    """What we say in its place."""
    code: str = ""
    """Reason code where it is a failure."""
    ours: bool = False
    """True where it is no failure if our own reading of the series places every slice."""


def _remark(text: str, *wordings: str, code: str = "", ours: bool = False) -> _Remark:
    return _Remark(wordings, text, code, ours)


REMARKS = (
    _remark(
        "dcm2niix reports missing slices",
        "Missing images",
        "images may be missing",
        "missing images?",
        "Missing DICOMs",
        code="conversion-incomplete",
    ),
    _remark(
        "the distance between slices varies",
        "Interslice distance varies",
        "slices not equidistant",
        code="geometry-irregular",
    ),
    _remark(
        "an instance is truncated or damaged",
        "not large enough to store image data",
        "DICOM appears corrupt",
        "due to corrupt file",
        code="conversion-failed",
    ),
    _remark(
        "dcm2niix cannot decode the pixels",
        "Unable to decode",
        "Unable to decompress",
        "OpenJPEG failed",
        "Unsupported transfer syntax",
        code="conversion-failed",
    ),
    _remark(
        "dcm2niix does not take this number of bits per colour",
        "Unsupported DICOM bit-depth",
        code="conversion-failed",
    ),
    _remark(
        "the temporary folder is full", "disk full?", "Unable to write", code="file-unwritable"
    ),
    _remark(
        "dcm2niix cannot tell the direction of the slices",
        "Unable to determine slice direction",
        code="geometry-irregular",
        ours=True,
    ),
    _remark(
        "dcm2niix cannot order the volumes",
        "Check sorted order",
        code="conversion-incomplete",
        ours=True,
    ),
    _remark("the slices are sheared by gantry tilt", "antry tilt", "antry Tilt"),
    _remark("instance numbers do not follow the slices' order", "order is not spatial"),
    _remark("the time between volumes varies", "Seconds between volumes varies"),
    _remark("repetition time and acquisition times disagree", "Discrepancy between reported"),
    _remark("slope or intercept varies; saved as 32-bit float", "Intensity slope/intercept varies"),
    _remark("the manufacturer is not given", "Unable to determine manufacturer"),
    _remark("the images differ and are not stacked into one volume", "not stacked"),
    _remark("the images lie nowhere in the patient", "Bogus spatial matrix"),
    _remark("slice timing is not certain", "lice timing", "SliceTiming", "lice times"),
)
"""Every wording of dcm2niix that is relied on; a test looks each up in the installed program."""

_SINGULAR = _remark(
    "dcm2niix gives no position to the slices", code="geometry-irregular", ours=True
)
_REPEATS = re.compile("_(Tilt|Eq|ROI)")
"""In the suffix of an image that dcm2niix makes of another one's slices once more."""


def write(source: Source, folder: Path, stem: str) -> None:
    """Make STEM.nii.gz and what belongs to it.

    Raises:
        SeriesportError: conversion-failed; conversion-incomplete, where slices are missing or
            left out; geometry-irregular, where they form no regular grid; timeout;
            file-unwritable.
    """
    raw = source.scratch / "dcm2niix"
    raw.mkdir()
    console, status = _run(source, raw)
    remarks = [r for r in REMARKS if any(wording in console for wording in r.wordings)]
    _require_success(remarks, status)
    names = _names(raw)
    images = {path: _load(path) for path in names if path.suffix == ".nii"}
    remarks += [_SINGULAR] if any(map(_is_singular, images.values())) else []
    doubts = [remark for remark in remarks if remark.ours]
    source.notes += [f"dcm2niix: {remark.text}" for remark in remarks]
    if doubts:
        _write_ours(source, folder, stem, doubts[0], [p for p in names if p.suffix == ".json"])
        return
    _require_all(source, {names[path]: image.shape for path, image in images.items()})
    source.software["nifti"] = "dcm2niix"
    for made, suffix in names.items():
        target = folder / f"{stem}{suffix}{made.suffix}"
        if made.suffix == ".nii":
            _compress(made, target.with_name(target.name + ".gz"))
        elif made.suffix == ".json":
            _write_sidecar(_sidecar(made, source.identifiers), target)
        else:
            move(made, target)
        made.unlink(missing_ok=True)


def _write_ours(
    source: Source, folder: Path, stem: str, doubt: _Remark, sidecars: Sequence[Path]
) -> None:
    """Write a series that dcm2niix cannot place by our own reading of it.

    Raises:
        SeriesportError: the doubt, where we cannot place it either.
    """
    try:
        image = source.image
    except SeriesportError as error:
        raise SeriesportError(doubt.code, f"{doubt.text}; {error.message}") from error
    if image.affine_lps is None:
        raise SeriesportError(doubt.code, doubt.text)
    nifti.write(image, folder, stem, {})
    if len(sidecars) == 1:
        fields = _sidecar(sidecars[0], source.identifiers)
        fields["ConversionSoftware"], fields["ConversionSoftwareVersion"] = (
            "Seriesport",
            __version__,
        )
        _write_sidecar(fields, folder / f"{stem}.json")
    source.notes.append("written by Seriesport's own NIfTI writer")


def _run(source: Source, out: Path) -> tuple[str, int]:
    """Run dcm2niix, and give its console text and exit code."""
    options = ["-g", "i", "-b", "y", "-ba", "y", "-z", "n", "-w", "2"]
    command = [tool.bin, *options, "-c", "", "-f", _NAME, "-o", str(out), str(source.folder)]
    finished = sandbox.run(command, source.scratch, TIMEOUT)
    return finished.console, finished.status


def _require_success(remarks: Sequence[_Remark], status: int) -> None:
    """Raise where a remark or the exit code tells of a failure that nothing can mend."""
    for remark in remarks:
        if remark.code and not remark.ours:
            raise SeriesportError(remark.code, remark.text)
    if any(remark.ours for remark in remarks):
        return
    if status == 10:
        raise SeriesportError("conversion-incomplete", "dcm2niix reports incomplete volumes")
    if status < 0:
        raise SeriesportError("conversion-failed", f"dcm2niix was killed by signal {-status}")
    if status != 0:
        raise SeriesportError("conversion-failed", f"dcm2niix failed with exit code {status}")


def _require_all(source: Source, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise where the images hold fewer slices than the series.

    How many slices an instance of tiles holds is not known here: each is a volume.
    """
    if not shapes:
        raise SeriesportError("conversion-failed", "dcm2niix made no image")
    once = [shape for suffix, shape in shapes.items() if not _REPEATS.search(suffix)]
    slices = sum(math.prod(shape[2:]) for shape in once)
    volumes = sum(math.prod(shape[3:]) for shape in once)
    if source.tiled and volumes < source.tiled:
        what = f"dcm2niix made {volumes} of {source.tiled} volumes"
        raise SeriesportError("conversion-incomplete", what)
    if slices < source.slices:
        what = f"dcm2niix made {slices} of {source.slices} slices"
        raise SeriesportError("conversion-incomplete", what)


def _load(path: Path) -> nibabel.Nifti1Image:
    _check_length(path)
    return nibabel.Nifti1Image.from_filename(path)


def _is_singular(image: nibabel.Nifti1Image) -> bool:
    affine = np.asarray(image.affine, float)[:3, :3]
    return not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < _FLAT


def _names(raw: Path) -> dict[Path, str]:
    """The files that dcm2niix made, each with the suffix that follows the stem."""
    made = sorted(p for p in raw.iterdir() if p.suffix in _SUFFIXES)
    suffixes = {p: p.stem.removeprefix(_NAME) for p in made}
    for number, suffix in enumerate(sorted(set(suffixes.values())), 1):
        if not _SAFE.fullmatch(suffix):
            suffixes |= {p: f"_{number}" for p, s in suffixes.items() if s == suffix}
    return {p: _settled(s, suffixes) for p, s in suffixes.items()}


def _settled(suffix: str, suffixes: dict[Path, str]) -> str:
    """A suffix whose last letter does not depend on the order of files."""
    images = {s: p for p, s in suffixes.items() if p.suffix == ".nii"}
    base = suffix[:-1] if suffix[-1:].islower() and suffix[:-1] in images else suffix
    rivals = [s for s in images if s == base or (s[:-1] == base and s[-1:].islower())]
    if suffix not in rivals or len(rivals) == 1:
        return suffix
    order = sorted(rivals, key=lambda s: hashlib.sha256(images[s].read_bytes()).digest())
    return sorted(rivals)[order.index(suffix)]


def _check_length(path: Path) -> None:
    """Refuse a NIfTI-1 file that is shorter than its header says."""
    with path.open("rb") as stream:
        header = stream.read(348)
    if len(header) < 348:
        raise SeriesportError("conversion-failed", "dcm2niix made a file that is no NIfTI")
    order = "<" if struct.unpack_from("<i", header)[0] == 348 else ">"
    shape = struct.unpack_from(f"{order}8h", header, 40)
    (bits,) = struct.unpack_from(f"{order}h", header, 72)
    (offset,) = struct.unpack_from(f"{order}f", header, 108)
    size = int(offset) + math.prod(shape[1 : shape[0] + 1]) * bits // 8
    if path.stat().st_size < size:
        raise SeriesportError("conversion-failed", "dcm2niix made a truncated image")


def _compress(path: Path, target: Path) -> None:
    with path.open("rb") as stream, compressing(target) as out:
        while chunk := stream.read(PIECE):
            out.write(chunk)


def _sidecar(path: Path, identifiers: frozenset[str]) -> dict[str, Any]:
    """Read a BIDS sidecar without free text and without any value that repeats an identifier."""
    try:
        fields = cast(
            "dict[str, Any]", json.loads(path.read_text("utf-8", "replace"), strict=False)
        )
        return {k: v for k, v in fields.items() if not _personal(k, v, identifiers)}
    except (ValueError, AttributeError):
        raise SeriesportError(
            "conversion-failed", "dcm2niix made a sidecar that is no JSON object"
        ) from None


def _write_sidecar(fields: Mapping[str, Any], target: Path) -> None:
    target.write_text(json.dumps(fields, indent="\t", ensure_ascii=False) + "\n", "utf-8")


def _personal(key: str, value: object, identifiers: frozenset[str]) -> bool:
    if key in _FREE_TEXT:
        return True
    text = json.dumps(value, ensure_ascii=False).lower()
    return any(i in text for i in identifiers)
