"""What families share that write a call as a JSON object."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ...request import Tool
from .family import WrittenCall
from .thoughts import ThoughtMarks
from .tool_schema import held_arguments

MORE = "{0,15}"
"""How many calls may follow the first one: a weak model would not end by itself."""


def object_rules(tools: Sequence[Tool], arguments_key: str = "arguments") -> str:
    """Writes the rule of `call`: a JSON object with the name of one of the tools, and arguments that fit it."""
    options = " | ".join(f"call_{at}" for at in range(len(tools)))
    rules = [f"call: {options}"]
    for at, tool in enumerate(tools):
        head = json.dumps(f'{{"name": {json.dumps(tool.name)}, "{arguments_key}": ')
        rules.append(f'call_{at}: {head} %json {held_arguments(tool)} "}}"')
    return "\n".join(rules)


def write_object(call: WrittenCall, arguments_key: str = "arguments") -> str:
    """Writes a call as a JSON object."""
    return f'{{"name": {json.dumps(call.name)}, "{arguments_key}": {call.arguments}}}'


def write_thought(reasoning: str, marks: ThoughtMarks | None) -> str:
    """Writes a thought as it stands before an answer; nothing for a model that has no marks for it."""
    if not reasoning or marks is None:
        return ""
    opening = marks.open if marks.open.endswith("\n") else f"{marks.open}\n"
    return f"{opening}{reasoning}\n{marks.close}\n\n"
