"""Every series of freely licensed sets that Seriesport and dcm2niix can both read: are shape,
affine and every voxel the same?

    python benchmarks/agreement.py [--keep FOLDER] [--built] [DIRECTORY ...]

The sets: pydicom's test files, those of nibabel, of pydicom-data and of heudiconv (from the
package registry at the first run, 45 MB below ~/.cache/seriesport), the series that the tests
build, and the directories given. A series is what has one Series Instance UID in one folder.

A NIfTI volume agrees where its affine is ours with axes swapped and turned round, up to 1e-3 mm
(1e-4 for directions), and all its values are ours up to float32 rounding; the thickness of a
single slice is left out. Lossy JPEG agrees below one level on average. Volumes are matched by
content: their order is shown where it differs. Where an image has no place in the patient,
dcm2niix makes one up; then shape and values alone are compared.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dcm2niix
import nibabel
import numpy as np
import pydicom
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit

from seriesport.errors import SeriesportError
from seriesport.images.image import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import data

LOSSY_MEAN = 1.0
"""Decoders of lossy JPEG round differently and fill in subsampled colour differently: by less
than one level on average."""
PACKAGES = (("pydicom-data==1.0.0", ":none:"), ("heudiconv==1.5.1", ":all:"))
NOT_DICOM = (".nii", ".txt", ".json", ".py", ".md", ".csv", ".jpg", ".png", ".pyc")


@dataclass(frozen=True)
class Result:
    """What came of one series."""

    source: str
    name: str
    verdict: str
    remark: str


def downloaded() -> list[tuple[str, Path]]:
    """The sets of the package registry, unpacked."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folders: list[tuple[str, Path]] = []
    for package, binary in PACKAGES:
        name = package.partition("=")[0]
        folder = cache / "seriesport" / "agreement" / package.replace("==", "-")
        whole = folder / "whole"
        if not whole.exists():
            folder.mkdir(parents=True, exist_ok=True)
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            subprocess.run([*pip, "--no-binary", binary, package, "-d", str(folder)], check=True)
            for archive in [*folder.glob("*.whl"), *folder.glob("*.tar.gz")]:
                if archive.suffix == ".whl":
                    with zipfile.ZipFile(archive) as opened:
                        opened.extractall(folder / "files")
                else:
                    with tarfile.open(archive) as opened:
                        opened.extractall(folder / "files", filter="data")
            whole.touch()
        folders.append((name, folder / "files"))
    return folders


def built(folder: Path) -> Path:
    """The series that the tests build."""
    who = data.identity("agreement")
    data.ct(folder / "ct", who.series(1), slices=12)
    data.mr(folder / "mr over time", who.series(2), times=4, slices=5)
    data.pet(folder / "pet", who.series(3), slices=6)
    data.enhanced(folder / "enhanced", who.series(4), frames=6)
    for syntax in ("implicit", "big-endian", "rle", "jpeg2000"):
        data.ct(folder / syntax, who.series(10 + len(syntax)), slices=3, syntax=syntax)
    data.jpeg_ls(folder / "jpeg-ls", who.series(5))
    return folder


def series_of(folder: Path, scratch: Path) -> list[tuple[str, list[Path]]]:
    """The files of each series, gathered in a folder of their own."""
    found: dict[tuple[Path, str], list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix in NOT_DICOM:
            continue
        try:
            header = pydicom.dcmread(unpacked(path, scratch), stop_before_pixels=True)
            key = (path.parent, str(header.SeriesInstanceUID), *size_of(header))
        except Exception:  # noqa: BLE001 - whatever it is, no DICOM file
            continue
        found.setdefault(key, []).append(unpacked(path, scratch))
    series: list[tuple[str, list[Path]]] = []
    for (parent, *_), files in found.items():
        # pydicom's test files are single ones, some of them variants of one image.
        for group in [files] if parent.name not in ("test_files", "data") else [[f] for f in files]:
            name = group[0].name if len(group) == 1 else f"{parent.name} ({len(group)} files)"
            series.append((name, group))
    return series


def size_of(header: pydicom.Dataset) -> tuple[Any, Any]:
    """Images of another size are another stack."""
    return header.get("Rows"), header.get("Columns")


def unpacked(path: Path, scratch: Path) -> Path:
    """A file itself, or its content where it is gzip."""
    if path.suffix != ".gz":
        return path
    target = scratch / path.stem
    if not target.exists():
        target.write_bytes(gzip.decompress(path.read_bytes()))
    return target


def converted(files: list[Path], folder: Path) -> tuple[list[Any], str]:
    """The NIfTI images that dcm2niix makes, and why it makes none."""
    inside, out = folder / "in", folder / "out"
    inside.mkdir(parents=True)
    out.mkdir()
    for i, path in enumerate(files):
        (inside / f"{i:05d}.dcm").symlink_to(path.absolute())
    command = [dcm2niix.bin, "-z", "n", "-b", "n", "-m", "n", "-f", "image", "-o", out, inside]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=120, check=False
    )
    lines = [line for line in done.stdout.splitlines() if "rror" in line or "nsupported" in line]
    made = [path for path in sorted(out.glob("*.nii")) if "_ROI" not in path.stem]  # overlays
    images = [nibabel.load(path) for path in made]
    return images, (lines[0].strip()[:90] if lines else f"exit {done.returncode}")


