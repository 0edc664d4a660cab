"""Every format that an Image is read from or written to, other than DICOM: one line each."""

from __future__ import annotations

import importlib
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from seriesport.access import file_mode, make_folder, set_mode
from seriesport.errors import SeriesportError, unreadable, unwritable
from seriesport.formats.streams import is_compressed, reading
from seriesport.store.files import PART_SUFFIX, move, sync_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seriesport.images.image import Image


class Reader(Protocol):
    """Reads one image from the files that belong to it."""

    def __call__(self, paths: Sequence[Path], opts: Mapping[str, Any]) -> Image:
        """Read.

        Raises:
            SeriesportError: image-invalid, image-unsupported, image-too-large,
                geometry-irregular, file-unreadable.
        """
        ...


class Writer(Protocol):
    """Makes files in a folder, under names that start with a stem. Same image, same bytes."""

    def __call__(self, image: Image, folder: Path, stem: str, opts: Mapping[str, Any]) -> None:
        """Write.

        Raises:
            SeriesportError: format-unfit, geometry-irregular.
        """
        ...


@dataclass(frozen=True, slots=True)
class Format:
    """How a format is found, and where its code is."""

    name: str
    suffixes: tuple[str, ...]
    """In lower case. The first is the one that is written."""
    magic: re.Pattern[bytes]
    """Matches the beginning of a file, expanded where it is a gzip file."""
    reader: str = ""
    """MODULE.FUNCTION below `formats`; empty where the format is written only."""
    writer: str = ""

    def read(self) -> Reader:
        """The function that reads it, loaded when it is first needed.

        Raises:
            SeriesportError: format-unknown, where there is none.
        """
        return cast("Reader", self._load(self.reader, "is written and not read"))

    def write(self) -> Writer:
        """The function that writes it.

        Raises:
            SeriesportError: format-unknown, where there is none.
        """
        return cast("Writer", self._load(self.writer, "is read and not written"))

    def _load(self, name: str, otherwise: str) -> object:
        if not name:
            raise SeriesportError("format-unknown", f"{self.name} {otherwise}")
        module, function = name.split(".")
        return getattr(importlib.import_module(f"seriesport.formats.{module}"), function)


_GRADIENTS = (".bval", ".bvec")
_LOOK = 1024
"""Bytes that a format is found by."""


def _format(name: str, suffixes: str, magic: bytes, reader: str, writer: str = "") -> Format:
    return Format(name, tuple(suffixes.split()), re.compile(magic, re.DOTALL), reader, writer)


_NIFTI = rb".{344}(n\+1|ni1)\0|.{4}(n\+2|ni2)\0\r\n\x1a\n"
_NIFTI_NAMES = ".nii.gz .nii .hdr .img .hdr.gz .img.gz"
_META = rb"\s*(ObjectType|NDims)\s*="
_NPZ = rb"PK\x03\x04.{26}[a-z_0-9]{1,64}\.npy"
_MAT = rb"MATLAB (5\.0|7\.3) MAT-file|\x89HDF\r\n\x1a\n.{504}MATLAB 7\.3"
_TIFF = rb"II[*+]\0|MM\0[*+]"
_POSTSCRIPT = rb"%!|%PDF-|\xc5\xd0\xd3\xc6|\x04%!"

FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        _format("nifti", _NIFTI_NAMES, _NIFTI, "nifti.read", "nifti.write"),
        _format("metaimage", ".mha .mhd", _META, "metaimage.read", "metaimage.write"),
        _format("npz", ".npz", _NPZ, "npz.read", "npz.write"),
        _format("mat", ".mat", _MAT, "mat.read", "mat.write"),
        _format("png", ".png", rb"\x89PNG\r\n\x1a\n", "raster.read", "raster.write_png"),
        _format("jpeg", ".jpg .jpeg", rb"\xff\xd8\xff", "raster.read", "raster.write_jpeg"),
        _format("tiff", ".tif .tiff", _TIFF, "raster.read", "raster.write_tiff"),
        _format("postscript", ".ps .eps .pdf", _POSTSCRIPT, "postscript.read"),
    )
}
"""By the name that `formats=` uses."""


def detect(paths: Path | Sequence[Path]) -> str | None:
    """The name of the format of files by their content, "dicom" too; None where it is unknown.

    The first file that is recognised decides: others may belong to it (.bval, .raw, .img).

    Raises:
        SeriesportError: file-unreadable.
    """
    for path in _listed(paths):
        start = _start(path)
        if start[128:132] == b"DICM":
            return "dicom"
        for known in FORMATS.values():
            if known.magic.match(start):
                return known.name
    return None


