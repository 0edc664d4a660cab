"""UIDs that depend on content alone: the same parts give the same UID, on every machine."""

from __future__ import annotations

import hashlib
import re
import uuid

_VALID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
MAX_LENGTH = 64


def valid(uid: str) -> bool:
    """Whether a text is a UID: components of digits without leading zeros (PS3.5 section 9.1)."""
    return len(uid) <= MAX_LENGTH and _VALID.fullmatch(uid) is not None


def derived(*parts: str | bytes) -> str:
    """A UID below 2.25, the root for UUIDs (PS3.5 section B.2), from a hash of the parts.

    It has at most 44 characters.
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return f"2.25.{uuid.UUID(bytes=digest.digest()[:16], version=5).int}"
