"""Tools for models whose chat template knows none: described in the system message, called and answered in plain text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import cast

import msgspec

from ...request import Message, Part, TextPart, Tool, ToolCall
from ..output.family import Family, WrittenCall

_HEAD = """\
# Tools

You can call these functions when they help with what the user wants. Each line describes one of them in JSON:
<tools>
"""
_TAIL = """
</tools>

To call a function write exactly this, with its name and with arguments that fit its parameters, and nothing behind it:
"""
_EXAMPLE = WrittenCall("function-name", '{"parameter": "value"}')
RESULT_OPEN, RESULT_CLOSE = "<tool_response>\n", "\n</tool_response>"

Write = Callable[[ToolCall], str]
"""Gives the JSON text of a call's arguments as the model reads them."""


def describe_tools(messages: Sequence[Message], tools: Sequence[Tool], family: Family) -> tuple[Message, ...]:
    """Puts what tools there are at the end of the first system message, or into a new one."""
    lines = "\n".join(json.dumps({"type": "function", "function": as_mapping(tool)}, ensure_ascii=False) for tool in tools)
    text = f"{_HEAD}{lines}{_TAIL}{family.write([_EXAMPLE])}"
    first = messages[0] if messages else None
    if first is None or first.role != "system":
        return (Message("system", (TextPart(text),)), *messages)
    return (msgspec.structs.replace(first, parts=(*first.parts, TextPart(f"\n\n{text}"))), *messages[1:])


def write_calls(messages: Iterable[Message], family: Family, write: Write) -> tuple[Message, ...]:
    """Writes calls as text of the assistant, and their results as words of the user; results in a row stand together."""
    written: list[Message] = []
    results: list[Part] = []
    for message in messages:
        if message.role == "tool":
            results += [TextPart("\n" + RESULT_OPEN if results else RESULT_OPEN), *message.parts, TextPart(RESULT_CLOSE)]
            continue
        if results:
            written.append(Message("user", tuple(results)))
            results = []
        if message.tool_calls:
            calls = [WrittenCall(call.name, write(call), call.id) for call in message.tool_calls]
            spoken = TextPart(family.write(calls, text=message.text))
            message = msgspec.structs.replace(message, parts=(spoken,), tool_calls=())
        written.append(message)
    if results:
        written.append(Message("user", tuple(results)))
    return tuple(written)


def as_mapping(tool: Tool) -> dict[str, object]:
    """Gives a tool the form that templates know."""
    parameters = cast("object", json.loads(tool.parameters))
    return {"name": tool.name, "description": tool.description, "parameters": parameters}
