"""Kimi K2: `<|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>{…}<|tool_call_end|>`, within a section."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from ....request import Tool
from ..family import Family, WrittenCall
from ..json_family import MORE, write_thought
from ..marked import MarkedParser
from ..marks import Marks
from ..named_call import read_arguments, read_word
from ..reader import Steps
from ..thoughts import ThoughtMarks
from ..tool_schema import held_arguments

SECTION, SECTION_END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
CALL, ARGUMENTS, CALL_END = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"
_SINGULAR, _SINGULAR_END = "<|tool_call_section_begin|>", "<|tool_call_section_end|>"
_ENDS = Marks((CALL_END, CALL, SECTION_END, _SINGULAR_END))
_ID = re.compile(r"(?:functions\.)?(.+?)(?::\d+)?")


class KimiParser(MarkedParser):
    """Reads the calls of a section, or those that came without one; their ids are the model's own."""

    opens = (SECTION, _SINGULAR, CALL)

    def read_call(self) -> Steps[bool]:
        """Reads the calls up to the section's end."""
        begun = self.mark == CALL
        any_call = False
        while True:
            yield from self.reader.blanks()
            if not begun and not (yield from self.reader.option(CALL)):
                break
            begun = False
            if not (yield from self._read_one()):
                return any_call
            any_call = True
            yield from self.read_end(CALL_END)
        if any_call:
            yield from self.read_end(SECTION_END, _SINGULAR_END)
        return any_call

    def _read_one(self) -> Steps[bool]:
        yield from self.reader.blanks()
        call_id = yield from read_word(self.reader)
        yield from self.reader.blanks()
        match = _ID.fullmatch(call_id)
        if match is None or not (yield from self.reader.option(ARGUMENTS)):
            return False
        yield from self.reader.blanks()
        own_id = call_id if call_id != match[1] else ""
        return (yield from read_arguments(self.reader, self.outlet, match[1], self.tools, _ENDS, call_id=own_id))


class Kimi(Family):
    """Calls with numbers, within a section."""

    name = "kimi"
    marks = (SECTION, SECTION_END, CALL, ARGUMENTS, CALL_END)
    signs = (SECTION, CALL)
    parser = KimiParser
    own_thoughts = ThoughtMarks("<think>", "</think>")

    def call_rules(self, tools: Sequence[Tool], *, parallel: bool) -> str:
        """Writes the rules of `calls`."""
        return f'calls: %mark "{SECTION}" {_behind(parallel=parallel)}\n{_rules(tools)}'

    def triggers(self) -> tuple[str, ...]:
        """The mark before a section."""
        return (SECTION,)

    def call_grammar(self, tools: Sequence[Tool]) -> str:
        """Writes the grammar of what stands behind it."""
        return f"start: {_behind(parallel=True)}\n{_rules(tools)}"

    def write(self, calls: Sequence[WrittenCall], *, text: str = "", reasoning: str = "") -> str:
        """Writes an answer."""
        written = [
            f"{CALL}{call.id or f'functions.{call.name}:{at}'}{ARGUMENTS}{call.arguments}{CALL_END}"
            for at, call in enumerate(calls)
        ]
        section = f"{SECTION}{''.join(written)}{SECTION_END}" if written else ""
        return write_thought(reasoning, self.thoughts) + text + section


def _behind(*, parallel: bool) -> str:
    return "call" + (f" call{MORE}" if parallel else "") + f' %mark "{SECTION_END}"'


def _rules(tools: Sequence[Tool]) -> str:
    rules = ["call: " + " | ".join(f"call_{at}" for at in range(len(tools)))]
    for at, tool in enumerate(tools):
        head = f'%mark "{CALL}" {json.dumps(f"functions.{tool.name}:")} /[0-9]{{1,4}}/ %mark "{ARGUMENTS}"'
        rules.append(f'call_{at}: {head} %json {held_arguments(tool)} %mark "{CALL_END}"')
    return "\n".join(rules)
