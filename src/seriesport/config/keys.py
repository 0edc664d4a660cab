"""Keys of config.yaml that are fields of a dataclass, from which their schema follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from types import MappingProxyType, NoneType
from typing import Annotated, Any, cast, get_args, get_origin, get_type_hints

_TYPES = {bool: "boolean", int: "integer", float: "number"}
_NO_RULES: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Key:
    """Description of a key, to annotate a field with: `Annotated[int, Key("The port.", 104)]`."""

    description: str
    example: object
    rules: Mapping[str, object] = field(default_factory=lambda: _NO_RULES)
    """Rules of JSON Schema, beside the type that follows from the field's."""


def schema_of(kind: type) -> dict[str, Any]:
    """Return the JSON schema of a dataclass, for those of its fields that have a Key."""
    hints = get_type_hints(kind, include_extras=True)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for one in fields(kind):
        if get_origin(hints[one.name]) is not Annotated:
            continue
        annotated, key = get_args(hints[one.name])
        properties[one.name] = _property(annotated, key)
        if one.default is MISSING and one.default_factory is MISSING:
            required.append(one.name)
        elif one.default not in (MISSING, None, ""):
            default = one.default
            whole = isinstance(default, float) and default.is_integer()
            properties[one.name]["default"] = int(default) if whole else default
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": required,
    }


def _property(annotated: Any, key: Key) -> dict[str, Any]:
    inner = cast("type", next((a for a in get_args(annotated) if a is not NoneType), annotated))
    schema: dict[str, Any] = {"type": _TYPES.get(inner, "string")}
    if hasattr(inner, "__dataclass_fields__") and "pattern" not in key.rules:
        schema = schema_of(inner)
    return {
        "examples": [key.example],
        **schema,
        **key.rules,
        "description": key.description,
    }
