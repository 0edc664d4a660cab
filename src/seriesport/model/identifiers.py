"""How identifiers of DICOM look."""

from __future__ import annotations

import re

NO_AET = "an AE title has 1 to 16 ASCII characters, and no backslash among them"
_UID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*)){2,}")
_AET = re.compile(r"(?=.*[^ ])[ -\[\]-~]{1,16}")


def is_uid(text: str) -> bool:
    """Whether a text is a DICOM UID (PS3.5 section 9.1) of three or more components."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def is_aet(text: str) -> bool:
    """Return True for an AE title (PS3.5 section 6.2): 1 to 16 characters, not only spaces."""
    return _AET.fullmatch(text) is not None
