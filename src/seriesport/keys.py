"""Keys: keyed pseudonyms, so that no name on disk tells or lets guess who a series is of."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import stat
from typing import TYPE_CHECKING

from seriesport.errors import SeriesportError
from seriesport.files import make_folder, unreadable, write_all, writing

if TYPE_CHECKING:
    from pathlib import Path

    from seriesport.transports.protocol import SeriesReference

_SECRET_BYTES = 32
_KEY_LETTERS = 16
KEY = re.compile(f"[a-z2-7]{{{_KEY_LETTERS}}}")
"""How a key looks."""


def load_secret(path: Path) -> bytes:
    """The secret of a set of results; made once, readable by its owner alone.

    Raises:
        SeriesportError: cohort-not-private where others can read it, file-unreadable where it
            is not a secret.
    """
    try:
        return _read_secret(path)
    except FileNotFoundError:
        pass
    make_folder(path.parent)
    try:
        with writing(path, private=True, replace=False) as stream:
            write_all(stream, secrets.token_hex(_SECRET_BYTES).encode())
    except SeriesportError as error:
        if error.code != "destination-conflict":  # of two that make it at once, the first wins
            raise
    return _read_secret(path)


def _read_secret(path: Path) -> bytes:
    try:
        mode, text = path.stat().st_mode, path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unreadable(error, str(path)) from error
    if stat.S_IMODE(mode) & 0o077:
        raise SeriesportError(
            "cohort-not-private", f"{path} can be read by others: chmod 0600 {path}"
        )
    try:
        secret = bytes.fromhex(text.decode("ascii").strip())
    except ValueError:
        secret = b""
    if len(secret) != _SECRET_BYTES:
        raise SeriesportError(
            "file-unreadable", f"{path} does not hold a secret of {_SECRET_BYTES} bytes"
        )
    return secret


def series_key(secret: bytes, place: str, series: SeriesReference, *made_with: str) -> str:
    """The key of a series.

    Args:
        secret: Of the set of results.
        place: What names its source; of plain files, which no UID tells apart, themselves.
        series: The series.
        made_with: Keys of the series that a template and a geometry are.
    """
    return keyed_hash(
        secret,
        place,
        series.patient_id,
        series.study_instance_uid,
        series.series_instance_uid,
        *made_with,
    )


def is_key(text: str) -> bool:
    """Return True for what `keyed_hash` gives, also with `.template` or `.geometry` behind it."""
    return KEY.fullmatch(text.removesuffix(".template").removesuffix(".geometry")) is not None


def keyed_hash(secret: bytes, *parts: str) -> str:
    """A name of 16 letters and digits (80 bits of HMAC-SHA256) for a tuple of texts."""
    message = b"".join(
        len(p := part.encode("utf-8", "surrogatepass")).to_bytes(4, "big") + p for part in parts
    )
    digest = hmac.new(secret, message, hashlib.sha256).digest()
    return base64.b32encode(digest)[:_KEY_LETTERS].decode().lower()
