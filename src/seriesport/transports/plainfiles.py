"""Plain files of a folder or ZIP as one set: an image of another format than DICOM."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from seriesport.errors import SeriesportError
from seriesport.model.instance import FileSlice, PlainFile
from seriesport.model.series import Expected, SeriesReference
from seriesport.store.digest import digest_member
from seriesport.store.keys import KEY

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from seriesport.model.address import Address
    from seriesport.model.instance import Payload

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


class Twins:
    """Finds files of a folder that have the bytes of given ones, and another key in their names.

    The folder is listed once, and each of its files is read once at most; those of our keys never.
    """

    def __init__(self, folder: Path, ours: Collection[str]) -> None:
        self._folder = folder
        self._keys: dict[tuple[str, int], set[str]] = {}
        """By the rest of the name and the size in bytes."""
        self._digests: dict[str, str] = {}
        with suppress(OSError), os.scandir(folder) as scan:
            for entry in scan:
                key = KEY.match(entry.name)
                if key and key.group() not in ours and entry.is_file():
                    kind = entry.name[key.end() :], entry.stat().st_size
                    self._keys.setdefault(kind, set()).add(key.group())

    def keys(self, files: Sequence[PlainFile], name: str) -> list[str]:
        """Give the keys that all of the files are there under, in place of `name`."""
        tails = [file.name.removeprefix(name) for file in files]
        kinds = [(tail, file.payload.size) for tail, file in zip(tails, files, strict=True)]
        alike = sorted((self._keys.get(kind, set[str]()) for kind in kinds), key=len)
        found = alike[0].intersection(*alike[1:]) if alike else ()
        if not found:
            return []
        wanted = [digest_member(file).sha256 for file in files]
        return [k for k in sorted(found) if [self._digest(k + tail) for tail in tails] == wanted]

    def _digest(self, name: str) -> str:
        """SHA-256 of a file; empty where it cannot be read."""
        if name not in self._digests:
            self._digests[name] = ""
            with suppress(OSError, SeriesportError):
                path = self._folder / name
                file = PlainFile(name, FileSlice(path, 0, path.stat().st_size))
                self._digests[name] = digest_member(file).sha256
        return self._digests[name]
