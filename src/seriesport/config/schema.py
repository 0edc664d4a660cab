"""The schemas of config.yaml and cohort.yaml, and what a user is told where a file does not fit.

No message repeats a value: it may be an identifier or a password, and messages go to logs.
"""

from __future__ import annotations

import difflib
import re
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import yaml
from jsonschema import Draft202012Validator, ValidationError, validators

from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

MAX_PROBLEMS = 20
_TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "nothing",
    "number": "a number",
    "object": "a mapping of keys",
    "string": "text",
}
_RULES = {
    "exclusiveMinimum": "must be more than {}",
    "maximum": "must be at most {}",
    "minimum": "must be at least {}",
    "minItems": "is empty",
    "minLength": "is empty",
    "uniqueItems": "names something twice",
}


class Problems:
    """Collects what is wrong with a file, so that a user sees the first 20 at once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._found: dict[tuple[int, str], str] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, code: str, line: int | None, text: str) -> None:
        """Note one problem; gives up by raising all at the 20th.

        Raises:
            SeriesportError: see `check`.
        """
        self._found.setdefault((line or 0, text), code)
        if len(self._found) >= MAX_PROBLEMS:
            self.check()

    def check(self) -> None:
        """Raise what was found, if anything.

        Raises:
            SeriesportError: with the code of the first problem, and a line of text for each.
        """
        if not self._found:
            return
        ordered = sorted(self._found)
        texts = [
            f"{self._name}, line {line}: {text}" if line else f"{self._name}: {text}"
            for line, text in ordered
        ]
        if len(texts) >= MAX_PROBLEMS:
            texts.append(f"{self._name}: not checked further after {len(texts)} problems")
        raise SeriesportError(self._found[ordered[0]], "\n".join(texts))


@cache
def load_schema(name: str) -> dict[str, Any]:
    """A schema by its file name without the suffix, such as `config`.

    The files stand in `workflow/schemas/`, where Snakemake finds them; a wheel carries a copy.
    """
    file = f"{name}.schema.yaml"
    packaged = resources.files("seriesport") / "schemas" / file
    if packaged.is_file():
        text = packaged.read_text(encoding="utf-8")
    else:
        tree = Path(__file__).parents[3] / "workflow" / "schemas"
        text = (tree / file).read_text(encoding="utf-8")
    return yaml.safe_load(text)


class Validator(Protocol):
    """What is used of a jsonschema validator, whose own types are partly unknown."""

    def iter_errors(self, instance: object) -> Iterator[ValidationError]:
        """Everything that does not fit."""
        ...

    def is_valid(self, instance: object) -> bool:
        """Whether a value fits."""
        ...

    def evolve(self, **changes: object) -> Validator:
        """The same validator for another part of the schema."""
        ...


def _whole_pattern(
    _validator: object, pattern: str, instance: object, _schema: object
) -> Iterator[ValidationError]:
    # Python's '$' also fits before a line feed at the end, where ECMA 262's does not.
    if isinstance(instance, str) and re.fullmatch(pattern, instance) is None:
        yield ValidationError("pattern")


_extend = cast("Callable[..., Callable[[object], Validator]]", getattr(validators, "extend"))  # noqa: B009
_STRICT = _extend(Draft202012Validator, {"pattern": _whole_pattern})


def validator(schema: Mapping[str, Any]) -> Validator:
    """Return the validator of a schema; its patterns must fit a text as a whole."""
    return _STRICT(schema)


def explain(error: ValidationError) -> str:
    """What a value must be, in the words of its schema."""
    schema = cast("dict[str, Any]", error.schema)
    wanted: Any = error.validator_value
    expected = schema.get("x-expected")
    rule = str(error.validator)
    if rule == "type":
        return f"must be {expected or _TYPES[wanted]}, not {_kind(error.instance)}{_mend(error)}"
    if rule == "enum":
        return f"must be one of: {', '.join(wanted)}"
    if rule == "required":
        missing = set(wanted) - cast("dict[str, object]", error.instance).keys()
        return f"lacks {', '.join(sorted(missing))}"
    if rule in _RULES:
        return _RULES[rule].format(wanted)
    return f"must be {expected or 'as config/README.md describes it'}"


def _mend(error: ValidationError) -> str:
    """Say how text becomes what it should be, where that is a matter of brackets or quotes."""
    if not isinstance(error.instance, str):
        return ""
    how = {
        "array": "put it in [ ]",
        "integer": "leave out the quotes",
        "number": "leave out the quotes",
    }
    mend = how.get(str(error.validator_value), "")
    return f"; {mend}" if mend else ""


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    for type_, word in ((str, "text"), (int | float, "a number"), (list, "a list"), (dict, "keys")):
        if isinstance(value, type_):
            return word
    return "a date"


def unknown(key: str, known: Collection[str], what: str = "key") -> str:
    """What to say of a key that no schema has.

    The key itself is shown only where it nearly is a known one: it might be an identifier that
    slipped into the wrong place.
    """
    near = difflib.get_close_matches(key.strip().lower(), known, n=1, cutoff=0.7)
    if near:
        return f"the {what} '{key}' is unknown; did you mean '{near[0]}'?"
    return f"this {what} is unknown; there are: {', '.join(known)}"
