"""The grammar of an object whose names stand without quotes, from the schema that it must fit."""

from __future__ import annotations

import json
import re
from typing import cast

from .tool_schema import JsonObject, read_properties, read_required, value_types

MAX_NAMES = 100
"""An object with more names, or a value with more options, is held no further than that it is one."""
MAX_DEPTH = 6
"""Values that lie deeper may be any."""
_NAME = re.compile(r"[^\s:{}\[\],<\"'][^:{}\[\],<\"'\n]{0,127}")
_NUMBER = r"/-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,3})?/"
_WORDS = {
    "integer": "/-?(0|[1-9][0-9]{0,18})/",
    "number": _NUMBER,
    "boolean": '("true" | "false")',
    "null": '("null" | "None")',
}
_ANY = """\
any: text | any_word | any_list | any_object
any_word: {number} | "true" | "false" | "null" | "None"
any_list: "[" (any ("," any)*)? "]"
any_object: "{{" (any_member ("," any_member)*)? "}}"
any_member: any_name ":" any
any_name: /[A-Za-z0-9_.$-]{{1,64}}/ | text
text: %mark {quote} %until {quote}"""


class BareObjectRules:
    """Writes the rules of several objects, which share some.

    Args:
        quote: the mark before and behind a text.
    """

    def __init__(self, quote: str) -> None:
        self._quote = json.dumps(quote)
        self._rules: list[str] = []

    def write(self) -> str:
        """Gives all rules that the objects need."""
        return "\n".join((*self._rules, _ANY.format(number=_NUMBER, quote=self._quote)))

    def object(self, schema: JsonObject, depth: int = 0) -> str:
        """Gives an object that fits a schema; its members come in the order of their names, or in that of the schema.

        The chat template sorts what it shows of a tool and of its calls, so a model is used to that order.
        """
        properties, required = read_properties(schema), read_required(schema)
        if not properties and "properties" in schema and schema.get("additionalProperties") is False:
            return '"{}"'
        is_held = 0 < len(properties) <= MAX_NAMES and all(name in properties for name in required)
        if not is_held or depth > MAX_DEPTH or not all(map(_NAME.fullmatch, properties)):
            return "any_object"
        members = {
            name: self._rule(f"{json.dumps(f'{name}:')} {self._value(of_one, depth + 1)}")
            for name, of_one in properties.items()
        }
        orders = dict.fromkeys((tuple(sorted(members, key=str.lower)), tuple(members)))
        return f'"{{" ({" | ".join(self._in_order(order, members, required) for order in orders)}) "}}"'

    def _in_order(self, order: tuple[str, ...], members: dict[str, str], required: frozenset[str]) -> str:
        """Gives members in this order, with commas between those that are there."""
        rest = ""
        """What may follow a member."""
        begins: list[str] = []
        """The ways in which the first of the members so far, from the last one back, may begin."""
        for name in reversed(order):
            begin = self._rule(f"{members[name]} {rest}") if rest else members[name]
            begins = [begin] if name in required else [begin, *begins]
            more = f'"," {members[name]} {rest}'
            rest = self._rule(more if name in required else f"{more} | {rest}" if rest else f"({more})?")
        return " | ".join(begins) if any(name in required for name in order) else f"({' | '.join(begins)})?"

    def _value(self, schema: JsonObject, depth: int) -> str:
        options = schema.get("enum", [schema["const"]] if "const" in schema else None)
        if isinstance(options, list) and 0 < len(cast("list[object]", options)) <= MAX_NAMES:
            return f"({' | '.join(map(self._literal, cast('list[object]', options)))})"
        types = value_types(schema)
        if not types or depth > MAX_DEPTH:
            return "any"
        return f"({' | '.join(self._of_type(kind, schema, depth) for kind in sorted(types))})"

    def _of_type(self, kind: str, schema: JsonObject, depth: int) -> str:
        match kind:
            case "string":
                return "text"
            case "array":
                items = schema.get("items")
                if not isinstance(items, dict):
                    return "any_list"
                item = self._rule(self._value(cast("JsonObject", items), depth + 1))
                return f'"[" ({item} ("," {item})*)? "]"'
            case "object":
                return self.object(schema, depth)
            case _:
                return _WORDS.get(kind, "any")

    def _literal(self, value: object) -> str:
        """Gives a value that is known."""
        if isinstance(value, str):
            return f"%mark {self._quote} {json.dumps(value) if value else ''} %mark {self._quote}"
        return "any" if isinstance(value, (dict, list)) else json.dumps(json.dumps(value))

    def _rule(self, body: str) -> str:
        """Gives the name of a rule with this body."""
        name = f"bare_{len(self._rules)}"
        self._rules.append(f"{name}: {body}")
        return name
