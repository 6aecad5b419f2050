"""A client's JSON Schema, as one that the matcher holds to the letter.

What the matcher does not know is said with other keywords where that is exact, and refused by name where it is not;
no keyword that constrains a value is passed over.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import NoReturn, cast

import msgspec

from .disjoint import are_disjoint
from .errors import NotHeld
from .json_types import Json, Schema
from .keywords import CONSTRAINING, FORMATS, IDLE_FORMATS, IN_PLACE, KEPT, REFUSED
from .limits import Budget, check_patterns
from .negation import NotExact, negate
from .patterns import MAX_LENGTH, MAX_PRODUCT, repetition_product
from .references import References

MAX_DEPTH = 48
MAX_PROPERTIES = 1000
"""Of one object; the time to lay one out grows with the square."""
MAX_ALL_PROPERTIES = 4000
MAX_MULTIPLE = 100_000
"""The least common multiple of all `multipleOf`, without the decimal point; a matcher keeps the remainder as its state."""
MAX_OVERLAPPING = 8
"""Options of a `oneOf` that are told apart by leaving each other out."""
_SPELLED = frozenset("\b\f\n\r\t")
"""The control characters that JSON has a letter for; others cannot be written by the matcher."""


def translate_schema(text: str) -> str:
    """Gives the schema, as JSON text, that the matcher is built from.

    Raises:
        NotHeld: it is no schema, or one that cannot be held exactly; the message names the keyword and its place.
    """
    try:
        # Decoded without a type it is what JSON can hold, and nothing else.
        root = cast("Json", msgspec.json.decode(text))
        translated = _Translation(root).run()
    except msgspec.DecodeError as error:
        raise NotHeld(f"the schema is not valid JSON: {error}") from error
    except RecursionError as error:
        raise NotHeld("the schema is nested too deeply") from error
    return json.dumps(translated)


class _Translation:
    """One schema on its way."""

    def __init__(self, root: Json) -> None:
        self._root = root
        self._references = References(root)
        self._budget = Budget()
        self._names: dict[str, str] = {}
        """What each referenced place is called in the result."""
        self._waiting: list[str] = []
        """Places that are still to be translated."""
        self._properties = 0
        self._multiple = (1, 0)
        """The least common multiple of all so far: digits, and how many stand behind the point."""

    def run(self) -> Schema:
        """Translates the root, and whatever it refers to."""
        body = self._schema(self._root, "", 0)
        definitions: dict[str, Json] = {}
        while self._waiting:
            place = self._waiting.pop()
            definitions[self._names[place]] = self._schema(
                self._references.find(f"#{place}"), place.strip("/").replace("/", "."), 0
            )
        # The matcher wants an object around `true` and `false`, too.
        whole: Schema = {**(body if isinstance(body, dict) else {"allOf": [body]}), "$defs": definitions}
        check_patterns(whole, self._budget)
        return whole

    def _schema(self, schema: Json, path: str, depth: int) -> Json:
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            _refuse(f"a schema must be an object or a boolean{_at(path)}")
        if depth > MAX_DEPTH:
            _refuse("the schema is nested too deeply")
        self._budget.spend()
        result: Schema = {}
        others: list[Json] = []
        """What must hold besides, from keywords that were rewritten."""
        for keyword, value in schema.items():
            if keyword in KEPT:
                _check_texts(value, path)
                # Drafts since 6 take 2.0 for 2; the matcher wants the latter.
                result[keyword] = int(value) if isinstance(value, float) and value.is_integer() else value
            elif keyword in CONSTRAINING:
                self._keyword(keyword, value, schema, result, others, path, depth + 1)
        if others:
            result["allOf"] = [*cast("list[Json]", result.get("allOf", [])), *others]
        return result

    def _keyword(
        self, keyword: str, value: Json, schema: Schema, result: Schema, others: list[Json], path: str, depth: int
    ) -> None:
        """Translates one keyword into the result, or into what must hold besides."""
        here = f"{path}.{keyword}" if path else keyword
        match keyword:
            case "properties" | "patternProperties":
                result[keyword] = self._map(keyword, value, here, depth)
            case "allOf" | "anyOf" | "prefixItems":
                result[keyword] = self._list(value, here, depth)
            case "items" if isinstance(value, list):
                result[keyword] = self._list(value, here, depth)
            case "items" | "additionalItems" | "additionalProperties":
                result[keyword] = self._schema(value, here, depth)
            case "oneOf":
                others.append({"anyOf": self._just_one(value, here, depth)})
            case "$ref":
                result[keyword] = self._reference(value, here)
            case "format":
                if isinstance(value, str) and value in FORMATS:
                    result[keyword] = value
                    others.extend(FORMATS[value])
                elif not (isinstance(value, str) and value in IDLE_FORMATS) and _allows_text(schema):
                    known = ", ".join(sorted(FORMATS))
                    _refuse(f"the format {json.dumps(value)}{_at(path)} is not supported; 'format' may be {known}")
            case "pattern" | "multipleOf":
                if keyword == "multipleOf":
                    self._check_multiple(value, path)
                elif isinstance(value, str):
                    _check_pattern(value, path)
                result[keyword] = value
            case "not":
                others.append(self._schema(self._opposite(value, keyword, here), here, depth))
            case "if":
                others.append(self._either(schema, here, depth))
            case "dependentRequired" | "dependentSchemas" | "dependencies":
                others.extend(self._dependent(keyword, value, here, depth))
            case "propertyNames":
                self._property_names(value, schema, others, here)
            case "unevaluatedProperties" | "unevaluatedItems":
                self._unevaluated(keyword, value, schema, result, path, depth)
            case "uniqueItems":
                most = schema.get("maxItems")
                if value is not False and not (isinstance(most, int) and most <= 1):
                    _unsupported(keyword, path)
            case _ if keyword in REFUSED:
                _unsupported(keyword, path)
            case _:
                pass  # `then` and `else` came with `if`; the rest means nothing by itself

    def _map(self, keyword: str, value: Json, path: str, depth: int) -> Json:
        if not isinstance(value, dict):
            _refuse(f"an object is expected{_at(path)}")
        self._properties += len(value)
        if len(value) > MAX_PROPERTIES or self._properties > MAX_ALL_PROPERTIES:
            _refuse(f"more than {MAX_PROPERTIES} properties in one object or {MAX_ALL_PROPERTIES} in all are not supported")
        for name in value:
            if keyword == "patternProperties":
                _check_pattern(name, path)
            else:
                _check_texts(name, path)
        return {name: self._schema(one, f"{path}.{name}", depth) for name, one in value.items()}

    def _list(self, value: Json, path: str, depth: int) -> list[Json]:
        if not isinstance(value, list):
            _refuse(f"a list is expected{_at(path)}")
        return [self._schema(one, f"{path}[{at}]", depth) for at, one in enumerate(value)]

    def _reference(self, value: Json, path: str) -> Json:
        if not isinstance(value, str):
            _refuse(f"a text is expected{_at(path)}")
        self._references.find(value)
        place = self._references.place(value)
        if place not in self._names:
            self._names[place] = f"part{len(self._names)}"
            self._waiting.append(place)
        return f"#/$defs/{self._names[place]}"

    def _check_multiple(self, value: Json, path: str) -> None:
        """Bounds what the matcher must count to: it would take the process down with it."""
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            _refuse(f"a number above 0 is expected for 'multipleOf'{_at(path)}")
        exact = Decimal(repr(value)).normalize()
        shift = max(0, -int(exact.as_tuple().exponent))
        digits, point = self._multiple
        most = max(shift, point)
        common = math.lcm(digits * 10 ** (most - point), int(exact.scaleb(most)))
        if common > MAX_MULTIPLE or shift > len(str(MAX_MULTIPLE)):
            _refuse(f"the number{_at(path)} is too large or too precise for 'multipleOf'")
        self._multiple = (common, most)

    def _just_one(self, value: Json, path: str, depth: int) -> list[Json]:
        """The options of `oneOf` so that none shares a value with another: as they are, or each without the others."""
        if not isinstance(value, list):
            _refuse(f"a list is expected{_at(path)}")
        find = self._references.find
        if not all(
            are_disjoint(one, other, find, self._budget.spend) for at, one in enumerate(value) for other in value[at + 1 :]
        ):
            if len(value) > MAX_OVERLAPPING:
                _refuse(
                    f"the keyword 'oneOf'{_at(path)} with more than {MAX_OVERLAPPING} options that may overlap is not supported"
                )
            opposites = [self._opposite(one, "oneOf", path) for one in value]
            value = [{"allOf": [one, *opposites[:at], *opposites[at + 1 :]]} for at, one in enumerate(value)]
        return self._list(value, path, depth)

    def _opposite(self, value: Json, keyword: str, path: str) -> Json:
        try:
            return negate(value, self._references.find, self._budget.spend)
        except NotExact as error:
            _refuse(f"the keyword '{keyword}'{_at(path)} is not supported around '{error}'")

    def _either(self, schema: Schema, path: str, depth: int) -> Json:
        """`if`, `then` and `else` as two cases of which exactly one holds."""
        condition = schema["if"]
        then, otherwise = schema.get("then", True), schema.get("else", True)
        if then is True and otherwise is True:
            return True
        opposite = self._opposite(condition, "if", path)
        return self._schema({"anyOf": [{"allOf": [condition, then]}, {"allOf": [opposite, otherwise]}]}, path, depth)

    def _dependent(self, keyword: str, value: Json, path: str, depth: int) -> list[Json]:
        """Either the property is not there, or what depends on it holds."""
        if not isinstance(value, dict):
            _refuse(f"an object is expected{_at(path)}")
        cases: list[Json] = []
        for name, needed in value.items():
            then: Json = {"required": [name, *needed]} if isinstance(needed, list) else {"required": [name], "allOf": [needed]}
            if isinstance(needed, list) and keyword == "dependentSchemas":
                _refuse(f"a schema is expected{_at(path)}")
            cases.append({"anyOf": [{"properties": {name: False}}, then]})
        return [self._schema(case, path, depth) for case in cases]

    def _property_names(self, value: Json, schema: Schema, others: list[Json], path: str) -> None:
        """Names are held by giving the names that may be to `properties`, or their pattern to `patternProperties`."""
        if isinstance(value, dict):
            value = {
                keyword: one
                for keyword, one in value.items()
                if keyword in CONSTRAINING and (keyword, one) != ("type", "string")
            }
        if value in (True, {}):
            return
        if value is False:
            others.append({"maxProperties": 0})
            return
        names = None if not isinstance(value, dict) else value.get("enum", [value["const"]] if "const" in value else None)
        if isinstance(names, list) and len(cast("Schema", value)) == 1:
            others.append(
                {"properties": {name: True for name in names if isinstance(name, str)}, "additionalProperties": False}
            )
        elif isinstance(value, dict) and value.keys() <= {"pattern", "minLength", "maxLength"} and not schema.get("properties"):
            pattern = value.get("pattern") if value.keys() == {"pattern"} else _length_pattern(value)
            if not isinstance(pattern, str) or schema.get("patternProperties"):
                _unsupported("propertyNames", path)
            _check_pattern(pattern, path)
            others.append({"patternProperties": {pattern: True}, "additionalProperties": False})
        else:
            _unsupported("propertyNames", path)

    def _unevaluated(self, keyword: str, value: Json, schema: Schema, result: Schema, path: str, depth: int) -> None:
        """Where nothing beside it looks at the same value, it is the plain keyword for what is left."""
        plain = "additionalProperties" if keyword == "unevaluatedProperties" else "items"
        if value is True:
            return
        if IN_PLACE & schema.keys():
            _unsupported(keyword, path)
        if plain not in schema:
            result[plain] = self._schema(value, f"{path}.{keyword}", depth)


def _allows_text(schema: Schema) -> bool:
    kinds = schema.get("type")
    return kinds is None or kinds == "string" or (isinstance(kinds, list) and "string" in kinds)


def _length_pattern(value: Mapping[str, Json]) -> str | None:
    if "pattern" in value:
        return None
    least, most = value.get("minLength", 0), value.get("maxLength", "")
    return f"^(?s:.{{{least},{most}}})$"


def _check_pattern(pattern: str, path: str) -> None:
    if len(pattern) > MAX_LENGTH:
        _refuse(f"a pattern{_at(path)} is longer than {MAX_LENGTH} characters")
    if repetition_product(pattern) > MAX_PRODUCT:
        _refuse(f"a pattern{_at(path)} repeats its parts too often")


def _check_texts(value: Json, path: str) -> None:
    """Refuses texts that the matcher would write without some of their characters."""
    if isinstance(value, str):
        if any((character < " " and character not in _SPELLED) or character == "\x7f" for character in value):
            _refuse(f"a control character in a text{_at(path)} is not supported")
    elif isinstance(value, list | dict):
        for one in value if isinstance(value, list) else [*value, *value.values()]:
            _check_texts(one, path)


def _unsupported(keyword: str, path: str) -> NoReturn:
    _refuse(f"the keyword '{keyword}'{_at(path)} is not supported")


def _refuse(what: str) -> NoReturn:
    raise NotHeld(what)


def _at(path: str) -> str:
    return f" (at {path})" if path else ""
