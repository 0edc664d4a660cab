"""YAML as a person writes it: plain data that still knows the line of every key.

YAML 1.1, as Snakemake and PyYAML read it. Nothing that a message says repeats a value of the file.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol, cast

import yaml

from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_DEPTH = 16
_MAX_VALUES = 2_000_000  # aliases counted as often as they are used
_MERGE = "tag:yaml.org,2002:merge"
_KINDS = {
    "tag:yaml.org,2002:int": "a number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:bool": "a truth value",
    "tag:yaml.org,2002:null": "nothing",
    "tag:yaml.org,2002:timestamp": "a date",
}
_HINTS = {
    "escape": "; within \"…\" a backslash starts an escape, so use single quotes: '…'",
    "cannot start any token": "; a text that begins with this character needs quotes",
    "mapping values": "; a text with ': ' in it needs quotes",
    "end of stream": "; a quote is never closed",
    "expected key": "; look for a quote that is not closed, or for lines that do not begin alike",
}


class _Events(Protocol):
    """What is used of a PyYAML loader, whose own types are partly unknown."""

    def get_event(self) -> yaml.Event | None: ...

    def resolve(
        self, kind: type[yaml.Node], value: str, implicit: tuple[bool, bool] | None
    ) -> str: ...

    def dispose(self) -> None: ...


_Loader = cast("Callable[[str], _Events]", getattr(yaml, "CSafeLoader", yaml.SafeLoader))


class Unquoted:
    """A scalar without quotes that YAML does not take for text."""

    __slots__ = ("kind", "text")

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        """What YAML takes it for: a number, a date, a truth value, nothing."""
        self.text = text
        """As it stands in the file."""


class Mapping(dict[str, object]):
    """A mapping with the line where it begins, and those of its keys."""

    __slots__ = ("key_lines", "line", "unquoted")

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.key_lines: dict[str, int] = {}
        self.unquoted: dict[str, Unquoted] = {}
        """The values that are not text, as they were written."""


class Sequence(list[object]):
    """A list with the line of each of its items."""

    __slots__ = ("item_lines",)

    def __init__(self) -> None:
        super().__init__()
        self.item_lines: list[int] = []


def line_of(root: object, path: tuple[str | int, ...]) -> int:
    """The line of the value at a path below a root, or of the nearest thing around it."""
    line = root.line if isinstance(root, Mapping) else 1
    here = root
    for step in path:
        if isinstance(here, Mapping) and isinstance(step, str):
            line = here.key_lines.get(step, line)
            here = here.get(step)
        elif isinstance(here, Sequence) and isinstance(step, int) and step < len(here):
            line = here.item_lines[step]
            here = here[step]
        else:
            break
    return line


def load_yaml(content: bytes, name: str, code: str) -> object:
    """Read one YAML document.

    Args:
        content: The file's bytes, UTF-8.
        name: What messages call the file.
        code: Reason code of a file that cannot be read.

    Raises:
        SeriesportError: `code`, with the line. Duplicate keys, keys that are not text, tags of
            other types than YAML's plain ones and aliases that grow without bound are refused.
    """
    return _Reader(_decode(content, name, code), name, code).read()


def _decode(content: bytes, name: str, code: str) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SeriesportError(
            code, f"{name}, line {line}: this is not UTF-8 text; save it as UTF-8"
        ) from None
    bad = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if bad is not None:
        line = text.count("\n", 0, bad.start()) + 1
        raise SeriesportError(code, f"{name}, line {line}: this line holds a control character")
    return text


class _Reader:
    def __init__(self, text: str, name: str, code: str) -> None:
        self._loader = _Loader(text)
        self._text = text
        self._name = name
        self._code = code
        self._anchors: dict[str, tuple[object, int]] = {}
        self._count = 0

    def read(self) -> object:
        try:
            return self._document()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            raise self._error(line, self._tab(line) or _plain(error.problem)) from None
        finally:
            self._loader.dispose()

    def _tab(self, number: int) -> str:
        """Say that a line is indented with a tab, which YAML refuses; empty where it is not."""
        line = "".join(self._text.split("\n")[number - 1 : number])
        indented = "\t" in line[: len(line) - len(line.lstrip())]
        return "this line is indented with a tab; use spaces" if indented else ""

    def _document(self) -> object:
        self._next()
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        value = self._value(self._next(), 0)
        self._next()
        event = self._next()
        if not isinstance(event, yaml.StreamEndEvent):
            raise self._error(_line(event), "a second document begins here; a file holds one")
        return value

    def _next(self) -> yaml.Event:
        event = self._loader.get_event()
        assert event is not None  # the stream's end is an event too
        return event

    def _error(self, line: int, problem: str) -> SeriesportError:
        return SeriesportError(self._code, f"{self._name}, line {line}: {problem}")

    def _value(self, event: yaml.Event, depth: int) -> object:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        self._grow(1, event)
        before = self._count
        value = self._build(event, depth)
        anchor: str | None = getattr(event, "anchor", None)
        if anchor is not None:
            self._anchors[anchor] = (value, self._count - before + 1)
        return value

    def _grow(self, by: int, event: yaml.Event) -> None:
        self._count += by
        if self._count > _MAX_VALUES:
            raise self._error(_line(event), f"this file has more than {_MAX_VALUES} values")

    def _alias(self, event: yaml.AliasEvent) -> object:
        if event.anchor not in self._anchors:
            problem = (
                "a text that begins with '*' needs quotes (it names an anchor, and there is none)"
            )
            raise self._error(_line(event), problem)
        value, size = self._anchors[event.anchor]
        self._grow(size, event)
        return value

    def _build(self, event: yaml.Event, depth: int) -> object:
        if depth > _MAX_DEPTH:
            raise self._error(_line(event), f"this is nested more than {_MAX_DEPTH} deep")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, self._tag(event))
        tag: str | None = getattr(event, "tag", None)
        if isinstance(event, yaml.MappingStartEvent) and tag in (
            None,
            "!",
            "tag:yaml.org,2002:map",
        ):
            return self._mapping(event, depth)
        if isinstance(event, yaml.SequenceStartEvent) and tag in (
            None,
            "!",
            "tag:yaml.org,2002:seq",
        ):
            return self._sequence(depth)
        raise self._tag_error(event)

    def _tag_error(self, event: yaml.Event) -> SeriesportError:
        return self._error(
            _line(event), "a text that begins with '!' needs quotes (it is a YAML tag)"
        )

    def _tag(self, event: yaml.ScalarEvent) -> str:
        if event.tag is not None and event.tag != "!":
            return event.tag
        return self._loader.resolve(yaml.ScalarNode, event.value, event.implicit)

    def _scalar(self, event: yaml.ScalarEvent, tag: str) -> object:
        if tag in ("tag:yaml.org,2002:str", _MERGE, "tag:yaml.org,2002:value"):
            return event.value
        if tag not in _KINDS:
            raise self._tag_error(event)
        unquoted = Unquoted(_KINDS[tag], event.value)
        construct = _CONSTRUCT.get(tag)
        if construct is None:
            return unquoted
        try:
            return construct(self._loader, yaml.ScalarNode(tag, event.value))
        except (ValueError, KeyError):
            return unquoted

    def _sequence(self, depth: int) -> Sequence:
        sequence = Sequence()
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            sequence.item_lines.append(_line(event))
            value = self._value(event, depth + 1)
            sequence.append(value)
        return sequence

    def _mapping(self, start: yaml.MappingStartEvent, depth: int) -> Mapping:
        mapping = Mapping(_line(start))
        merged: list[object] = []
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            line = _line(event)
            key, tag = self._key(event)
            value_event = self._next()
            value = self._value(value_event, depth + 1)
            if tag == _MERGE:
                merged.append(value)
                continue
            if key in mapping:
                first = mapping.key_lines[key]
                raise self._error(
                    line, f"this key stands here a second time (first in line {first})"
                )
            mapping[key] = value
            mapping.key_lines[key] = line
            self._remember(mapping, key, value_event)
        for other in merged:
            self._merge(mapping, other)
        return mapping

    def _key(self, event: yaml.Event) -> tuple[str, str]:
        if isinstance(event, yaml.ScalarEvent):
            tag = self._tag(event)
            if tag in ("tag:yaml.org,2002:str", _MERGE):
                return event.value, tag
        raise self._error(_line(event), "this key is not text to YAML; write it in quotes")

    def _remember(self, mapping: Mapping, key: str, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent) and not isinstance(mapping[key], str):
            kind = _KINDS[self._tag(event)]
            mapping.unquoted[key] = Unquoted(kind, event.value)

    def _merge(self, mapping: Mapping, other: object) -> None:
        for source in other if isinstance(other, Sequence) else [other]:
            if not isinstance(source, Mapping):
                raise self._error(mapping.line, "'<<' takes a mapping, or a list of mappings")
            for key in source.keys() - mapping.keys():
                mapping[key] = source[key]
                mapping.key_lines[key] = source.key_lines[key]
                if key in source.unquoted:
                    mapping.unquoted[key] = source.unquoted[key]


_CONSTRUCT: dict[str, Callable[[Any, yaml.ScalarNode], object]] = {
    "tag:yaml.org,2002:int": yaml.SafeLoader.construct_yaml_int,
    "tag:yaml.org,2002:float": yaml.SafeLoader.construct_yaml_float,
    "tag:yaml.org,2002:bool": yaml.SafeLoader.construct_yaml_bool,
    "tag:yaml.org,2002:null": yaml.SafeLoader.construct_yaml_null,
}


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1


def _plain(problem: str | None) -> str:
    text = re.sub(r"'[^']{2,}'", "this", problem or "this is not YAML")
    hint = next((hint for word, hint in _HINTS.items() if word in text), "")
    return f"YAML cannot be read: {text}{hint}"
