"""Addresses of what is in a ZIP: `file.zip?time`, `zip:///folder/any.name?time/*.dcm`."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from seriesport.model.address import Address, decode_path, invalid, quote_path


@dataclass(frozen=True, slots=True)
class ZipAddress(Address):
    """A ZIP file, or the members that a selection names."""

    scheme: ClassVar[str] = "zip"
    is_packed: ClassVar[bool] = True
    advice: ClassVar[str] = "add a folder of the ZIP after '?'"

    path: Path
    """Absolute."""
    selection: str = ""
    """A member, a folder or a glob, matched on whole path parts; empty for all members."""

    @property
    def url(self) -> str:
        """See Address."""
        selection = f"?{quote_path(self.selection)}" if self.selection else ""
        return f"zip://{quote_path(self.path)}{selection}"

    @property
    def local(self) -> Path:
        """See Address."""
        return self.path

    def identity_in(self, folder: Path) -> str:
        """See Address."""
        return replace(self, path=shortened(self.path, folder)).url


def parse(rest: str, at: int) -> ZipAddress:
    """Read what follows `zip://` in an address, where it begins at a position."""
    path, selection, end = split_url("zip", rest, at)
    return select(path, selection or "", end)


def select(path: str, selection: str, at: int) -> ZipAddress:
    """Return the address of a selection from a ZIP. `at` is where it stands in the text."""
    chosen = selection.strip("/")
    if selection.startswith("/") or ".." in chosen.split("/"):
        raise invalid("a selection is relative to the ZIP's root and does not climb", at)
    return ZipAddress(absolute(path), chosen)


def split_url(scheme: str, rest: str, at: int) -> tuple[str, str | None, int]:
    """Split what follows the scheme of a local URL into a path and a selection, if it has one.

    Returns:
        The path, the selection, and where the selection begins in the text.
    """
    if not rest.startswith("/"):
        host = rest.partition("/")[0]
        if host != "localhost":
            raise invalid(f"a {scheme}:// path is absolute and has three slashes", at)
        rest, at = rest[len(host) :], at + len(host)
    head, mark, selection = rest.partition("?")
    end = at + len(head) + 1
    path, chosen = decode_path(head, "path", at), decode_path(selection, "selection", end)
    return path, chosen if mark else None, end


def absolute(path: str) -> Path:
    """Return an absolute path without `..` in it; links are not followed."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps "..", resolve follows links


def shortened(path: Path, folder: Path) -> Path:
    """Return a path relative to a folder, if it lies in it."""
    return path.relative_to(folder) if path.is_relative_to(folder) else path
