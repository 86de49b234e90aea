"""As much of JSON Schema as the settings' schema uses; a keyword that is not known here fails."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

Schema: TypeAlias = Mapping[str, Any]

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "null": (type(None),),
    "number": (int, float),
    "object": (dict,),
    "string": (str,),
}


def accepts(schema: Schema, value: Any, root: Schema) -> bool:
    """Whether `value` is as `schema` says; `root` is where references begin."""
    return all(_RULES[keyword](schema, value, root) for keyword in schema)


def _type(schema: Schema, value: Any, _root: Schema) -> bool:
    wanted = schema["type"]
    return isinstance(value, _TYPES[wanted]) and isinstance(value, bool) == (wanted == "boolean")


def _members(schema: Schema, value: Any, root: Schema) -> bool:
    if not isinstance(value, dict):
        return True
    known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    return all(
        accepts(known[key], value[key], root)
        if key in known
        else others is not False and accepts(others, value[key], root)
        for key in value
    )


def _number(holds: Callable[[float], bool], value: Any) -> bool:
    return not isinstance(value, int | float) or holds(value)


_RULES: Final[Mapping[str, Callable[[Schema, Any, Schema], bool]]] = {
    **dict.fromkeys(("title", "description", "default", "$defs", "format"), lambda *_: True),
    "$ref": lambda schema, value, root: accepts(
        root["$defs"][schema["$ref"].removeprefix("#/$defs/")], value, root
    ),
    "anyOf": lambda schema, value, root: any(accepts(x, value, root) for x in schema["anyOf"]),
    "type": _type,
    "const": lambda schema, value, _: value == schema["const"],
    "enum": lambda schema, value, _: value in schema["enum"],
    "pattern": lambda schema, value, _: re.search(schema["pattern"], str(value)) is not None,
    "minimum": lambda schema, value, _: _number(lambda n: n >= schema["minimum"], value),
    "maximum": lambda schema, value, _: _number(lambda n: n <= schema["maximum"], value),
    "exclusiveMinimum": lambda schema, value, _: _number(
        lambda n: n > schema["exclusiveMinimum"], value
    ),
    "minLength": lambda schema, value, _: len(str(value)) >= schema["minLength"],
    "minProperties": lambda schema, value, _: len(value) >= schema["minProperties"],
    "items": lambda schema, value, root: (
        not isinstance(value, list) or all(accepts(schema["items"], item, root) for item in value)
    ),
    "required": lambda schema, value, _: (
        not isinstance(value, dict) or set(schema["required"]) <= value.keys()
    ),
    "properties": _members,
    "additionalProperties": _members,
}
