"""The encoding of DICOM elements (PS3.5 section 7): transfer syntaxes, VRs, tags and limits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

UNDEFINED = 0xFFFFFFFF
"""Length of what ends with a delimiter."""
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
MAX_VALUE = 16384
"""Longest value of an attribute that is looked at, in bytes."""
MAX_DEPTH = 512
"""Most sequences and items that may be open at one time."""

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
_LITTLE_IMPLICIT = (IMPLICIT_LITTLE, "1.2.840.113619.5.2")
_DEFLATED = (
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.95",
    "1.2.840.10008.1.2.4.205",
)

_SHORT = b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US"
_LONG = b"OB OD OF OL OV OW SQ SV UC UN UR UT UV"
VALUE_AT: dict[bytes, int] = dict.fromkeys(_SHORT.split(), 8) | dict.fromkeys(_LONG.split(), 12)
"""Where the value of an explicit element begins, by its VR (PS3.5 section 7.1.2)."""


@dataclass(frozen=True, slots=True)
class Syntax:
    """The encoding of a data set, apart from its pixels (PS3.5 section 10)."""

    explicit: bool = True
    little: bool = True
    deflated: bool = False

    @classmethod
    @lru_cache(maxsize=256)
    def of(cls, transfer_syntax_uid: str) -> Syntax:
        """Return the encoding of a transfer syntax; unknown ones are explicit little endian."""
        return cls(
            explicit=transfer_syntax_uid not in _LITTLE_IMPLICIT,
            little=transfer_syntax_uid != EXPLICIT_BIG,
            deflated=transfer_syntax_uid in _DEFLATED,
        )

    def written(self, *, explicit: bool) -> Syntax:
        """Return the same byte order with or without VRs."""
        return _SYNTAXES[explicit][self.little]


_SYNTAXES = tuple(
    tuple(Syntax(explicit, little) for little in (False, True)) for explicit in (False, True)
)
