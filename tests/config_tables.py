"""The tables of config/README.md, made from the schemas.

`python tests/config_tables.py` writes them into the README after a schema has changed.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from seriesport.config.keys import schema_of
from seriesport.config.registration import registration, schemes
from seriesport.config.schema import load_schema

README = Path(__file__).parents[1] / "config" / "README.md"
_TYPES = {"array": "list", "object": "keys", "string": "text", "integer": "whole number"}


def tables() -> dict[str, str]:
    """A table of keys for each of the README's places."""
    config, cohort = load_schema("config"), load_schema("cohort")
    entry = cohort["$defs"]["entry"]
    return {
        "config": _table(list(_keys(config["properties"], ""))),
        "cohort": _table(list(_keys(cohort["properties"], "", deep=False))),
        "entry": _table(list(_keys(entry["properties"], ""))),
    }


def _keys(properties: dict[str, Any], prefix: str, *, deep: bool = True) -> Any:
    for key, schema in properties.items():
        yield f"{prefix}{key}", schema
        if deep and "properties" in schema:
            yield from _keys(schema["properties"], f"{prefix}{key}.")
        below = schema.get("additionalProperties")
        if deep and isinstance(below, dict):
            yield from _keys({**server_keys(), **below["properties"]}, f"{prefix}{key}.NAME.")


def server_keys() -> dict[str, Any]:
    """The keys of servers of all kinds; those that one needs name its scheme as `needed`."""
    found: dict[str, Any] = {}
    for scheme in schemes():
        kind = getattr(registration(scheme), "server", None)
        described = schema_of(kind) if kind else {"properties": {}, "required": []}
        for name, schema in described["properties"].items():
            needed = scheme if name in described["required"] else ""
            found.setdefault(name, {**schema, "needed": needed})
    return found


def _table(keys: list[tuple[str, dict[str, Any]]]) -> str:
    lines = ["| key | type | default | example | what it does |", "|---|---|---|---|---|"]
    for path, schema in keys:
        default = f"`{_text(schema['default'])}`" if "default" in schema else ""
        if schema.get("needed"):
            default = f"(needed: {schema['needed']})"
        cells = [f"`{path}`", _type(schema), default, f"`{_text(schema['examples'][0])}`"]
        cells.append(" ".join(schema["description"].split()).replace("*", "\\*"))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _type(schema: dict[str, Any]) -> str:
    if schema["type"] == "array":
        items = schema["items"]
        if "enum" in items:
            return "list of " + ", ".join(f"`{name}`" for name in items["enum"])
        return "list of text" if items.get("type") == "string" else "list of entries"
    return _TYPES.get(schema["type"], schema["type"])


def _text(value: Any) -> str:
    """The value in YAML's flow style, text in quotes where YAML or an identifier needs them."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_text(item) for item in value) + "]"
    if isinstance(value, str):
        return (
            value
            if re.fullmatch(r"[A-Za-z/][A-Za-z/._-]*(://[A-Za-z/]+)?", value)
            else json.dumps(value)
        )
    return json.dumps(value)


def with_tables(text: str) -> str:
    """The README with its tables replaced by those of the schemas."""
    for name, table in tables().items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        head, _, rest = text.partition(begin)
        _, _, tail = rest.partition(end)
        text = f"{head}{begin}\n{table}\n{end}{tail}"
    return text


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
