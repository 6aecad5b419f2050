"""What a tool's schema says of its arguments, as far as a syntax of calls needs it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TypeAlias, cast

import msgspec

from ...request import Tool
from ..constraint.errors import NotHeld
from ..constraint.schema import translate_schema

JsonObject: TypeAlias = "dict[str, object]"

OPEN_SCHEMA = '{"type": "object"}'
MAX_SCHEMA = 64 * 1024
"""Characters; a tool's schema beyond holds its arguments no further than that they are an object."""
_COMBINING = frozenset({"$ref", "allOf", "anyOf", "oneOf", "not", "if", "patternProperties", "additionalProperties"})


def read_schema(tool: Tool) -> JsonObject:
    """Gives a tool's schema; an empty one where it is none."""
    try:
        schema: object = msgspec.json.decode(tool.parameters)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return cast("JsonObject", schema) if isinstance(schema, dict) else {}


def read_properties(schema: JsonObject) -> dict[str, JsonObject]:
    """Gives the schemas of an object's properties; one that is no object says nothing, and is empty."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    return {
        name: cast("JsonObject", of_one) if isinstance(of_one, dict) else {}
        for name, of_one in cast("JsonObject", properties).items()
    }


def read_required(schema: JsonObject) -> frozenset[str]:
    """Gives the names of the properties that must be there."""
    required = schema.get("required")
    return frozenset(map(str, cast("list[object]", required))) if isinstance(required, list) else frozenset()


def held_arguments(tool: Tool) -> str:
    """Gives the schema that holds a tool's arguments: its own, closed to names it does not know, or that of any object.

    A tool whose schema cannot be held is still one that can be called.
    """
    schema = read_schema(tool)
    if schema.setdefault("type", "object") != "object":
        return OPEN_SCHEMA
    if read_properties(schema) and not _COMBINING & schema.keys():
        schema["additionalProperties"] = False
    return held_or(schema, OPEN_SCHEMA)


def held_or(schema: JsonObject, otherwise: str) -> str:
    """Gives a schema as JSON text if it can be held, else the other text."""
    text = json.dumps(schema)
    try:
        translate_schema(text)
    except NotHeld:
        return otherwise
    return text if len(text) <= MAX_SCHEMA else otherwise


def loosen(tools: Sequence[Tool]) -> tuple[Tool, ...]:
    """Gives the same tools without schemas, for a grammar that is too large with them."""
    return tuple(Tool(tool.name, tool.description, OPEN_SCHEMA) for tool in tools)


def value_types(schema: JsonObject) -> frozenset[str]:
    """Gives the JSON types that a schema names for a value; none where it leaves that open."""
    found: set[str] = set()
    kind = schema.get("type")
    options = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if isinstance(kind, str):
        found.add(kind)
    elif isinstance(kind, list):
        found.update(map(str, cast("list[object]", kind)))
    elif isinstance(options, list):
        found.update(_TYPES.get(type(option), "null") for option in cast("list[object]", options))
    for keyword in ("anyOf", "oneOf", "allOf"):
        branches = schema.get(keyword)
        if isinstance(branches, list):
            for branch in cast("list[object]", branches):
                found.update(value_types(cast("JsonObject", branch)) if isinstance(branch, dict) else ())
    return frozenset(found)


_TYPES: dict[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", list: "array"}
