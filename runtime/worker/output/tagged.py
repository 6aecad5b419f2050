"""Calls between tags, each argument between its own: `<function=NAME><parameter=KEY>VALUE</parameter></function>`."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias, cast

from ...request import Tool
from .argument_values import ArgumentValues
from .family import Family, WrittenCall
from .json_family import MORE, write_thought
from .marked import MarkedParser
from .marks import Marks
from .reader import Steps
from .tool_schema import JsonObject, held_or, read_properties, read_required, read_schema, value_types

MAX_HELD = 100
"""A tool with more arguments is held no further than that there are some."""
NAME = re.compile(r"[\w.:/$-]{1,128}")
_KEY = re.compile(r"[^\n<>]{1,128}")


Breaks: TypeAlias = Literal["each", "paired", "none"]
"""Line breaks that belong to the tags around a value and not to it: one before and one behind, each if it is there; one behind
only if there was one before; or none."""


@dataclass(frozen=True, slots=True)
class Tags:
    """The tags of one syntax, without the line breaks around them."""

    open: str
    close: str
    call_open: str
    """Before the call's name."""
    name_end: str
    call_close: str
    key_open: str
    key_end: str
    """Behind an argument's name; its value comes next."""
    value_close: str
    breaks: Breaks
    gap: str
    """What a model writes between tags."""
    around: str
    """What it writes around a value."""


class TaggedParser(MarkedParser):
    """Reads calls between tags.

    A closing tag within a value is part of it unless another tag of the syntax, or the end, follows.
    """

    tags: Tags

    def read_call(self) -> Steps[bool]:
        """Reads all calls of one pair of outer tags, or one that came without them."""
        tags = self.tags
        bare = self.mark != tags.open
        if bare:
            mark = yield from self._read_one(self.tools)
            if mark == tags.call_close:
                yield from self.read_end(tags.close)
            return mark is not None
        any_call = False
        while True:
            yield from self.reader.blanks()
            if not (yield from self.reader.option(tags.call_open)):
                return any_call
            mark = yield from self._read_one()
            if mark is None:
                return any_call
            any_call = True
            if mark != tags.call_close or (yield from self.read_end(tags.close)):
                return True

    def _read_one(self, names: Collection[str] | None = None) -> Steps[str | None]:
        """Reads a call behind its opening, and gives the last tag of it, "" without one; None if it is no call.

        Args:
            names: those that may be called; None is any.
        """
        tags = self.tags
        name = yield from self.read_name(tags.name_end, pattern=NAME)
        yield from self.reader.blanks()
        if not name or (names is not None and name not in names):
            return None
        mark = yield from self.reader.option(tags.key_open, tags.call_close, tags.close)
        if not mark:
            return None
        self.outlet.call(name)
        values = ArgumentValues(self.outlet, self.tools.get(name))
        while mark == tags.key_open:
            if not (yield from self.begin_value(values)):
                return ""
            mark = yield from self.read_value(
                values, tags.value_close, (tags.key_open, tags.call_close, tags.close), tags.breaks
            )
        if mark:
            values.close()
        return mark

    def begin_value(self, values: ArgumentValues) -> Steps[bool]:
        """Reads an argument's name and what ends it; False where none is."""
        key = yield from self.read_name(self.tags.key_end)
        if key:
            values.begin(key)
        return bool(key)

    def read_name(self, *ends: str, pattern: re.Pattern[str] = _KEY) -> Steps[str]:
        """Reads a name and what ends it; "" where none is, and then nothing is lost but what was taken."""
        parts: list[str] = []
        mark = yield from self.reader.until(Marks((*ends, "\n")), parts.append, takes=False)
        name = "".join(parts).strip()
        if mark not in ends or not pattern.fullmatch(name):
            return ""
        self.reader.take(self.reader.at + len(mark))
        return name

    def read_value(self, values: ArgumentValues, close: str, followers: tuple[str, ...], breaks: Breaks) -> Steps[str]:
        """Reads a value, its closing tag and the one that follows, and gives that; "" when the answer ends before."""
        wrapped = breaks != "none" and bool((yield from self.reader.option("\n")))
        drops_last = breaks == "each" or wrapped
        stops = Marks((close, f"\n{close}") if drops_last else (close,))
        while mark := (yield from self.reader.until(stops, values.add, drops_cut=True)):
            blanks = yield from self.reader.blanks()
            follower = yield from self.reader.option(*followers)
            if follower or self.reader.take_cut(*followers) or not (yield from self.reader.peek()):
                values.end()
                return follower
            values.add(mark + blanks)
        return ""


