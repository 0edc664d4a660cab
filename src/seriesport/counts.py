"""Counts in messages: `1 entry`, `1 of 5 instances is`."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun, in the singular for 1.

    Args:
        number: How many.
        one: The noun in the singular, or with it what agrees with the number.
        many: The same in the plural; by default with an `s` at its end.

    Example:
        >>> counted(1, "entry", "entries"), counted(2, "file")
        ('1 entry', '2 files')
    """
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def part(number: int, total: int, noun: str, one: str, many: str) -> str:
    """Return how many of a total, with the verb that agrees with them.

    Args:
        number: How many.
        total: Of how many.
        noun: What they are, in the singular.
        one: The verb in the singular.
        many: The verb in the plural.

    Example:
        >>> part(1, 5, "instance", "is", "are")
        '1 of 5 instances is'
    """
    return f"{number} of {counted(total, noun)} {one if number == 1 else many}"
