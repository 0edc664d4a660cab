"""Addresses of series: the only place where a URL is read or written."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from seriesport.errors import SeriesportError
from seriesport.model.identifiers import NO_AET, is_aet

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_UNRESERVED = re.compile("[A-Za-z0-9._~-]*")
"""Of which URLs have text as it is (RFC 3986 section 2.3); nearly all identifiers are."""
_SLIP = re.compile(r"\s*(file|zip|dicom|xnat):", re.IGNORECASE)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_CALLING = "calling="
_DICOM_PARTS = ("AE title", "patient", "study", "series")
_XNAT_PARTS = ("project", "subject", "experiment", "scan", "resource")


@dataclass(frozen=True, slots=True)
class FileAddress:
    """A file, or a directory that is searched to its leaves."""

    path: Path
    """Absolute."""

    @property
    def url(self) -> str:
        """The canonical form."""
        return f"file://{_quote_path(self.path)}"


@dataclass(frozen=True, slots=True)
class ZipAddress:
    """A ZIP file, or the members that a selection names."""

    path: Path
    """Absolute."""
    selection: str = ""
    """A member, a folder or a glob, matched on whole path parts; empty for all members."""

    @property
    def url(self) -> str:
        """The canonical form."""
        selection = f"?{quote(os.fsencode(self.selection))}" if self.selection else ""
        return f"zip://{_quote_path(self.path)}{selection}"


@dataclass(frozen=True, slots=True)
class DicomAddress:
    """A DICOM archive, or a patient, study or series in it. Parts are unencoded, empty for any."""

    server: str
    """A name from the config, or a host."""
    port: int | None
    aet: str
    """Called AE title."""
    patient: str = ""
    study: str = ""
    """Study Instance UID or accession number."""
    series: str = ""
    """Series Instance UID or series number."""
    calling: str = ""
    """Calling AE title, with a host and port; empty for the usual one."""

    @property
    def url(self) -> str:
        """The canonical form."""
        parts = [self.aet, self.patient, self.study, self.series]
        calling = f"?{_CALLING}{_quote(self.calling)}" if self.calling else ""
        return _join("dicom", self.server, self.port, parts) + calling


@dataclass(frozen=True, slots=True)
class XnatAddress:
    """An XNAT project, or what is below it. Parts are unencoded; empty means all."""

    server: str
    """A name from the config, or a host."""
    port: int | None
    project: str
    subject: str = ""
    experiment: str = ""
    scan: str = ""
    resource: str = ""

    @property
    def url(self) -> str:
        """The canonical form."""
        parts = [self.project, self.subject, self.experiment, self.scan, self.resource]
        return _join("xnat", self.server, self.port, parts)


Address = FileAddress | ZipAddress | DicomAddress | XnatAddress


def parse(text: str) -> Address:
    """Read an address.

    A plain path is taken as it stands, without percent-encoding, relative to the working
    directory; what exists under it wins over any reading of `?` in it. In a URL every part is
    percent-encoded UTF-8.

    Raises:
        SeriesportError: address-invalid, naming the part and the character where it went wrong.
    """
    if not text:
        raise _invalid("it is empty", 0)
    if "\0" in text:
        raise _invalid("it contains a NUL character", text.index("\0"))
    match = _SCHEME.match(text)
    if match is None:
        return _plain_path(text)
    scheme, rest, at = match[1].lower(), text[match.end() :], match.end()
    if scheme in ("file", "zip"):
        return _file_url(scheme, rest, at)
    if scheme == "dicom":
        return _dicom(rest, at)
    if scheme == "xnat":
        return _xnat(rest, at)
    known = "a path, file://, zip://, dicom:// or xnat://"
    raise _invalid(f"the scheme {scheme!r} is unknown; use {known}", 0)


def scheme(address: Address) -> str:
    """The kind of an address: `file`, `zip`, `dicom` or `xnat`."""
    return address.url.partition(":")[0]


def source_root(address: Address) -> Address:
    """The part of a source's address that is not an identifier of patient, study or series."""
    if isinstance(address, DicomAddress):
        return replace(address, patient="", study="", series="")
    if isinstance(address, XnatAddress):
        return XnatAddress(address.server, address.port, address.project)
    return address


def identity(address: Address) -> str:
    """Return what names a place, whoever asks there: its URL without a calling AE title."""
    if isinstance(address, DicomAddress):
        address = replace(address, calling="")
    return address.url


def _invalid(problem: str, position: int) -> SeriesportError:
    return SeriesportError("address-invalid", f"address, character {position + 1}: {problem}")


def _join(scheme: str, server: str, port: int | None, parts: list[str]) -> str:
    while parts and not parts[-1]:
        parts = parts[:-1]
    authority = server if port is None else f"{server}:{port}"
    return "/".join([f"{scheme}://{authority}", *map(_quote, parts)])


def _quote(part: str) -> str:
    return part if _UNRESERVED.fullmatch(part) else quote(part, safe="")


def _quote_path(path: Path) -> str:
    return quote(os.fsencode(path))


def _absolute(path: str) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps "..", resolve follows links


def _plain_path(text: str) -> Address:
    if Path(text).exists():
        return _file_or_zip(text, "")
    slip = _SLIP.match(text)
    if slip is not None:
        raise _invalid(f"write {slip[1].lower()}:// with two slashes, and nothing before it", 0)
    if text == "~" or text.startswith("~/"):
        raise _invalid("'~' is not expanded here; write out the home folder's path", 0)
    if "?" not in text:
        return _file_or_zip(text, "")
    head, _, selection = text.partition("?")
    if not head:
        raise _invalid("the path before '?' is empty", 0)
    return _zip(head, selection, len(head) + 1)


