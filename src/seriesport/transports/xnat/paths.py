"""Paths of XNAT's REST interface: the one place that percent-encodes and decodes them."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_to_bytes

from seriesport.errors import SeriesportError

_FILE_URI = re.compile(r"/scans/([^/]+)/(?:resources|files)/([^/]+)/files/(.+)", re.DOTALL)


def data_path(*parts: str) -> str:
    """A path below `/data`, such as `/data/projects/P/subjects/S`, each part encoded.

    Raises:
        SeriesportError: name-unsafe, for a part that a server or a proxy would read as another
            place.
    """
    return "/data" + "".join(f"/{_encoded(part)}" for part in parts)


def file_path(folder: str, name: str) -> str:
    """The path of a file of a resource, from the resource's and the file's own name.

    Raises:
        SeriesportError: name-unsafe.
    """
    return f"{folder}/files/" + "/".join(_encoded(part) for part in name.split("/"))


def _encoded(part: str) -> str:
    if part in ("", ".", "..") or "\0" in part:
        raise SeriesportError("name-unsafe", "a name at the XNAT cannot be part of a path")
    try:
        return quote(part, safe="", errors="surrogateescape")
    except UnicodeEncodeError:
        raise SeriesportError("name-unsafe", "a name at the XNAT is no Unicode text") from None


def split_file_uri(uri: str) -> tuple[str, str, str] | None:
    """Scan, resource and name in the URI of a listed file; None where it is no scan's.

    One file's URI differs by the path that listed it; what follows `/scans/` does not.
    """
    match = _FILE_URI.search(uri)
    if match is None:
        return None
    scan, resource, name = (unquote_to_bytes(part) for part in match.groups())
    return tuple(part.decode("utf-8", "surrogateescape") for part in (scan, resource, name))  # pyright: ignore[reportReturnType] - three of them
