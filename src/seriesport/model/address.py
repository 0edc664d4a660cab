"""Address: where series are. Each transport has a kind of its own, which reads and writes its URLs.

What a caller needs to know of an address stands here as a question that each kind answers, so that
nobody asks for the kind. Below are the parts that the kinds' own parsing has in common.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote, unquote_to_bytes

from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from seriesport.model.identifiers import Identifiers

_UNRESERVED = re.compile("[A-Za-z0-9._~-]*")
"""Of which URLs have text as it is (RFC 3986 section 2.3); nearly all identifiers are."""
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


class Address(ABC):
    """A place of series, which stands for all below it.

    A kind is a frozen dataclass, so that equal addresses are equal values. Parts are unencoded.
    """

    __slots__ = ()

    scheme: ClassVar[str]
    """The scheme of its URLs."""
    takes_files: ClassVar[bool] = False
    """True where files other than DICOM can be stored."""
    is_packed: ClassVar[bool] = False
    """True for members of one file, such as a ZIP."""
    has_scans: ClassVar[bool] = False
    """True where series are scans that have a type and a quality."""
    lists_only: ClassVar[bool] = False
    """True where a listing of UIDs is all that proves a delivery; bytes have to be fetched back."""
    advice: ClassVar[str] = "name one of them in the address"
    """Tells the user how an address names one of several series."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Canonical form, which `parse` reads back."""

    @property
    def root(self) -> Address:
        """Part that names no patient, study or series; one transport serves all below it."""
        return self

    @property
    def identity(self) -> str:
        """URL by which the place is known, whoever asks there."""
        return self.url

    def identity_in(self, folder: Path) -> str:
        """Return the identity, which stays the same when `folder` is moved with a source in it."""
        del folder
        return self.identity

    @property
    def server_name(self) -> str:
        """Name of the server by config.yaml; empty for a host and port, and for files."""
        return ""

    @property
    def local(self) -> Path | None:
        """Path of the file, folder or ZIP on this machine; None on a server."""
        return None

    @property
    def is_local(self) -> bool:
        """True for files of this machine."""
        return self.local is not None

    @property
    def file(self) -> Path | None:
        """Path of the file or folder itself; None for what is packed or on a server."""
        return None if self.is_packed else self.local

    @property
    def is_unbounded(self) -> bool:
        """True for a whole archive, which is too much to list unasked."""
        return False

    @property
    def destination_problem(self) -> str:
        """Problem that keeps the address from being a destination; empty without one."""
        return ""

    @property
    def whole_study(self) -> Address | None:
        """Address of the study that a series is named in; None for other addresses."""
        return None

    def narrowed(self, *, patient: str = "", study: str = "", series: str = "") -> Address:
        """Return the address of a study or series in it, if addresses of this kind have them."""
        del patient, study, series
        return self

    def with_identifiers(self, given: Identifiers) -> tuple[Address, Identifiers]:
        """Merge in the identifiers beside it; return the address and all that are known then.

        Raises:
            UnfitError: an identifier does not go with the address.
        """
        return self, given

    @property
    def counterpart(self) -> Hashable:
        """Value that is equal for the same files on two servers."""
        return self

    @property
    def columns(self) -> Mapping[str, str]:
        """Parts that a listing shows beside a series' own identifiers."""
        return {}


@dataclass(frozen=True, slots=True)
class ServerAddress(Address):
    """An address on a server."""

    server: str
    """Name from the config, or a host."""
    port: int | None
    """Port of the host; None for a name from the config."""

    @property
    def server_name(self) -> str:
        """See Address."""
        return self.server if self.port is None else ""

    @property
    def authority(self) -> str:
        """The server as it stands in a URL."""
        return self.server if self.port is None else f"{self.server}:{self.port}"

    def join(self, *parts: str) -> str:
        """Return the URL of parts below the server; the empty ones at the end are left out."""
        given = list(parts)
        while given and not given[-1]:
            given.pop()
        return "/".join([f"{self.scheme}://{self.authority}", *map(quote_part, given)])


def invalid(problem: str, position: int) -> SeriesportError:
    """Return the error of an address, with the place in its text, counted from 0."""
    return SeriesportError("address-invalid", f"address, character {position + 1}: {problem}")


def quote_part(part: str) -> str:
    """Percent-encode a part of a URL."""
    return part if _UNRESERVED.fullmatch(part) else quote(part, safe="")


def quote_path(path: Path | str) -> str:
    """Percent-encode a path, whose names need not be UTF-8."""
    return quote(os.fsencode(path))


def split_server(rest: str, at: int, names: tuple[str, ...]) -> tuple[str, int | None, list[str]]:
    """Split what follows a scheme into a server, its port, and a part for each of the `names`.

    Args:
        rest: Of the text, behind `scheme://`.
        at: Where that begins in the text.
        names: What messages call the parts. Those that are not given are empty.

    Raises:
        SeriesportError: address-invalid.
    """
    authority, _, path = rest.partition("/")
    if "@" in authority:
        raise invalid("user names and passwords are never part of an address", at)
    host, mark, port_text = authority.partition(":")
    if _HOST.fullmatch(host) is None:
        raise invalid("a host, or a server's name from the config, must stand here", at)
    port = None
    if mark:
        if not re.fullmatch("[0-9]{1,5}", port_text) or not 1 <= int(port_text) <= 65535:
            raise invalid("the port is not a number from 1 to 65535", at + len(host) + 1)
        port = int(port_text)
    return host, port, _split(path, at + len(authority) + 1, names)


def _split(path: str, at: int, names: tuple[str, ...]) -> list[str]:
    decoded: list[str] = []
    pieces = path.split("/")
    while len(pieces) > 1 and not pieces[-1]:
        pieces.pop()
    for i, piece in enumerate(pieces):
        if i >= len(names):
            raise invalid(f"nothing comes after the {names[-1]}; write '/' in a part as %2F", at)
        name = names[i]
        for mark in "?#":
            if mark in piece:
                spot = at + piece.index(mark)
                raise invalid(f"{mark!r} in the {name} must be written as {quote(mark)}", spot)
        decoded.append(decode(piece, name, at))
        at += len(piece) + 1
    return decoded + [""] * (len(names) - len(decoded))


def decode_path(piece: str, name: str, at: int) -> str:
    """Decode as the file system does: names need not be UTF-8 there."""
    text = os.fsdecode(_unquote(piece, name, at))
    if "\0" in text:
        raise invalid(f"the {name} contains a NUL character", at)
    return text


def decode(piece: str, name: str, at: int) -> str:
    """Decode a part of a URL, which messages call `name`."""
    if _UNRESERVED.fullmatch(piece):
        return piece
    try:
        text = _unquote(piece, name, at).decode("utf-8")
    except UnicodeDecodeError:
        raise invalid(f"the percent-encoding of the {name} is not UTF-8", at) from None
    control = re.search(r"[\x00-\x1f\x7f]", text)
    if control is not None:
        raise invalid(f"the {name} contains a control character", at)
    return text


def _unquote(piece: str, name: str, at: int) -> bytes:
    bad = re.search("%(?![0-9A-Fa-f]{2})", piece)
    if bad is not None:
        raise invalid(f"'%' in the {name} must be written as %25", at + bad.start())
    return unquote_to_bytes(piece)
