"""Identifiers of DICOM: their forms, and those that name a series."""

from __future__ import annotations

import re
from typing import NamedTuple

NO_AET = "an AE title has 1 to 16 ASCII characters, and no backslash among them"
_UID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*)){2,}")
_AET = re.compile(r"(?=.*[^ ])[ -\[\]-~]{1,16}")


def is_uid(text: str) -> bool:
    """Whether a text is a DICOM UID (PS3.5 section 9.1) of three or more components."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def is_aet(text: str) -> bool:
    """Return True for an AE title (PS3.5 section 6.2): 1 to 16 characters, not only spaces."""
    return _AET.fullmatch(text) is not None


class Identifiers(NamedTuple):
    """Identifiers that name a series; empty where an entry of the cohort does not say."""

    patient: str = ""
    study: str = ""
    accession: str = ""
    series: str = ""
    series_number: str = ""


class UnfitError(Exception):
    """A key of an entry does not go with its source."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key
