"""Arguments that a model writes one by one between tags, as the JSON object they are meant to be."""

from __future__ import annotations

import ast
import json
from typing import Literal, TypeAlias

from ...request import Tool
from .outlet import Outlet
from .tool_schema import JsonObject, read_properties, read_schema, value_types

_TYPE_OF: dict[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", list: "array"}
Said: TypeAlias = Literal["text", "json"]
"""What a value is: a string to the letter, or JSON."""
_STRING = frozenset({"string"})
_WORDS = {"True": "true", "False": "false", "None": "null", "TRUE": "true", "FALSE": "false", "NULL": "null"}


class ArgumentValues:
    """Writes the arguments of one call.

    What a tool takes as a string is handed on to the letter, as it comes. All else waits until it is whole, and is typed by the
    tool's schema; where that says nothing, what is JSON is taken as such, and what is not as a string.

    Args:
        outlet: gets the arguments; the call was begun.
        tool: that is called; None for one that was not offered.
    """

    __slots__ = ("_count", "_held", "_is_json", "_outlet", "_properties", "_types")

    def __init__(self, outlet: Outlet, tool: Tool | None) -> None:
        self._outlet = outlet
        self._properties: dict[str, JsonObject] = read_properties(read_schema(tool)) if tool else {}
        self._count = 0
        self._types = frozenset[str]()
        self._is_json = False
        self._held: list[str] | None = None
        """Parts of a value that is not handed on yet; None where it is a string that is."""

    def begin(self, name: str, said: Said | None = None) -> None:
        """Begins an argument.

        Args:
            name: of it.
            said: what the model says that its value is; None where its syntax does not.
        """
        self._outlet.arguments(f"{', ' if self._count else '{'}{json.dumps(name, ensure_ascii=False)}: ")
        self._count += 1
        self._types = value_types(self._properties.get(name, {}))
        self._is_json = said == "json"
        streams = (not self._types or "string" in self._types) if said == "text" else self._types == _STRING and said is None
        self._held = None if streams else []
        if self._held is None:
            self._outlet.arguments('"')

    def add(self, text: str) -> None:
        """Adds to its value."""
        if self._held is None:
            self._outlet.arguments(json.dumps(text, ensure_ascii=False)[1:-1])
        else:
            self._held.append(text)

    def end(self) -> None:
        """Ends it."""
        if self._held is None:
            self._outlet.arguments('"')
        else:
            self._outlet.arguments(to_json("".join(self._held), self._types, is_json=self._is_json))

    def close(self) -> None:
        """Ends the arguments."""
        self._outlet.arguments("}" if self._count else "{}")


def to_json(text: str, types: frozenset[str], *, is_json: bool = False) -> str:
    """Gives a value's text as JSON of one of these types, or of any; what cannot be one becomes a string.

    Args:
        text: of the value.
        types: those that it may have; none leave that open.
        is_json: whether a string stands in quotes.
    """
    value = text.strip()
    value = _WORDS.get(value, value)
    kind = _json_type(value)
    if is_json and kind is not None and (not types or kind == "null" or _fits(kind, types)):
        return value
    if kind is None and types - {"string"}:
        value = _python_to_json(value)
        kind = _json_type(value)
    if kind == "string" and types - {"string"} and "string" not in types:
        # Quoted once too often.
        inner = str(json.loads(value))
        if _fits(_json_type(inner), types):
            return inner
    if kind is None or kind == "string" or (types and not _fits(kind, types)):
        quoted = kind == "string" and "string" not in types
        return value if quoted else json.dumps(text, ensure_ascii=False)
    return value


def _fits(kind: str | None, types: frozenset[str]) -> bool:
    return kind in types or (kind == "integer" and "number" in types)


def _json_type(text: str) -> str | None:
    """Gives the type of a JSON text; None if it is none."""
    try:
        value: object = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return _TYPE_OF.get(type(value), "null")


def _refuse(word: str) -> None:
    raise ValueError(word)


def _python_to_json(text: str) -> str:
    """Gives a list or object that was written as Python writes it in JSON; any other text as it is."""
    if not text.startswith(("[", "{")):
        return text
    try:
        return json.dumps(ast.literal_eval(text), ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text
