"""Keys: keyed pseudonyms, so that no name on disk tells or lets guess who a series is of."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import stat
from typing import TYPE_CHECKING

from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from pathlib import Path

_SECRET_BYTES = 32
_KEY_LETTERS = 16


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
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(secrets.token_hex(_SECRET_BYTES).encode())
        stream.flush()
        os.fsync(stream.fileno())
    try:
        os.link(draft, path)  # of two that make it at once, the first wins
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return _read_secret(path)


def _read_secret(path: Path) -> bytes:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SeriesportError(
            "cohort-not-private", f"{path} can be read by others: chmod 0600 {path}"
        )
    try:
        secret = bytes.fromhex(path.read_text("ascii").strip())
    except ValueError:
        secret = b""
    if len(secret) != _SECRET_BYTES:
        raise SeriesportError(
            "file-unreadable", f"{path} does not hold a secret of {_SECRET_BYTES} bytes"
        )
    return secret


def keyed_hash(secret: bytes, *parts: str) -> str:
    """A name of 16 letters and digits (80 bits of HMAC-SHA256) for a tuple of texts."""
    message = b"".join(len(p := part.encode("utf-8", "surrogatepass")).to_bytes(4, "big") + p for part in parts)
    digest = hmac.new(secret, message, hashlib.sha256).digest()
    return base64.b32encode(digest)[:_KEY_LETTERS].decode().lower()
