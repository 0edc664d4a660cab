"""Whether an entry of the cohort fits its schema, told by line and key."""

from __future__ import annotations

import re
from typing import Any, NamedTuple, cast

from seriesport.cohort.table import CODE
from seriesport.config.schema import Problems, explain, load_schema, unknown, validator
from seriesport.config.yamltext import Mapping, Unquoted, line_of

IDENTIFIERS = ("label", "patient", "study", "accession", "series", "series_number")
DESCRIPTIONS = ("description", "description_regex")
_EXCLUSIVE = (("study", "accession"), ("series", "series_number"), DESCRIPTIONS)
_SHOWN = 40


class Row(NamedTuple):
    """One entry as it stands in the file, not yet checked."""

    line: int
    values: dict[str, object]
    node: Mapping | None = None
    """Where the lines of the keys are known."""

    def line_of(self, key: str, item: int | None = None) -> int:
        """The line of a key, or of an item of its list; for a default, that of the entry."""
        if self.node is None or key not in self.node:
            return self.line
        return line_of(self.node, (key,) if item is None else (key, item))


class Checker:
    """Checks entries one by one and adds the file's defaults to them.

    A schema's check by jsonschema takes too long for 100,000 rows: identifiers are matched
    against their pattern directly, and other values are checked once, since they repeat.
    """

    def __init__(self, problems: Problems) -> None:
        schema = load_schema("cohort")
        properties: dict[str, Any] = schema["$defs"]["entry"]["properties"]
        self.keys = tuple(properties)
        self._default_keys = tuple(schema["properties"]["defaults"]["properties"])
        self._problems = problems
        self._patterns = {
            key: re.compile(properties[key]["pattern"]).fullmatch for key in IDENTIFIERS
        }
        whole = validator(schema)
        self._validators = {key: whole.evolve(schema=properties[key]) for key in properties}
        self._passed: set[tuple[str, object]] = set()
        self._allowed = frozenset(self.keys)
        self.defaults = Row(0, Mapping(0))

    def set_defaults(self, defaults: object, line: int) -> None:
        """Check what the file says for all of its entries, and keep it for them."""
        if not isinstance(defaults, Mapping):
            self._problems.add(CODE, line, "defaults must be keys with values, such as: source: …")
            return
        self.defaults = Row(line, defaults, defaults)
        self._fits(self.defaults, self._default_keys, frozenset(self._default_keys))

    def check(self, row: Row) -> dict[str, Any] | None:
        """The values of an entry with the defaults, or None where it does not fit."""
        if not self._fits(row, self.keys, self._allowed):
            return None
        values = row.values
        if self.defaults.values:
            values = {**self.defaults.values, **values}
            for key, other in (DESCRIPTIONS, DESCRIPTIONS[::-1]):
                if key in row.values and other not in row.values:
                    values.pop(other, None)
        return values

    def _fits(self, row: Row, known: tuple[str, ...], allowed: frozenset[str]) -> bool:
        before = len(self._problems)
        values = row.values
        for key, value in values.items():
            if key not in allowed:
                self._problems.add(CODE, row.line_of(key), self._unknown(key, known))
            elif not self._passes(key, value):
                self._explain(row, key, value)
        for one, other in _EXCLUSIVE:
            if other in values and one in values:
                text = f"{one} and {other} exclude each other; keep one of them"
                self._problems.add(CODE, row.line_of(other), text)
        return len(self._problems) == before

    def _unknown(self, key: str, known: tuple[str, ...]) -> str:
        if key in self.keys:
            return f"{key} belongs into an entry, not into defaults"
        return unknown(key, known)

    def _passes(self, key: str, value: object) -> bool:
        if key in self._patterns:
            return isinstance(value, str) and self._patterns[key](value) is not None
        token = _token(key, value)
        if token in self._passed:
            return True
        if not self._validators[key].is_valid(value):
            return False
        if token is not None:
            self._passed.add(token)
        return True

    def _explain(self, row: Row, key: str, value: object) -> None:
        if key in IDENTIFIERS and not isinstance(value, (str, list, dict)):
            self._problems.add("identifier-not-text", row.line_of(key), _how_to_quote(row, key))
            return
        for error in self._validators[key].iter_errors(cast("object", value)):
            path = tuple(error.absolute_path)
            item = path[0] if path and isinstance(path[0], int) else None
            subject = key if item is None else f"{key}, item {item + 1},"
            self._problems.add(CODE, row.line_of(key, item), f"{subject} {explain(error)}")


def _token(key: str, value: object) -> tuple[str, object] | None:
    """What stands for a value that passed once; exact types, since True == 1."""
    if type(value) is str or type(value) is int:
        return key, value
    if isinstance(value, list):
        items = cast("list[object]", value)
        if all(type(item) is str for item in items):
            return key, tuple(items)
    return None


def _how_to_quote(row: Row, key: str) -> str:
    """Show the line with every letter and digit of the identifier hidden, and how to write it."""
    written = row.node.unquoted.get(key) if row.node else None
    if written is None:
        written = Unquoted("no text", "…")
    hidden = re.sub(r"[^\W_]", "x", written.text)[:_SHOWN]
    if written.kind == "nothing":
        return f'{key} is empty to YAML; write it in quotes, {key}: "…", or leave the key out'
    return f'"{key}: {hidden}" is {written.kind} to YAML; write it in quotes: {key}: "{hidden}"'
