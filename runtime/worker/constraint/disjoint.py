"""Whether two schemas can have a value in common; `oneOf` is `anyOf` where none can."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .json_types import Json, Schema

MAX_DEPTH = 4
_ALL = frozenset({"null", "boolean", "number", "string", "array", "object"})


def are_disjoint(
    one: Json, other: Json, resolve: Callable[[str], Json], spend: Callable[[int], None], *, depth: int = 0
) -> bool:
    """Whether it is certain that no value is of both schemas."""
    if one is False or other is False:
        return True
    if depth > MAX_DEPTH:
        return False
    # Everything that holds at the same time: a contradiction between any two of them is enough.
    left, right = list(_parts(one, resolve, 0)), list(_parts(other, resolve, 0))
    spend(len(left) * len(right))
    if any(_contradict(a, b) for a in left for b in right):
        return True
    only_objects = any(_kinds(part) == {"object"} for part in (*left, *right))
    return only_objects and _differ_in_property(left, right, resolve, spend, depth)


def _parts(schema: Json, resolve: Callable[[str], Json], depth: int) -> Iterator[Schema]:
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return
    yield schema
    reference, all_of = schema.get("$ref"), schema.get("allOf")
    if isinstance(reference, str):
        yield from _parts(resolve(reference), resolve, depth + 1)
    for one in all_of if isinstance(all_of, list) else ():
        yield from _parts(one, resolve, depth + 1)


def _contradict(one: Schema, other: Schema) -> bool:
    if not _kinds(one) & _kinds(other):
        return True
    left, right = _values(one), _values(other)
    return left is not None and right is not None and not any(_same(a, b) for a in left for b in right)


def _differ_in_property(
    left: list[Schema], right: list[Schema], resolve: Callable[[str], Json], spend: Callable[[int], None], depth: int
) -> bool:
    """Whether a property that each such object has is never of both schemas."""
    needed = {name for part in (*left, *right) for name in _names(part)}
    return any(
        are_disjoint(mine, theirs, resolve, spend, depth=depth + 1)
        for name in needed
        for mine in _schemas_of(left, name)
        for theirs in _schemas_of(right, name)
    )


def _names(part: Schema) -> list[str]:
    required = part.get("required")
    return [name for name in required if isinstance(name, str)] if isinstance(required, list) else []


def _schemas_of(parts: list[Schema], name: str) -> Iterator[Json]:
    for part in parts:
        properties = part.get("properties")
        if isinstance(properties, dict) and name in properties:
            yield properties[name]


def _kinds(schema: Schema) -> set[str]:
    """The types a schema allows; whole numbers count as numbers."""
    kinds = set(_ALL)
    named = schema.get("type")
    if isinstance(named, str):
        named = [named]
    if isinstance(named, list):
        kinds = {"number" if kind == "integer" else str(kind) for kind in named}
    if (values := _values(schema)) is not None:
        kinds &= {_kind(value) for value in values}
    return kinds


def _values(schema: Schema) -> list[Json] | None:
    """The only values a schema allows, or None where it does not list them."""
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) else None


def _kind(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"


def _same(one: Json, other: Json) -> bool:
    return _kind(one) == _kind(other) and one == other
