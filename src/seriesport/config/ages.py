"""Ages as config.yaml has them: a whole number and `min`, `h`, `d` or `w`."""

from __future__ import annotations

from string import ascii_lowercase

_UNITS = {"min": 60, "h": 3600, "d": 86400, "w": 604800}


def seconds(age: str) -> float:
    """Return an age such as `30min` or `7d`, which the schema has checked, in seconds."""
    number = age.rstrip(ascii_lowercase)
    return float(number) * _UNITS[age.removeprefix(number)]
