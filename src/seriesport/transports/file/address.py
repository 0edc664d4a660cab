"""Addresses of files and folders: a plain path, or a `file://` URL."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from seriesport.model.address import Address, invalid, quote_path
from seriesport.transports.zip.address import (
    ZipAddress,
    absolute,
    select,
    shortened,
    split_url,
)


@dataclass(frozen=True, slots=True)
class FileAddress(Address):
    """A file, or a directory that is searched to its leaves."""

    scheme: ClassVar[str] = "file"
    takes_files: ClassVar[bool] = True
    advice: ClassVar[str] = "give the folder of one of them"

    path: Path
    """Absolute."""

    @property
    def url(self) -> str:
        """See Address."""
        return f"file://{quote_path(self.path)}"

    @property
    def local(self) -> Path:
        """See Address."""
        return self.path

    def identity_in(self, folder: Path) -> str:
        """See Address."""
        return replace(self, path=shortened(self.path, folder)).url


def parse(rest: str, at: int) -> Address:
    """Read what follows `file://` in an address, where it begins at a position."""
    path, selection, end = split_url("file", rest, at)
    return of_path(absolute(path)) if selection is None else select(path, selection, end)


def parse_path(text: str) -> Address:
    """Read a plain path; what exists under it wins over any reading of `?` in it."""
    if Path(text).exists():
        return of_path(absolute(text))
    if text == "~" or text.startswith("~/"):
        raise invalid("'~' is not expanded here; write out the home folder's path", 0)
    if "?" not in text:
        return of_path(absolute(text))
    head, _, selection = text.partition("?")
    if not head:
        raise invalid("the path before '?' is empty", 0)
    return select(head, selection, len(head) + 1)


def of_path(path: Path) -> Address:
    """Return the address of a file, folder or ZIP by its absolute path, taken as it stands."""
    if path.suffix.lower() == ".zip" and not path.is_dir():
        return ZipAddress(path)
    return FileAddress(path)
