"""Hermes, Qwen 2.5 and Qwen 3: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`."""

from __future__ import annotations

from collections.abc import Sequence

from ....request import Tool
from ..call_object import CallObject
from ..family import Family, WrittenCall
from ..json_family import MORE, object_rules, write_object, write_thought
from ..marked import MarkedParser
from ..marks import Marks
from ..reader import Steps
from ..thoughts import ThoughtMarks

OPEN = "<tool_call>"
CLOSE = "</tool_call>"
_ENDS = Marks((CLOSE, OPEN))


class HermesParser(MarkedParser):
    """Reads calls that are JSON objects between tags; several may share a pair of tags."""

    opens = (OPEN,)

    def read_call(self) -> Steps[bool]:
        """Reads the objects up to the closing tag."""
        any_call = False
        while True:
            yield from self.reader.blanks()
            if (yield from self.reader.peek()) != "{":
                return any_call
            is_call = yield from CallObject(self.reader, self.outlet, self.tools, _ENDS).read()
            if not is_call:
                return any_call
            any_call = True
            if (yield from self.read_end(CLOSE)):
                return True


class Hermes(Family):
    """Calls as JSON between tags, which many models learned."""

    name = "hermes"
    marks = (OPEN, CLOSE)
    signs = (OPEN,)
    parser = HermesParser
    own_thoughts = ThoughtMarks("<think>", "</think>")

    def call_rules(self, tools: Sequence[Tool], *, parallel: bool) -> str:
        """Writes the rules of `calls`."""
        more = rf' ("\n" one){MORE}' if parallel else ""
        return f'calls: one{more}\none: %mark "{OPEN}" {self._behind()}\n{object_rules(tools)}'

    def triggers(self) -> tuple[str, ...]:
        """The opening tag."""
        return (OPEN,)

    def call_grammar(self, tools: Sequence[Tool]) -> str:
        """Writes the grammar of what stands behind the opening tag."""
        return f"start: {self._behind()}\n{object_rules(tools)}"

    def write(self, calls: Sequence[WrittenCall], *, text: str = "", reasoning: str = "") -> str:
        """Writes an answer."""
        written = [f"{OPEN}\n{write_object(call)}\n{CLOSE}" for call in calls]
        return write_thought(reasoning, self.thoughts) + "\n".join([text, *written] if text else written)

    def _behind(self) -> str:
        return rf'"\n" call "\n" %mark "{CLOSE}"'
