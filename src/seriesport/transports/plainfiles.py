"""Plain files of a folder or ZIP as one set: an image of another format than DICOM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seriesport.errors import SeriesportError
from seriesport.instance import PlainFile
from seriesport.transports.protocol import Expected, SeriesReference

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from seriesport.address import Address
    from seriesport.instance import Payload

_SIDECARS = (".json", ".bval", ".bvec")
_BESIDE = {
    ".nii.gz": _SIDECARS,
    ".nii": _SIDECARS,
    ".hdr.gz": (".img.gz", *_SIDECARS),
    ".hdr": (".img", *_SIDECARS),
    ".img.gz": (".hdr.gz", *_SIDECARS),
    ".img": (".hdr", *_SIDECARS),
    ".mhd": (".raw", ".zraw"),
}
"""What may belong to a file beside it, by the ends of their names."""


def beside(name: str, names: Iterable[str]) -> list[str]:
    """A file with those beside it that may belong to it: sidecar, gradients, header or pixels."""
    end = next((end for end in _BESIDE if name.lower().endswith(end)), "")
    stem = name[: -len(end)] if end else name
    wanted = {stem + other for other in _BESIDE.get(end, ())}
    return [other for other in names if other == name or other in wanted]


def reference(address: Address, files: Collection[str]) -> SeriesReference:
    """The set.

    Raises:
        SeriesportError: not-found, where it is empty.
    """
    if not files:
        raise SeriesportError("not-found", "there are no files at the source")
    return SeriesReference(address, "", "", "", instances=len(files), plain=True)


def expected(files: Iterable[str]) -> dict[str, Expected]:
    """The set as a transport's `expect` gives it."""
    return {name: Expected(name, place=place) for place, name in enumerate(files, 1)}


def missing(
    files: Mapping[str, Payload], listed: Iterable[str], have: Collection[str]
) -> Iterator[PlainFile]:
    """The set as a transport's `fetch` gives it."""
    for name in listed:
        if name in files and name not in have:
            yield PlainFile(name, files[name])
