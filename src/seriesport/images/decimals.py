"""Decimal Strings (DS, PS3.5 section 6.2): numbers in at most 16 characters."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal

_DS_LENGTH = 16


def decimal_string(value: float, rounding: str = ROUND_HALF_EVEN) -> str:
    """A number in at most 16 characters (DS, PS3.5 section 6.2) with the least error.

    Args:
        value: Finite, of at most 1e308.
        rounding: As in `decimal`; ROUND_CEILING and ROUND_FLOOR bound the value.
    """
    shortest = _trimmed(Decimal(repr(float(value))))
    if len(shortest) <= _DS_LENGTH:
        return shortest
    exact = Decimal(value)
    for digits in range(_DS_LENGTH, 0, -1):
        written = _trimmed(Context(prec=digits, rounding=rounding).create_decimal(exact))
        if len(written) <= _DS_LENGTH:
            return written
    raise AssertionError(value)


def _trimmed(number: Decimal) -> str:
    if not number:
        return "0"
    _, digits, exponent = number.normalize(Context(prec=60)).as_tuple()
    assert isinstance(exponent, int)
    sign = "-" if number < 0 else ""
    figures = "".join(map(str, digits))
    power = exponent + len(figures) - 1
    rest = f".{figures[1:]}" if len(figures) > 1 else ""
    scientific = f"{sign}{figures[0]}{rest}E{power}"
    whole = f"{sign}{figures}E{exponent}" if exponent else f"{sign}{figures}"
    if -_DS_LENGTH <= exponent <= _DS_LENGTH:
        plain = f"{number.normalize(Context(prec=60)):f}"
        if len(plain) <= _DS_LENGTH:
            return plain
    return min(scientific, whole, key=len)
