"""One page of a PostScript, EPS or PDF file as a picture, by Ghostscript in a sandbox.

These files are programs, and Ghostscript's own protection (-dSAFER) has been broken again and
again: they are read only where `opts={"postscript": True}` or SERIESPORT_POSTSCRIPT=1 in the
environment allows it, and Ghostscript then runs confined (see `sandbox`): with a copy of the one
file in a folder of its own, which is all that it can see of the user's files.

`opts`: "page" (from 1), "dpi" (150), "grey" (False: RGB), "timeout" (60 s), "max_bytes".
A figure with a bounding box, EPS or PostScript, is cut to it, a PDF to its crop box. A document
that says how it ends (PostScript by the Document Structuring Conventions, PDF) must end so: the
rest of one that was cut short would be blank.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from seriesport.errors import SeriesportError, unreadable
from seriesport.formats import raster, sandbox
from seriesport.images.room import MIB
from seriesport.store.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from seriesport.images.image import Image

ALLOW = "SERIESPORT_POSTSCRIPT"
"""Environment variable that allows PostScript where it is 1."""
LIMITS = sandbox.Limits(cpu=30, memory=1024 * MIB, file_size=128 * MIB, processes=16)
WALL_CLOCK = 60.0
_MAX_INPUT = 256 * MIB
_MAX_DPI = 2400
_MAX_PAGE = 100_000
_DOS_EPS = b"\xc5\xd0\xd3\xc6"
_TAIL = 2048
"""Bytes at a document's end in which its last line must be."""
_HEAD = 1 << 16
"""Bytes at a document's beginning and end in which its bounding box is looked for."""
_BOX = re.compile(
    rb"^%%BoundingBox:\s*" + rb"\s+".join([rb"(-?\d{1,5}(?:\.\d{1,9})?)"] * 4), re.MULTILINE
)
_UNSURE = "may be incomplete"
"""Ghostscript's word for a PDF page of which it could not read all."""
_INPUT, _OUTPUT = "input", "page.png"


def read(paths: Sequence[Path], opts: Mapping[str, Any]) -> Image:
    """Read one page: (row, column, rgb), or (row, column) where `grey` is asked for.

    Raises:
        SeriesportError: postscript-off; tool-missing; timeout; not-found, where there is no such
            page; image-invalid, image-too-large, file-unreadable, config-invalid.
    """
    if not (opts.get("postscript") is True or os.environ.get(ALLOW) == "1"):
        raise SeriesportError("postscript-off", "PostScript and PDF are not read unless allowed")
    if len(paths) != 1:
        raise SeriesportError("ambiguous", f"{len(paths)} documents, and one can be read")
    page, dpi = _number(opts, "page", 1, _MAX_PAGE), _number(opts, "dpi", 150, _MAX_DPI)
    wall_clock = float(_number(opts, "timeout", int(WALL_CLOCK), 3600))
    program = shutil.which("gs")
    if program is None:
        raise SeriesportError("tool-missing", "PostScript needs the package ghostscript")
    limits = replace(LIMITS, cpu=min(LIMITS.cpu, int(wall_clock)))
    with scratch() as room:
        box = _copy(paths[0], room)
        command = _command(program, page, dpi, box, grey=opts.get("grey") is True)
        finished = sandbox.run(command, room, wall_clock, limits)
        _judge(finished, room, page)
        return raster.read([room / _OUTPUT], opts)


def _number(opts: Mapping[str, Any], name: str, default: int, most: int) -> int:
    value = opts.get(name, default)
    if not isinstance(value, int) or not 1 <= value <= most:
        raise SeriesportError("config-invalid", f"{name} is not a whole number from 1 to {most}")
    return value


_Box = tuple[float, float, float, float]
"""Left, bottom, right and top, in points of 1/72 inch."""


def _copy(path: Path, room: Path) -> _Box | None:
    """Put the document into its room, whole; return its bounding box, where it has one.

    Raises:
        SeriesportError: image-too-large; image-invalid, where it is cut short; file-unreadable.
    """
    try:
        size = path.stat().st_size
        if size > _MAX_INPUT:
            raise SeriesportError("image-too-large", f"a document of {size >> 20} MB")
        content = path.read_bytes()
        if content.startswith(_DOS_EPS):
            content = _section(content)
        (room / _INPUT).write_bytes(content)
    except OSError as error:
        raise unreadable(error) from error
    if content.startswith((b"%!PS-Adobe-", b"%PDF-")) and b"%%EOF" not in content[-_TAIL:]:
        raise SeriesportError("image-invalid", "the document is cut short: it has no %%EOF")
    return None if content.startswith(b"%PDF-") else _box(content)


def _section(content: bytes) -> bytes:
    """Return the PostScript of an EPS file with a preview (Adobe Technical Note 5002)."""
    start, length = struct.unpack_from("<LL", content.ljust(12), 4)
    section = content[start : start + length]
    if len(section) != length:
        raise SeriesportError(
            "image-invalid", "the document is cut short: its PostScript is not whole"
        )
    return section


def _box(content: bytes) -> _Box | None:
    """Return the bounding box by the Document Structuring Conventions: of two, the last counts.

    Raises:
        SeriesportError: image-invalid, where an EPS has none.
    """
    found = _BOX.findall(content[:_HEAD]) + _BOX.findall(content[-_HEAD:])
    boxes = [tuple(map(float, numbers)) for numbers in found]
    left, bottom, right, top = boxes[-1] if boxes else (0.0,) * 4
    if left < right and bottom < top:
        return left, bottom, right, top
    if b" EPSF-" in content[:64].split(b"\n")[0]:
        raise SeriesportError("image-invalid", "the EPS has no bounding box")
    return None


def _command(program: str, page: int, dpi: int, box: _Box | None, *, grey: bool) -> list[str]:
    return [
        program,
        "-q",
        "-dSAFER",
        "-dBATCH",
        "-dNOPAUSE",
        "-dNOPROMPT",
        f"-sDEVICE={'pnggray' if grey else 'png16m'}",
        "-dTextAlphaBits=4",
        "-dGraphicsAlphaBits=4",
        f"-r{dpi}",
        f"-dFirstPage={page}",
        f"-dLastPage={page}",
        "-dUseCropBox",
        f"--permit-file-read={_INPUT}",
        f"-sOutputFile={_OUTPUT}",
        *(_cropping(box) if box else ()),
        "-f",
        _INPUT,
    ]


def _cropping(box: _Box) -> list[str]:
    left, bottom, right, top = box
    return [
        "-dFIXEDMEDIA",
        f"-dDEVICEWIDTHPOINTS={right - left:g}",
        f"-dDEVICEHEIGHTPOINTS={top - bottom:g}",
        "-c",
        f"<</Install {{{-left:g} {-bottom:g} translate}}>> setpagedevice",
    ]


def _judge(finished: sandbox.Finished, room: Path, page: int) -> None:
    """Raise where there is no page; Ghostscript's own words may quote the document and stay out."""
    if finished.status < 0:
        problem = f"Ghostscript was ended by signal {-finished.status}: a limit was reached"
        raise SeriesportError("image-too-large", problem)
    if finished.status != 0:
        problem = f"Ghostscript cannot show the page (exit code {finished.status})"
        raise SeriesportError("image-invalid", problem)
    if _UNSURE in finished.console:
        raise SeriesportError("image-invalid", "the document is damaged; a part would be missing")
    output = room / _OUTPUT
    if not output.is_file() or output.is_symlink():
        raise SeriesportError("not-found", f"the document has no page {page}")
