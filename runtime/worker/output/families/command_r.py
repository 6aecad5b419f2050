"""Command R7B and Command A: `<|START_ACTION|>[{"tool_call_id": "0", "tool_name": …, "parameters": {…}}]<|END_ACTION|>`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ....request import Tool
from ..call_object import CallKeys, CallObject
from ..family import Family, WrittenCall
from ..json_family import MORE
from ..marked import MarkedParser
from ..marks import Marks
from ..reader import Steps
from ..thoughts import ThoughtMarks
from ..tool_schema import held_arguments

OPEN, CLOSE = "<|START_ACTION|>", "<|END_ACTION|>"
SAYS, SAID = "<|START_RESPONSE|>", "<|END_RESPONSE|>"
_SAYS = (SAYS, "<|START_TEXT|>")
_SAID = (SAID, "<|END_TEXT|>")
_ENDS = Marks((CLOSE, OPEN))
_KEYS = CallKeys(id=(), idle=("type", "index", "tool_call_id"))
"""The model's numbers begin anew with each conversation's turn, so they are none that could be told apart."""


class CommandRParser(MarkedParser):
    """Reads a list of calls, and takes the marks off that stand around the response."""

    opens = (OPEN,)

    def read_answer(self) -> Steps[None]:
        """Reads the calls or the response."""
        blanks = yield from self.reader.blanks()
        if not (yield from self.reader.option(*_SAYS)):
            self.outlet.say(blanks)
        marks = Marks((*_SAID, *(self.opens if self.tools else ())))
        while mark := (yield from self.reader.until(marks, self.outlet.say)):
            self.reader.keep(mark)
            if mark in _SAID:
                yield from self.reader.blanks()
                is_known = not (yield from self.reader.peek()) or (yield from self._before_call())
            else:
                is_known = yield from self.read_call()
            if not is_known:
                self.outlet.say(self.reader.kept())
            self.reader.forget()

    def _before_call(self) -> Steps[bool]:
        """Reads a call that follows the response, and tells whether it does."""
        if not self.tools or not (yield from self.reader.option(OPEN)):
            return False
        return (yield from self.read_call())

    def read_call(self) -> Steps[bool]:
        """Reads the list behind the mark."""
        yield from self.reader.blanks()
        in_list = bool((yield from self.reader.option("[")))
        any_call = False
        while True:
            yield from self.reader.blanks()
            if (yield from self.reader.peek()) != "{":
                break
            if not (yield from CallObject(self.reader, self.outlet, self.tools, _ENDS, keys=_KEYS).read()):
                return any_call
            any_call = True
            yield from self.reader.blanks()
            if not in_list or not (yield from self.reader.option(",")):
                break
        if any_call:
            yield from self.read_end(CLOSE)
        return any_call


class CommandR(Family):
    """A list of calls between marks, and a response between others."""

    name = "command_r"
    marks = (OPEN, CLOSE, *_SAYS, *_SAID)
    signs = (OPEN,)
    parser = CommandRParser
    own_thoughts = ThoughtMarks("<|START_THINKING|>", "<|END_THINKING|>")

    def call_rules(self, tools: Sequence[Tool], *, parallel: bool) -> str:
        """Writes the rules of `calls`."""
        return f'calls: %mark "{OPEN}" {_behind(parallel=parallel)}\n{_rules(tools)}'

    def triggers(self) -> tuple[str, ...]:
        """The mark before the list."""
        return (OPEN,)

    def call_grammar(self, tools: Sequence[Tool]) -> str:
        """Writes the grammar of what stands behind it."""
        return f"start: {_behind(parallel=True)}\n{_rules(tools)}"

    def write(self, calls: Sequence[WrittenCall], *, text: str = "", reasoning: str = "") -> str:
        """Writes an answer."""
        written = [
            f'    {{"tool_call_id": "{at}", "tool_name": {json.dumps(call.name)}, "parameters": {call.arguments}}}'
            for at, call in enumerate(calls)
        ]
        thought = f"{self.thoughts.open}{reasoning}{self.thoughts.close}" if reasoning and self.thoughts else ""
        said = f"{SAYS}{text}{SAID}" if text else ""
        return thought + said + (f"{OPEN}[\n" + ",\n".join(written) + f"\n]{CLOSE}" if written else "")


def _behind(*, parallel: bool) -> str:
    return r'"[\n" call' + (rf' (",\n" call){MORE}' if parallel else "") + rf' "\n]" %mark "{CLOSE}"'


def _rules(tools: Sequence[Tool]) -> str:
    rules = ["call: " + " | ".join(f"call_{at}" for at in range(len(tools)))]
    for at, tool in enumerate(tools):
        name = json.dumps(f'", "tool_name": {json.dumps(tool.name)}, "parameters": ')
        head = json.dumps('    {"tool_call_id": "')
        rules.append(f'call_{at}: {head} /[0-9]{{1,3}}/ {name} %json {held_arguments(tool)} "}}"')
    return "\n".join(rules)
