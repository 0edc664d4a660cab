"""What the status of a response means (PS3.7 annex C, PS3.4 annexes B, C and GG)."""

from __future__ import annotations

from seriesport.errors import SeriesportError

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000
_PENDING = (0xFF00, 0xFF01)
_DENIALS = {
    0x0122: " (it does not offer this service)",
    0x0124: " (it does not allow it to this calling AE title)",
    0x0211: " (it does not know this service)",
}
_WARNINGS = (0x0001, 0x0107, 0x0116)


def pending(status: int) -> bool:
    """Whether more responses follow."""
    return status in _PENDING


def warning(status: int) -> bool:
    """Whether it was done, but not without remark."""
    return status >> 12 == 0xB or status in _WARNINGS


def refused(status: int) -> bool:
    """Whether the peer is out of resources for now."""
    return status >> 8 == 0xA7


def denied(status: int) -> bool:
    """Return True where the peer does not do such a thing, or not for us, whatever is asked for."""
    return status in _DENIALS


def failure(service: str, status: int) -> SeriesportError:
    """The error for a failure status: dimse-refused where it is out of resources."""
    code = "dimse-refused" if refused(status) else "dimse-failure"
    meaning = _DENIALS.get(status, "")
    return SeriesportError(
        code, f"the archive answered {service} with status {status:#06x}{meaning}"
    )