class TaggedFamily(Family):
    """What families share that write calls between tags."""

    tags: ClassVar[Tags]

    def call_rules(self, tools: Sequence[Tool], *, parallel: bool) -> str:
        """Writes the rules of `calls`."""
        tags = self.tags
        more = f" (gap call){MORE}" if parallel else ""
        return f"calls: %mark {json.dumps(tags.open)} gap call{more} gap %mark {json.dumps(tags.close)}\n{self._rules(tools)}"

    def triggers(self) -> tuple[str, ...]:
        """The opening tag."""
        return (self.tags.open,)

    def call_grammar(self, tools: Sequence[Tool]) -> str:
        """Writes the grammar of what stands behind the opening tag."""
        return f"start: gap call gap %mark {json.dumps(self.tags.close)}\n{self._rules(tools)}"

    def write(self, calls: Sequence[WrittenCall], *, text: str = "", reasoning: str = "") -> str:
        """Writes an answer."""
        tags = self.tags
        written = [self.write_call(call) for call in calls]
        outer = [tags.gap.join((tags.open, *written, tags.close))] if written else []
        return write_thought(reasoning, self.thoughts) + "\n".join([text, *outer] if text else outer)

    def write_call(self, call: WrittenCall) -> str:
        """Writes a call without its outer tags."""
        tags = self.tags
        parts = [f"{tags.call_open}{call.name}{tags.name_end}"]
        for key, value in json.loads(call.arguments).items():
            said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            parts.append(f"{tags.key_open}{key}{tags.key_end}{tags.around}{said}{tags.around}{tags.value_close}")
        return tags.gap.join((*parts, tags.call_close))

    def _rules(self, tools: Sequence[Tool]) -> str:
        tags = self.tags
        rules = [f"gap: {json.dumps(tags.gap)}", "call: " + " | ".join(f"call_{at}" for at in range(len(tools)))]
        for at, tool in enumerate(tools):
            head = json.dumps(f"{tags.call_open}{tool.name}{tags.name_end}{tags.gap}")
            rules.append(f"call_{at}: {head} {self._arguments(tool)} {json.dumps(tags.call_close)}")
        return "\n".join(rules)

    def _arguments(self, tool: Tool) -> str:
        """Writes what may stand in a call of a tool."""
        tags = self.tags
        schema = read_schema(tool)
        properties = read_properties(schema)
        required = read_required(schema)
        if not can_hold(properties, required):
            key = f"{json.dumps(tags.key_open)} /[A-Za-z0-9_.-]{{1,64}}/ {json.dumps(tags.key_end + tags.around)}"
            return f"({key} {hold_value({}, {}, tags.around + tags.value_close)} gap){MORE}"
        parts: list[str] = []
        for key, of_one in properties.items():
            opening = json.dumps(f"{tags.key_open}{key}{tags.key_end}{tags.around}")
            part = f"({opening} {hold_value(of_one, schema, tags.around + tags.value_close)} gap)"
            parts.append(part if key in required else f"{part}?")
        return " ".join(parts)


def can_hold(properties: Collection[str], required: Collection[str]) -> bool:
    """Whether arguments can be held one by one, each between its own tags."""
    return 0 < len(properties) <= MAX_HELD and all(key in properties for key in required) and all(map(_is_key, properties))


def hold_value(schema: JsonObject, root: JsonObject, close: str) -> str:
    """Writes what a value may be that is not in quotes where it is a string, with the tag that ends it.

    Args:
        schema: of the value.
        root: of all arguments, for the definitions in it.
        close: what ends a value.
    """
    options = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(options, list) and 0 < len(cast("list[object]", options)) <= MAX_HELD:
        said = (option if isinstance(option, str) else json.dumps(option) for option in cast("list[object]", options))
        return f"({' | '.join(json.dumps(text) for text in said)}) {mark_text(close)}"
    types = value_types(schema)
    if not types or "string" in types:
        return f"%until {json.dumps(close)}"
    definitions = {key: root[key] for key in ("$defs", "definitions") if key in root}
    return f"%json {held_or({**schema, **definitions}, json.dumps({'type': sorted(types)}))} {mark_text(close)}"


def mark_text(text: str) -> str:
    """Writes a text that may be a control token, or a line break before one."""
    mark = text.lstrip("\n")
    return (json.dumps(text[: len(text) - len(mark)]) + " " if mark != text else "") + f"%mark {json.dumps(mark)}"


def _is_key(name: str) -> bool:
    return _KEY.fullmatch(name) is not None and name == name.strip()