def read(
    paths: Path | Sequence[Path],
    format: str | None = None,  # noqa: A002 - the word that users know
    opts: Mapping[str, Any] | None = None,
) -> Image:
    """Read an image that is no DICOM.

    Args:
        paths: The file, or the files that belong together.
        format: A name of `FORMATS`; without it the content decides, then the suffix.
        opts: Options of the format, see its module.

    Raises:
        SeriesportError: format-unknown, image-invalid, image-unsupported, image-too-large,
            geometry-irregular, file-unreadable, postscript-off, tool-missing, timeout.
    """
    listed = _listed(paths)
    if not listed:
        raise SeriesportError("not-found", "there is no file to read")
    name = format or detect(listed) or _by_suffix(listed[0])
    return _known(name).read()(listed, opts or {})


def write(
    image: Image,
    target: Path,
    format: str | None = None,  # noqa: A002 - the word that users know
    opts: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write an image; the same image and options give the same bytes.

    Args:
        image: What to write.
        target: A file's path, whose suffix may say the format; or, where it has no suffix of
            the format, a folder. Files of the same names are replaced.
        format: A name of `FORMATS`.
        opts: Options of the format, see its module; "stem" is the files' name in a folder.

    Returns:
        The files that were made, by name.

    Raises:
        SeriesportError: format-unknown, format-unfit, geometry-irregular, file-unwritable,
            destination-conflict.
    """
    options = dict(opts or {})
    known = _known(format or _by_suffix(target))
    make = known.write()
    suffix = _suffix(target, known)
    folder = target.parent if suffix else target
    stem = target.name[: -len(suffix)] if suffix else str(options.get("stem") or "image")
    if suffix:
        options.setdefault("suffix", suffix)
    if not stem or "/" in stem or stem.startswith("."):
        raise SeriesportError("file-unwritable", "a file cannot have this name")
    try:
        make_folder(folder)
        with tempfile.TemporaryDirectory(suffix=PART_SUFFIX, prefix=".", dir=folder) as room:
            make(image, Path(room), stem, options)
            _check_beside(Path(room), folder, stem)
            return _publish(Path(room), folder)
    except OSError as error:
        raise unwritable(error) from error


def _check_beside(room: Path, folder: Path, stem: str) -> None:
    """Refuse to leave another image's .bval or .bvec beside this one, where they would count."""
    for path in (folder / f"{stem}{suffix}" for suffix in _GRADIENTS):
        if path.exists() and any(room.glob("*.nii*")) and not (room / path.name).exists():
            raise SeriesportError(
                "destination-conflict", f"a {path.suffix} of another image is there; remove it"
            )


def _publish(room: Path, folder: Path) -> list[Path]:
    """Sync the finished files and give them their final place."""
    made: list[Path] = []
    for path in sorted(room.iterdir()):
        with path.open("rb") as stream:
            set_mode(stream.fileno(), file_mode())
            os.fsync(stream.fileno())
        move(path, folder / path.name)
        made.append(folder / path.name)
    sync_folder(folder)
    return made


def _listed(paths: Path | Sequence[Path]) -> list[Path]:
    return [paths] if isinstance(paths, Path) else list(paths)


def _known(name: str | None) -> Format:
    if name is None or name not in FORMATS:
        what = "no format fits" if name is None else f"no format is called {name!r}"
        raise SeriesportError("format-unknown", f"{what} (known: {', '.join(FORMATS)})")
    return FORMATS[name]


def _suffix(path: Path, known: Format) -> str:
    """How a path's name ends, of the format's suffixes; empty where with none."""
    name = path.name.lower()
    return max((s for s in known.suffixes if name.endswith(s)), key=len, default="")


def _by_suffix(path: Path) -> str | None:
    return next((f.name for f in FORMATS.values() if _suffix(path, f)), None)


def _start(path: Path) -> bytes:
    try:
        if is_compressed(path):
            with reading(path) as stream:
                return stream.read(_LOOK)
        with path.open("rb") as stream:
            return stream.read(_LOOK)
    except SeriesportError as error:
        if error.code != "image-invalid":
            raise
        return b""
    except OSError as error:
        raise unreadable(error) from error
