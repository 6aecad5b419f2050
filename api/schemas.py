"""JSON schemas of the wire's types, with what their source says of each field.

msgspec's own `schema_components` gives up at a `Raw` that has a default, which half of the bodies have; this walks the same
`msgspec.inspect` tree. Draft 2020-12, as OpenAPI 3.1 takes it.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Sequence
from itertools import pairwise

from msgspec import inspect as types

from .dialects.openapi import Schema

REF = "#/components/schemas/"
_BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "pattern": "pattern",
}
_WORDS = (
    (types.BoolType, "boolean"),
    (types.IntType, "integer"),
    (types.FloatType, "number"),
    (types.StrType, "string"),
    (types.BytesType, "string"),
    (types.NoneType, "null"),
)


class Schemas:
    """Gives the schema of each type; those with fields are named, once, in `components`."""

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}
        self._names: dict[object, str] = {}

    def of(self, type_: object) -> Schema:
        """Gives the schema of a type; a reference where it has fields. Raises TypeError for what msgspec does not know."""
        return self._of(types.type_info(type_))

    def _of(self, info: types.Type) -> Schema:
        match info:
            case types.Metadata():
                return self._of(info.type)
            case types.UnionType():
                return {"anyOf": [self._of(part) for part in info.types]}
            case types.LiteralType():
                return {"enum": list(info.values)}
            case types.CollectionType():
                return {"type": "array", "items": self._of(info.item_type), **_size(info, "Items")}
            case types.TupleType():
                return {"type": "array", "prefixItems": [self._of(part) for part in info.item_types], "items": False}
            case types.DictType():
                return {"type": "object", "additionalProperties": self._of(info.value_type), **_size(info, "Properties")}
            case types.StructType() | types.DataclassType():
                return {"$ref": REF + self._name(info)}
            case _:
                word = next((word for kind, word in _WORDS if isinstance(info, kind)), None)
                return {} if word is None else {"type": word, **_bounds(info), **_size(info, "Length")}

    def _name(self, info: types.StructType | types.DataclassType) -> str:
        """Names a type, and describes it at its first appearance."""
        if (known := self._names.get(info.cls)) is not None:
            return known
        name = _plain_name(info.cls)
        if name in self.components:
            name = f"{info.cls.__module__.rpartition('.')[2]}.{name}"
        # Named before it is described, as a type may hold itself.
        self._names[info.cls] = name
        self.components[name] = {}
        self.components[name].update(self._describe(info))
        return name

    def _describe(self, info: types.StructType | types.DataclassType) -> Schema:
        notes = read_field_notes(info.cls)
        properties: dict[str, Schema] = {}
        required: list[str] = []
        if isinstance(info, types.StructType) and info.tag_field is not None:
            properties[info.tag_field] = {"const": info.tag}
            required.append(info.tag_field)
        for field in info.fields:
            properties[field.encode_name] = schema = self._of(field.type)
            if (note := notes.get(field.name)) is not None:
                schema["description"] = note
            if field.required:
                required.append(field.encode_name)
            elif isinstance(field.default, str | int | float | None):
                schema["default"] = field.default
        schema: Schema = {"title": _plain_name(info.cls), "type": "object", "properties": properties, "required": required}
        if (doc := inspect.getdoc(info.cls)) is not None:
            schema["description"] = doc
        return schema


def read_field_notes(cls: type) -> dict[str, str]:
    """Gives the strings that stand under a type's fields, those of the types it derives from too."""
    notes: dict[str, str] = {}
    plain: type = getattr(cls, "__origin__", cls)
    for owner in reversed(plain.__mro__):
        try:
            [parsed] = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        except (OSError, TypeError, SyntaxError, ValueError):
            continue  # built in, or made at run time
        if isinstance(parsed, ast.ClassDef):
            notes |= _notes_in(parsed.body)
    return notes


def _notes_in(body: Sequence[ast.stmt]) -> dict[str, str]:
    notes: dict[str, str] = {}
    for field, below in pairwise(body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(note))):
                notes[name] = " ".join(note.split())
            case _:
                pass
    return notes


def _plain_name(cls: type) -> str:
    """A type's name, with its arguments' where it has some: `Reading_int`."""
    arguments: tuple[type, ...] = getattr(cls, "__args__", ())
    return "_".join([cls.__name__.strip("_"), *(argument.__name__ for argument in arguments)])


def _bounds(info: types.Type) -> Schema:
    return _present((word, getattr(info, name, None)) for name, word in _BOUNDS.items())


def _size(info: types.Type, what: str) -> Schema:
    return _present((f"{side}{what}", getattr(info, f"{side}_length", None)) for side in ("min", "max"))


def _present(pairs: Iterable[tuple[str, object]]) -> Schema:
    return {name: value for name, value in pairs if value is not None}
