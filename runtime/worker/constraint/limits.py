"""How much a schema may ask of those who read it."""

from __future__ import annotations

from dataclasses import dataclass, field

from .errors import NotHeld
from .json_types import Json, Schema

MAX_WORK = 50_000
MAX_PATTERNS = 6
"""Patterns that one text must fit at the same time: the matcher lays their states out together; a dozen takes gigabytes."""
MAX_FOLLOWED = 3
"""How many references are followed one behind the other to find patterns that meet."""
_OTHERS = "*"
"""Stands for the properties that are not listed, and for items."""
_OF_ITS_OWN = frozenset(
    {"pattern", "format", "properties", "patternProperties", "additionalProperties", "items", "prefixItems", "additionalItems"}
)
"""Keywords by which a schema brings patterns of its own."""


class Budget:
    """Counts work that can grow faster than the schema it is for."""

    def __init__(self) -> None:
        self._left = MAX_WORK

    def spend(self, amount: int = 1) -> None:
        """Takes note of some work; raises NotHeld where it is too much."""
        self._left -= amount
        if self._left < 0:
            raise NotHeld("the schema is too complex")


@dataclass(slots=True)
class _Load:
    """How many patterns a value must fit, and each of its parts."""

    patterns: int = 0
    parts: dict[str, _Load] = field(default_factory=dict[str, "_Load"])

    def add(self, other: _Load) -> None:
        """Both hold at the same time."""
        self.patterns += other.patterns
        for name, part in other.parts.items():
            self.parts.setdefault(name, _Load()).add(part)

    def widen(self, other: _Load) -> None:
        """One or the other holds."""
        self.patterns = max(self.patterns, other.patterns)
        for name, part in other.parts.items():
            self.parts.setdefault(name, _Load()).widen(part)

    def heaviest(self) -> int:
        """The most patterns that any one text must fit."""
        others = self.parts.get(_OTHERS)
        most = self.patterns
        for name, part in self.parts.items():
            # A listed property may also be one of those that another schema does not list.
            extra = others.patterns if others is not None and name != _OTHERS else 0
            most = max(most, part.heaviest() + extra)
        return most


def check_patterns(root: Schema, budget: Budget) -> None:
    """Raises NotHeld where a text must fit too many patterns at the same time.

    Args:
        root: a schema as the matcher gets it, with its parts under `$defs`.
        budget: what the reading is counted on.
    """
    definitions = root.get("$defs")
    reader = _Reader(definitions if isinstance(definitions, dict) else {}, budget)
    waiting: list[Json] = [root]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if _holds_several(one) and reader.read(one, 0).heaviest() > MAX_PATTERNS:
                raise NotHeld(f"more than {MAX_PATTERNS} patterns and formats for the same text are not supported")
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def _holds_several(schema: Schema) -> bool:
    """Whether several schemas look at the same value here; without that, patterns do not meet."""
    all_of = schema.get("allOf")
    others = sum(keyword in schema for keyword in ("$ref", "anyOf", "oneOf"))
    return (len(all_of) if isinstance(all_of, list) else 0) + others + bool(_OF_ITS_OWN & schema.keys()) > 1


class _Reader:
    """Reads how many patterns hold where."""

    def __init__(self, definitions: Schema, budget: Budget) -> None:
        self._definitions = definitions
        self._budget = budget

    def read(self, schema: Json, followed: int) -> _Load:
        """Reads one schema; `followed` counts the references on the way to it."""
        load = _Load()
        if not isinstance(schema, dict):
            return load
        self._budget.spend()
        load.patterns = ("pattern" in schema) + ("format" in schema)
        for keyword, value in schema.items():
            match keyword, value:
                case "allOf", list():
                    for one in value:
                        load.add(self.read(one, followed))
                case "anyOf" | "oneOf", list():
                    load.add(self._either(value, followed))
                case "$ref", str() if followed < MAX_FOLLOWED:
                    load.add(self.read(self._definitions.get(value.removeprefix("#/$defs/")), followed + 1))
                case "properties", dict():
                    load.add(_Load(0, {name: self.read(one, followed) for name, one in value.items()}))
                case "patternProperties", dict():
                    load.add(_Load(0, {_OTHERS: self._either(list(value.values()), followed)}))
                case "prefixItems" | "items", list():
                    load.add(_Load(0, {_OTHERS: self._either(value, followed)}))
                case "items" | "additionalItems" | "additionalProperties", dict():
                    load.add(_Load(0, {_OTHERS: self.read(value, followed)}))
                case _:
                    pass
        return load

    def _either(self, options: list[Json], followed: int) -> _Load:
        load = _Load()
        for one in options:
            load.widen(self.read(one, followed))
        return load