def _file_url(scheme: str, rest: str, at: int) -> Address:
    if not rest.startswith("/"):
        host = rest.partition("/")[0]
        if host != "localhost":
            raise _invalid(f"a {scheme}:// path is absolute and has three slashes", at)
        rest, at = rest[len(host) :], at + len(host)
    head, mark, selection = rest.partition("?")
    path = _decode_path(head, "path", at)
    chosen = _decode_path(selection, "selection", at + len(head) + 1)
    if scheme == "zip" or mark:
        return _zip(path, chosen, at + len(head) + 1)
    return _file_or_zip(path, "")


def _file_or_zip(path: str, selection: str) -> Address:
    absolute = _absolute(path)
    if absolute.suffix.lower() == ".zip" and not absolute.is_dir():
        return ZipAddress(absolute, selection)
    return FileAddress(absolute)


def _zip(path: str, selection: str, at: int) -> ZipAddress:
    chosen = selection.strip("/")
    if selection.startswith("/") or ".." in chosen.split("/"):
        raise _invalid("a selection is relative to the ZIP's root and does not climb", at)
    return ZipAddress(_absolute(path), chosen)


def _dicom(rest: str, at: int) -> DicomAddress:
    rest, calling = _split_calling(rest, at)
    server, port, parts = _network(rest, at, _DICOM_PARTS)
    aet, patient, study, series = parts[0].strip(" "), *parts[1:]
    here = at + min(len(rest.partition("/")[0]) + 1, len(rest))
    if not aet:
        raise _invalid(
            "the called AE title is missing: dicom://host:port/AET/patient/study/series", here
        )
    if not is_aet(aet):
        raise _invalid(NO_AET, here)
    if calling and port is None:
        raise _invalid(
            "?calling= goes with host:port; a server of config.yaml has its calling_aet there",
            at + len(rest),
        )
    if series and not study:
        start = len(rest.rstrip("/").rpartition("/")[0]) + 1
        raise _invalid("a series needs its study before it", at + start)
    return DicomAddress(server, port, aet, patient, study, series, calling)


def _split_calling(rest: str, at: int) -> tuple[str, str]:
    """Split off `?calling=AET`; any other '?' belongs to a part, which refuses it."""
    place, mark, title = rest.partition(f"?{_CALLING}")
    if not mark:
        return rest, ""
    start = at + len(place) + len(mark)
    calling = _decode(title, "calling AE title", start).strip(" ")
    if not is_aet(calling):
        raise _invalid(NO_AET, start)
    return place, calling


def _xnat(rest: str, at: int) -> XnatAddress:
    server, port, parts = _network(rest, at, _XNAT_PARTS)
    given = [i for i, part in enumerate(parts) if part]
    if not given:
        raise _invalid("the project is missing: xnat://server/project/subject/experiment/scan", at)
    for i in range(given[-1]):
        if not parts[i]:
            raise _invalid(f"the {_XNAT_PARTS[i]} is empty", at)
    return XnatAddress(server, port, *parts)


def _network(rest: str, at: int, names: tuple[str, ...]) -> tuple[str, int | None, list[str]]:
    authority, _, path = rest.partition("/")
    if "@" in authority:
        raise _invalid("user names and passwords are never part of an address", at)
    host, mark, port_text = authority.partition(":")
    if _HOST.fullmatch(host) is None:
        raise _invalid("a host, or a server's name from the config, must stand here", at)
    port = None
    if mark:
        if not re.fullmatch("[0-9]{1,5}", port_text) or not 1 <= int(port_text) <= 65535:
            raise _invalid("the port is not a number from 1 to 65535", at + len(host) + 1)
        port = int(port_text)
    return host, port, _split(path, at + len(authority) + 1, names)


def _split(path: str, at: int, names: tuple[str, ...]) -> list[str]:
    decoded: list[str] = []
    pieces = path.split("/")
    while len(pieces) > 1 and not pieces[-1]:
        pieces.pop()
    for i, piece in enumerate(pieces):
        if i >= len(names):
            raise _invalid(f"nothing comes after the {names[-1]}; write '/' in a part as %2F", at)
        name = names[i]
        for mark in "?#":
            if mark in piece:
                spot = at + piece.index(mark)
                raise _invalid(f"{mark!r} in the {name} must be written as {quote(mark)}", spot)
        decoded.append(_decode(piece, name, at))
        at += len(piece) + 1
    return decoded + [""] * (len(names) - len(decoded))


def _decode_path(piece: str, name: str, at: int) -> str:
    """Decode as the file system does: names need not be UTF-8 there."""
    text = os.fsdecode(_unquote(piece, name, at))
    if "\0" in text:
        raise _invalid(f"the {name} contains a NUL character", at)
    return text


def _decode(piece: str, name: str, at: int) -> str:
    if _UNRESERVED.fullmatch(piece):
        return piece
    try:
        text = _unquote(piece, name, at).decode("utf-8")
    except UnicodeDecodeError:
        raise _invalid(f"the percent-encoding of the {name} is not UTF-8", at) from None
    control = re.search(r"[\x00-\x1f\x7f]", text)
    if control is not None:
        raise _invalid(f"the {name} contains a control character", at)
    return text


def _unquote(piece: str, name: str, at: int) -> bytes:
    bad = re.search("%(?![0-9A-Fa-f]{2})", piece)
    if bad is not None:
        raise _invalid(f"'%' in the {name} must be written as %25", at + bad.start())
    return unquote_to_bytes(piece)
