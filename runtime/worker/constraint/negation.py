"""What a schema does not allow, as another schema: exact, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from .json_types import Json, Schema
from .keywords import CONSTRAINING
from .patterns import none_of

_TYPES = ("null", "boolean", "number", "string", "array", "object")
_OPPOSITES: dict[str, tuple[str, str]] = {
    "minimum": ("number", "exclusiveMaximum"),
    "maximum": ("number", "exclusiveMinimum"),
    "exclusiveMinimum": ("number", "maximum"),
    "exclusiveMaximum": ("number", "minimum"),
}
_COUNTS: dict[str, tuple[str, str, int]] = {
    "minLength": ("string", "maxLength", -1),
    "maxLength": ("string", "minLength", 1),
    "minItems": ("array", "maxItems", -1),
    "maxItems": ("array", "minItems", 1),
    "minProperties": ("object", "maxProperties", -1),
    "maxProperties": ("object", "minProperties", 1),
}


class NotExact(Exception):
    """A schema's opposite cannot be written as a schema; the text is the keyword at fault."""


def negate(schema: Json, resolve: Callable[[str], Json], spend: Callable[[], None], *, depth: int = 0) -> Json:
    """Gives the schema of all values that are not of this one.

    Args:
        schema: what is denied.
        resolve: finds what a `$ref` names.
        spend: takes note of each schema that is looked at.
        depth: how far down this is.

    Raises:
        NotExact: there is none.
    """
    spend()
    if isinstance(schema, bool):
        return not schema
    if not isinstance(schema, dict):
        raise NotExact("not")
    if depth > 32:
        raise NotExact("$ref")

    def inner(one: Json) -> Json:
        return negate(one, resolve, spend, depth=depth + 1)

    # A value fails a schema where it fails one of its keywords.
    options: list[Json] = []
    for keyword, value in schema.items():
        if keyword == "$ref" and isinstance(value, str):
            options.append(inner(resolve(value)))
        elif keyword in CONSTRAINING:
            options.extend(_negate_keyword(keyword, value, inner))
    return {"anyOf": options} if options else False


def _negate_keyword(keyword: str, value: Json, inner: Callable[[Json], Json]) -> Sequence[Json]:
    match keyword, value:
        case "type", str() | list():
            return [_other_types([value] if isinstance(value, str) else value)]
        case "const", _:
            return _other_values([value])
        case "enum", list():
            return _other_values(value)
        case "not", _:
            return [value]
        case "allOf", list():
            return [inner(one) for one in value]
        case "anyOf", list():
            return [{"allOf": [inner(one) for one in value]}]
        case "required", list():
            return [_object({"properties": {str(name): False}}) for name in value]
        case "properties", dict():
            return [_object({"properties": {name: inner(one)}, "required": [name]}) for name, one in value.items()]
        case _ if isinstance(value, int | float) and not isinstance(value, bool) and keyword in _OPPOSITES:
            kind, opposite = _OPPOSITES[keyword]
            return [{"type": kind, opposite: value}]
        case _ if isinstance(value, int) and not isinstance(value, bool) and keyword in _COUNTS:
            kind, opposite, step = _COUNTS[keyword]
            return [{"type": kind, opposite: value + step}] if value + step >= 0 else []
        case _:
            raise NotExact(keyword)


def _object(rest: Mapping[str, Json]) -> Schema:
    return {"type": "object", **rest}


def _other_types(types: Sequence[Json]) -> Json:
    if not all(isinstance(kind, str) for kind in types):
        raise NotExact("type")
    named = set(cast("Sequence[str]", types))
    if "integer" in named and "number" not in named:
        raise NotExact("type")
    return {"type": [kind for kind in _TYPES if kind not in named]} if not named.issuperset(_TYPES) else False


def _other_values(values: Sequence[Json]) -> Sequence[Json]:
    """Every value but these, kind by kind."""
    if any(isinstance(value, list | dict) for value in values):
        raise NotExact("enum")
    options: list[Json] = [{"type": ["array", "object"]}]
    if None not in values:
        options.append({"type": "null"})
    options.extend({"const": flag} for flag in (False, True) if not any(value is flag for value in values))
    texts = [value for value in values if isinstance(value, str)]
    pattern = none_of(texts)
    if pattern is None:
        raise NotExact("enum")
    options.append({"type": "string", "pattern": pattern} if texts else {"type": "string"})
    numbers = sorted({value for value in values if isinstance(value, int | float) and not isinstance(value, bool)})
    below: Schema = {"type": "number"}
    for number in numbers:
        options.append({**below, "exclusiveMaximum": number})
        below = {"type": "number", "exclusiveMinimum": number}
    options.append(below)
    return options
