"""Every format that an Image is read from or written to, other than DICOM: one line each."""

from __future__ import annotations

import importlib
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from seriesport.errors import SeriesportError
from seriesport.files import PART_SUFFIX, make_folder, sync_folder, unreadable, unwritable
from seriesport.formats.streams import is_compressed, reading

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seriesport.image import Image


class Module(Protocol):
    """What the module of a format has, as far as the format goes both ways."""

    def read(self, paths: Sequence[Path], opts: Mapping[str, Any]) -> Image:
        """Read one image from the files that belong to it.

        Raises:
            SeriesportError: image-invalid, image-unsupported, image-too-large,
                geometry-irregular, file-unreadable.
        """
        ...

    def write(self, image: Image, folder: Path, stem: str, opts: Mapping[str, Any]) -> None:
        """Make files in a folder, under names that start with a stem. Same image, same bytes.

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
    module_name: str
    reads: bool = True
    writes: bool = True

    def module(self) -> Module:
        """Its code, loaded when it is first needed."""
        return cast("Module", importlib.import_module(f"seriesport.formats.{self.module_name}"))


_LOOK = 1024
"""Bytes that a format is found by."""


def _format(name: str, suffixes: str, magic: bytes, module: str, **directions: bool) -> Format:
    pattern = re.compile(magic, re.DOTALL)
    return Format(name, tuple(suffixes.split()), pattern, module, **directions)


FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        _format(
            "nifti",
            ".nii.gz .nii .hdr .img .hdr.gz .img.gz",
            rb".{344}(n\+1|ni1)\0|.{4}(n\+2|ni2)\0\r\n\x1a\n",
            "nifti",
        ),
        _format("npz", ".npz", rb"PK\x03\x04.{22}.{4}[a-z_0-9]{1,64}\.npy", "npz"),
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
    known = _known(name)
    if not known.reads:
        raise SeriesportError("format-unknown", f"{known.name} is written and not read")
    return known.module().read(listed, opts or {})


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
        SeriesportError: format-unknown, format-unfit, geometry-irregular, file-unwritable.
    """
    options = dict(opts or {})
    known = _known(format or _by_suffix(target))
    if not known.writes:
        raise SeriesportError("format-unknown", f"{known.name} is read and not written")
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
            known.module().write(image, Path(room), stem, options)
            return _publish(Path(room), folder)
    except OSError as error:
        raise unwritable(error) from error


def _publish(room: Path, folder: Path) -> list[Path]:
    """Sync the finished files and give them their final place."""
    made: list[Path] = []
    for path in sorted(room.iterdir()):
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
        made.append(path.replace(folder / path.name))
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