def volumes_of(image: Any) -> list[np.ndarray[Any, Any]]:
    """The volumes of a NIfTI image, colour last."""
    values = np.asanyarray(image.dataobj)
    if values.dtype.names:
        values = np.stack([values[n] for n in values.dtype.names], axis=-1)
    if values.ndim == 2:
        values = values[..., None]
    if values.dtype == np.uint8 and values.shape[-1] == 3 and values.ndim > 3:
        return [values]
    rest = values.reshape((*values.shape[:3], -1))
    return [rest[..., i] for i in range(rest.shape[3])]


def ours(image: Image) -> list[np.ndarray[Any, Any]]:
    """Our volumes as (slice, row, column[, rgb])."""
    array = image.array
    tail = 3 + image.colour - ("slice" not in image.axes)
    shape = array.shape[array.ndim - tail :]
    if "slice" not in image.axes:
        shape = (1, *shape)
    if image.affine_lps is None and image.tags:  # pictures: dcm2niix stacks them as slices
        return [array]
    return list(array.reshape((-1, *shape)))


def turns() -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """All orders of three axes, with all directions."""
    return list(
        itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
    )


def turned(image: Image, nifti: Any) -> tuple[tuple[int, ...], tuple[int, ...]] | str:
    """How a NIfTI's axes (i, j, k) lie in our (slice, row, column); a remark if they do not."""
    shape = nifti.shape[:3] + (1,) * (3 - len(nifti.shape[:3]))
    slices = image.array.shape[image.axes.index("slice")] if "slice" in image.axes else 1
    mine = (slices, *(image.array.shape[image.axes.index(a)] for a in ("row", "column")))
    assert image.affine_ras is not None
    columns = nifti.affine[:3, :3].copy()
    if slices == 1:
        columns[:, 2] = np.cross(columns[:, 0], columns[:, 1])
    steps = np.linalg.solve(image.affine_ras[:3, :3], columns)
    order = tuple(int(np.argmax(np.abs(steps[:, i]))) for i in range(3))
    if sorted(order) != [0, 1, 2]:
        return "axes differ"
    if tuple(mine[a] for a in order) != shape:
        return f"shape {mine} and {shape}"
    signs = tuple(1 if steps[a, i] > 0 else -1 for i, a in enumerate(order))
    expected = np.eye(4)
    expected[:3, :3] = image.affine_ras[:3, :3][:, list(order)] * signs
    origin = [0.0, 0.0, 0.0]
    for a, sign in zip(order, signs, strict=True):
        origin[a] = 0 if sign > 0 else mine[a] - 1
    expected[:3, 3] = (image.affine_ras @ [*origin, 1])[:3]
    wrong = np.abs(expected - nifti.affine)
    if slices == 1:  # the thickness of a single slice is dcm2niix's choice
        wrong[:, order.index(0)] = 0
    if wrong[:3, :3].max() > 1e-4 * max(1, np.abs(expected[:3, :3]).max()):
        return f"affine off by {wrong[:3, :3].max():.2g}"
    if wrong[:3, 3].max() > 1e-3:
        return f"origin off by {wrong[:3, 3].max():.2g} mm"
    return order, signs


def moved(
    volume: np.ndarray[Any, Any], how: tuple[tuple[int, ...], tuple[int, ...]]
) -> np.ndarray[Any, Any]:
    """Our volume with a NIfTI's axes."""
    order, signs = how
    volume = volume.transpose([*order, *range(3, volume.ndim)])
    return volume[tuple(slice(None, None, s) for s in signs)]


