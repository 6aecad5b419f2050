"""GLM 4.5, 4.6, 4.7 and 5: `<tool_call>NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value></tool_call>`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ....request import Tool
from ..argument_values import ArgumentValues
from ..call_object import CallObject
from ..family import Family, WrittenCall
from ..json_family import MORE, write_thought
from ..marks import Marks
from ..reader import Steps
from ..tagged import NAME, TaggedParser, can_hold, hold_value
from ..thoughts import ThoughtMarks
from ..tool_schema import read_properties, read_required, read_schema

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_KEY, _KEY_END = "<arg_key>", "</arg_key>"
_VALUE, _VALUE_END = "<arg_value>", "</arg_value>"
_ENDS = Marks((_CLOSE, _OPEN))


class GlmParser(TaggedParser):
    """Reads a call's name, and then its arguments one by one, with or without line breaks between the tags."""

    opens = (_OPEN,)

    def read_call(self) -> Steps[bool]:
        """Reads a call up to its closing tag."""
        yield from self.reader.blanks()
        if (yield from self.reader.peek()) == "{":
            return (yield from self._read_object())
        parts: list[str] = []
        yield from self.reader.until(Marks((_KEY, _CLOSE, "\n", " ")), parts.append, takes=False)
        name = "".join(parts)
        yield from self.reader.blanks()
        mark = yield from self.reader.option(_KEY, _CLOSE)
        if not mark or not NAME.fullmatch(name):
            return False
        self.outlet.call(name)
        values = ArgumentValues(self.outlet, self.tools.get(name))
        while mark == _KEY:
            key = yield from self.read_name(_KEY_END)
            yield from self.reader.blanks()
            if not key or not (yield from self.reader.option(_VALUE)):
                return True
            values.begin(key)
            mark = yield from self.read_value(values, _VALUE_END, (_KEY, _CLOSE), "none")
        if mark:
            values.close()
        return True

    def _read_object(self) -> Steps[bool]:
        """Reads a call that is a JSON object, as the model writes when it mixes up what it learned."""
        is_call = yield from CallObject(self.reader, self.outlet, self.tools, _ENDS).read()
        if is_call:
            yield from self.read_end(_CLOSE)
        return is_call


class Glm(Family):
    """A call's name, and its arguments between tags."""

    name = "glm"
    marks = (_OPEN, _CLOSE, _KEY, _KEY_END, _VALUE, _VALUE_END)
    signs = (_KEY, _VALUE)
    parser = GlmParser
    own_thoughts = ThoughtMarks("<think>", "</think>")

    def call_rules(self, tools: Sequence[Tool], *, parallel: bool) -> str:
        """Writes the rules of `calls`."""
        more = rf' ("\n" one){MORE}' if parallel else ""
        return f'calls: one{more}\none: %mark "{_OPEN}" call %mark "{_CLOSE}"\n{_rules(tools)}'

    def triggers(self) -> tuple[str, ...]:
        """The opening tag."""
        return (_OPEN,)

    def call_grammar(self, tools: Sequence[Tool]) -> str:
        """Writes the grammar of what stands behind the opening tag."""
        return f'start: call %mark "{_CLOSE}"\n{_rules(tools)}'

    def write(self, calls: Sequence[WrittenCall], *, text: str = "", reasoning: str = "") -> str:
        """Writes an answer."""
        written = list(map(_write_call, calls))
        return write_thought(reasoning, self.thoughts) + "\n".join([text, *written] if text else written)


def _write_call(call: WrittenCall) -> str:
    parts = [f"{_OPEN}{call.name}"]
    for key, value in json.loads(call.arguments).items():
        said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        parts.append(f"{_KEY}{key}{_KEY_END}\n{_VALUE}{said}{_VALUE_END}")
    return "\n".join((*parts, _CLOSE))


def _rules(tools: Sequence[Tool]) -> str:
    rules = ["call: " + " | ".join(f"call_{at}" for at in range(len(tools))), r"gap: /\n?/"]
    rules += (f"call_{at}: {json.dumps(tool.name)} gap {_arguments(tool)}" for at, tool in enumerate(tools))
    return "\n".join(rules)


def _arguments(tool: Tool) -> str:
    schema = read_schema(tool)
    properties = read_properties(schema)
    required = read_required(schema)
    between = f'%mark "{_KEY_END}" gap %mark "{_VALUE}"'
    if not can_hold(properties, required):
        return f'(%mark "{_KEY}" /[A-Za-z0-9_.-]{{1,64}}/ {between} {hold_value({}, {}, _VALUE_END)} gap){MORE}'
    parts: list[str] = []
    for key, of_one in properties.items():
        part = f'(%mark "{_KEY}" {json.dumps(key)} {between} {hold_value(of_one, schema, _VALUE_END)} gap)'
        parts.append(part if key in required else f"{part}?")
    return " ".join(parts)
