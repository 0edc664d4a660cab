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

from seriesport.errors import SeriesportError
from seriesport.files import move
from seriesport.formats import sandbox
from seriesport.formats.streams import PIECE, compressing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from seriesport.formats.source import Source

TIMEOUT = 3600.0
"""Longest time that dcm2niix may take for a series, in seconds."""
_NAME = "image"
_SUFFIXES = (".nii", ".json", ".bval", ".bvec")
_SAFE = re.compile(r"[A-Za-z0-9_-]{0,60}")

_FREE_TEXT = ("ImageComments", "PatientName", "PatientID", "PatientBirthDate", "AccessionNumber")
"""What no sidecar keeps: comments are where names are typed."""


@dataclass(frozen=True, slots=True)
class _Remark:
    """A line of dcm2niix that matters: its pattern, and what we say in its place."""

    pattern: re.Pattern[str]
    text: str
    code: str = ""
    """Reason code where it is a failure."""


def _remark(pattern: str, text: str, code: str = "") -> _Remark:
    return _Remark(re.compile(pattern), text, code)


_REMARKS = (
    _remark(
        r"Missing images|images may be missing|missing images\?|Missing DICOMs",
        "dcm2niix reports missing slices",
        "conversion-incomplete",
    ),
    _remark(
        r"Interslice distance varies|slices not equidistant",
        "the distance between slices varies",
        "geometry-irregular",
    ),
    _remark(
        r"Unable to determine slice direction",
        "dcm2niix cannot tell the direction of the slices",
        "geometry-irregular",
    ),
    _remark(
        r"not large enough to store image data|appears corrupt|due to corrupt file",
        "an instance is truncated or damaged",
        "conversion-failed",
    ),
    _remark(
        r"Unable to decode|Unable to decompress|OpenJPEG failed|Unsupported transfer syntax",
        "dcm2niix cannot decode the pixels",
        "conversion-failed",
    ),
    _remark(
        r"Unsupported DICOM bit-depth",
        "dcm2niix does not take this number of bits per colour",
        "conversion-failed",
    ),
    _remark(r"Check sorted order", "dcm2niix cannot order the volumes", "conversion-incomplete"),
    _remark(r"disk full\?|Unable to write", "the temporary folder is full", "file-unwritable"),
    _remark(r"gantry tilt", "the slices are sheared by gantry tilt"),
    _remark(r"order is not spatial", "instance numbers do not follow the slices' order"),
    _remark(r"Seconds between volumes varies", "the time between volumes varies"),
    _remark(r"Discrepancy between reported", "repetition time and acquisition times disagree"),
    _remark(r"[Ss]lope.* varies", "slope or intercept varies; saved as 32-bit float"),
    _remark(r"Unable to determine manufacturer", "the manufacturer is not given"),
    _remark(r"not stacked", "the images differ and are not stacked into one volume"),
    _remark(r"Bogus spatial matrix", "the images lie nowhere in the patient"),
    _remark(r"[Ss]lice timing|SliceTiming|slice times", "slice timing is not certain"),
)


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
    source.notes += _judge(console, status, source)
    names = _names(raw)
    if not any(made.suffix == ".nii" for made in names):
        raise SeriesportError("conversion-failed", "dcm2niix made no image")
    for made, suffix in names.items():
        target = folder / f"{stem}{suffix}{made.suffix}"
        if made.suffix == ".nii":
            _check_length(made)
            _compress(made, target.with_name(target.name + ".gz"))
        elif made.suffix == ".json":
            _sidecar(made, target, source.identifiers)
        else:
            move(made, target)
        made.unlink(missing_ok=True)


def _run(source: Source, out: Path) -> tuple[str, int]:
    """Run dcm2niix, and give its console text and exit code."""
    options = ["-g", "i", "-b", "y", "-ba", "y", "-z", "n", "-w", "2"]
    command = [tool.bin, *options, "-c", "", "-f", _NAME, "-o", str(out), str(source.folder)]
    finished = sandbox.run(command, source.scratch, TIMEOUT)
    return finished.console, finished.status


def _judge(console: str, status: int, source: Source) -> list[str]:
    """Raise where the console or the exit code tells of a failure; give the remarks otherwise."""
    seen = [r for r in _REMARKS if any(r.pattern.search(line) for line in console.splitlines())]
    for remark in seen:
        if remark.code:
            raise SeriesportError(remark.code, remark.text)
    if status == 10:
        raise SeriesportError("conversion-incomplete", "dcm2niix reports incomplete volumes")
    if status < 0:
        raise SeriesportError("conversion-failed", f"dcm2niix was killed by signal {-status}")
    if status != 0:
        raise SeriesportError("conversion-failed", f"dcm2niix failed with exit code {status}")
    used = slices = 0
    for count, shape in _converted(console):
        used += count
        slices += math.prod(shape[2:])
    if used != source.images:
        raise SeriesportError(
            "conversion-incomplete", f"dcm2niix used {used} of {source.images} instances"
        )
    if slices < source.slices:
        raise SeriesportError(
            "conversion-incomplete", f"dcm2niix made {slices} of {source.slices} slices"
        )
    return [f"dcm2niix: {r.text}" for r in seen]


def _converted(console: str) -> Iterator[tuple[int, list[int]]]:
    """Of each image made: how many instances went into it, and its shape."""
    for line in console.splitlines():
        match = re.fullmatch(r"Convert (\d+) DICOM as .*\((\d+(?:x\d+)+)\)\s*", line)
        if match:
            yield int(match[1]), [int(n) for n in match[2].split("x")]


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


def _sidecar(path: Path, target: Path, identifiers: frozenset[str]) -> None:
    """Copy a BIDS sidecar without free text and without any value that repeats an identifier."""
    try:
        fields = cast(
            "dict[str, Any]", json.loads(path.read_text("utf-8", "replace"), strict=False)
        )
        kept = {k: v for k, v in fields.items() if not _personal(k, v, identifiers)}
    except (ValueError, AttributeError):
        raise SeriesportError(
            "conversion-failed", "dcm2niix made a sidecar that is no JSON object"
        ) from None
    target.write_text(json.dumps(kept, indent="\t", ensure_ascii=False) + "\n", "utf-8")


def _personal(key: str, value: object, identifiers: frozenset[str]) -> bool:
    if key in _FREE_TEXT:
        return True
    text = json.dumps(value, ensure_ascii=False).lower()
    return any(i in text for i in identifiers)
