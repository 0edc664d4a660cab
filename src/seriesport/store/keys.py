"""Keys: keyed pseudonyms, so that no name on disk tells or lets guess who a series is of."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import stat
from typing import TYPE_CHECKING

from seriesport.access import make_folder
from seriesport.errors import SeriesportError, unreadable
from seriesport.store.files import write_all, writing
from seriesport.store.sealed import read_sealed, write_sealed

if TYPE_CHECKING:
    from pathlib import Path

    from seriesport.model.series import SeriesReference

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
            "cohort-not-private", f"{path} is open to others; run: chmod 0600 {path}"
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


def note_secret(secret: bytes, note: Path) -> None:
    """Note by a hash which secret keys were made with.

    Raises:
        SeriesportError: file-unwritable.
    """
    write_sealed(note, lambda: [f"{keyed_hash(secret)}\n".encode()], private=True)


def check_secret(path: Path, note: Path) -> None:
    """Check that a secret is the one that keys were made with; a note that is damaged says nothing.

    Raises:
        SeriesportError: secret-lost.
    """
    if not note.exists():
        return
    try:
        noted = read_sealed(note, "".join).strip()
    except SeriesportError:
        note.unlink()
        return
    try:
        same = keyed_hash(_read_secret(path)) == noted
    except (FileNotFoundError, SeriesportError):
        same = False
    if not same:
        raise SeriesportError("secret-lost", f"{path} is not the secret that keys were made with")


def series_key(secret: bytes, place: str, series: SeriesReference, *made_with: str) -> str:
    """The key of a series.

    Args:
        secret: Of the set of results.
        place: What names its source; of plain files, which no UID tells apart, themselves.
        series: The series.
        made_with: Keys of the series that a template and a geometry are; number and description
            of what is made with them, where the cohort gives one.
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