def same(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    """Whether values are equal up to float32 rounding."""
    if one.shape != other.shape:
        return False
    return bool(np.allclose(one, other, rtol=2e-6, atol=1e-5 * float(np.abs(other).max() or 1)))


def off_by(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Mean and largest difference of values."""
    if one.shape != other.shape:
        return (np.inf, np.inf)
    apart = np.abs(one.astype(np.float64) - other)
    return float(apart.mean()), float(apart.max())


def compared(image: Image, niftis: list[Any], *, lossy: bool) -> tuple[str, str]:
    """Verdict and remark of a series that both have read."""
    left = ours(image)
    places: list[int] = []
    apart = (0.0, 0.0)
    for nifti in niftis:
        how = None if image.affine_lps is None else turned(image, nifti)
        if isinstance(how, str):
            return "differs", how
        for volume in volumes_of(nifti):
            place = next((i for i, v in enumerate(left) if matches(v, volume, how)), None)
            if place is None:
                ways = turns() if how is None else [how]
                nearest = min(off_by(moved(v, w), volume) for v in left for w in ways)
                if not lossy or len(left) > 1 or nearest[0] > LOSSY_MEAN:
                    told = "" if np.isinf(nearest[1]) else f" by up to {nearest[1]:.0f}"
                    return "differs", f"voxels{told}"
                place, apart = 0, nearest
            places.append(place)
    if sorted(set(places)) != list(range(len(left))):
        return "differs", f"{len(left)} volumes here, {len(places)} there"
    remarks = [f"{len(niftis)} NIfTI files"] if len(niftis) > 1 else []
    remarks += ["no place in the patient"] if image.affine_lps is None else []
    if apart[1]:
        remarks += [f"lossy, by up to {apart[1]:.0f}, {apart[0]:.3f} on average"]
    remarks += ["other order of volumes"] if places != sorted(places) else []
    return "agrees", "; ".join(remarks)


def matches(
    mine: np.ndarray[Any, Any],
    theirs: np.ndarray[Any, Any],
    how: tuple[tuple[int, ...], tuple[int, ...]] | None,
) -> bool:
    """Whether a volume is the same; pictures in any of the ways that they can be turned."""
    if how is not None:
        return same(moved(mine, how), theirs)
    return any(same(moved(mine, turn), theirs) for turn in turns())


def judged(source: str, name: str, files: list[Path], folder: Path) -> Result:
    """Read one series both ways."""
    niftis, why = converted(files, folder)
    try:
        image = Image.read(files)
    except SeriesportError as error:
        told = f"{error.code}: {error.message}"
        if error.code == "not-an-image" and not niftis:
            return Result(source, name, "no image", "")
        return Result(source, name, "refused" if niftis else "neither", told)
    if not niftis:
        return Result(source, name, "only here", why)
    verdict, remark = compared(image, niftis, lossy=is_lossy(files[0]))
    if verdict == "differs":
        remark += f" ({explained(pydicom.dcmread(files[0], force=True), len(files))})"
    shape = " x ".join(map(str, image.array.shape))
    return Result(source, name, verdict, f"{shape}{'; ' if remark else ''}{remark}")


def is_lossy(path: Path) -> bool:
    """Whether decoders may differ (PS3.5 section 8.2)."""
    header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    return header.file_meta.get("TransferSyntaxUID") in (JPEGBaseline8Bit, JPEGExtended12Bit)


def explained(header: pydicom.Dataset, files: int) -> str:
    """What dcm2niix is known to do otherwise with such images."""
    colour = header.get("SamplesPerPixel") == 3
    known = (
        (
            header.get("PhotometricInterpretation") == "PALETTE COLOR",
            "dcm2niix leaves the palette's indices",
        ),
        (
            colour and header.get("BitsAllocated") == 32,
            "dcm2niix takes 32-bit colour for 8-bit grey",
        ),
        (
            "GridFrameOffsetVector" in header,
            "dcm2niix leaves out the Grid Frame Offset Vector",
        ),
        (
            colour and header.original_encoding[1] is False,
            "dcm2niix leaves 8-bit colour in big endian unswapped",
        ),
        (
            header.get("PixelRepresentation") == 1 and header.get("BitsStored") == 13,
            "the header calls unsigned JPEG 2000 signed, and dcm2niix believes it",
        ),
        (
            files > 2,
            "the positions are rounded; dcm2niix takes one step for all, here it is the mean",
        ),
    )
    return next((text for applies, text in known if applies), "unexplained")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directories", nargs="*", type=Path)
    parser.add_argument("--keep", type=Path, help="keep what dcm2niix made, below this folder")
    parser.add_argument(
        "--built", action="store_true", help="the tests' series and the directories alone"
    )
    arguments = parser.parse_args()
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as room:
        scratch = arguments.keep or Path(room)
        scratch.mkdir(parents=True, exist_ok=True)
        (scratch / "plain").mkdir()
        public = [
            ("pydicom", data.WHEEL),
            ("nibabel", Path(nibabel.__file__).parent / "nicom" / "tests" / "data"),
        ]
        sets = [
            *([] if arguments.built else [*public, *downloaded()]),
            ("tests", built(scratch / "built")),
            *((d.name, d) for d in arguments.directories),
        ]
        for source, folder in sets:
            for name, files in series_of(folder, scratch / "plain"):
                results.append(judged(source, name, files, scratch / str(len(results))))
    show(results)


def show(results: list[Result]) -> None:
    """Counts per set, then every series that is worth a look."""
    verdicts = ("agrees", "differs", "refused", "only here", "neither", "no image")
    print(f"{'set':<14}" + "".join(f"{v:>11}" for v in verdicts))
    for source in dict.fromkeys(r.source for r in results):
        counts = Counter(r.verdict for r in results if r.source == source)
        print(f"{source:<14}" + "".join(f"{counts[v]:>11}" for v in verdicts))
    for verdict in verdicts[:-1]:
        print(f"\n{verdict}")
        for result in (r for r in results if r.verdict == verdict):
            print(f"  {result.source:<13}{result.name[:40]:<42}{result.remark}")


if __name__ == "__main__":
    main()
