"""Which members of a ZIP a selection names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_GLOB = {"*": "[^/]*", "?": "[^/]"}


def is_glob(selection: str) -> bool:
    """Whether a selection has wildcards."""
    return any(mark in selection for mark in _GLOB)


def select(names: Iterable[str], selection: str) -> set[str]:
    """The members that a selection names.

    It is matched on whole path parts anywhere below the root: a folder's name selects all that
    is below every folder of that name. `*` and `?` match within a part, `**` matches any number
    of parts. A name that exists as it is written wins over its reading as a pattern.
    """
    every = list(names)
    literal = _matching(every, re.escape(selection))
    if literal or not is_glob(selection):
        return literal
    return _matching(every, _pattern(selection))


def _matching(names: list[str], pattern: str) -> set[str]:
    matcher = re.compile(f"(?:.*/)?{pattern}(?:/.*)?", re.DOTALL)
    return {name for name in names if matcher.fullmatch(name)}


def _pattern(selection: str) -> str:
    pattern = ""
    parts = re.sub(r"(\*\*/)+", "**/", selection).split("/")
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        if part == "**":
            pattern += ".*" if last else "(?:[^/]+/)*"
        else:
            part = re.sub(r"\*+", "*", part)  # noqa: PLW2901 - fewer stars mean the same
            pattern += "".join(_GLOB.get(c, re.escape(c)) for c in part) + ("" if last else "/")
    return pattern
