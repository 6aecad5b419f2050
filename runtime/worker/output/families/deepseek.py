"""DeepSeek V3, R1 and V3.1: a call's name and its arguments as JSON between marks, in older models with a fence around."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from ....request import Tool
from ..family import Family, WrittenCall
from ..json_family import MORE, write_thought
from ..marked import MarkedParser
from ..marks import Marks
from ..named_call import read_arguments, read_word
from ..reader import Steps
from ..thoughts import ThoughtMarks
from ..tool_schema import held_arguments

SECTION, SECTION_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL, BETWEEN, CALL_END = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
_MISSPELT = ("<｜tool_calls_begin｜>", "<｜tool calls begin｜>", r"<｜tool\_calls\_begin｜>", "<｜tool▁calls｜>")
"""Distilled models, which have no token for it, write the opening so, too."""
_ENDS = Marks(("```", CALL_END, CALL, SECTION_END))


class DeepseekParser(MarkedParser):
    """Reads the calls of a section, with or without fences."""

    opens = (SECTION, CALL, *_MISSPELT)

    def read_call(self) -> Steps[bool]:
        """Reads the calls up to the section's end."""
        any_call = False
        while True:
            yield from self.reader.blanks()
            yield from self.reader.option(CALL)
            if not (yield from self._read_one()):
                break
            any_call = True
            yield from self.read_end("```")
            yield from self.read_end(CALL_END)
        if any_call:
            yield from self.reader.option(SECTION_END)
        return any_call

    def _read_one(self) -> Steps[bool]:
        yield from self.reader.blanks()
        name = yield from read_word(self.reader)
        if not name or not (yield from self.reader.option(BETWEEN)):
            return False
        yield from self.reader.blanks()
        if name == "function" and (yield from self.reader.peek()) != "{":
            name = yield from read_word(self.reader)
        yield from self.reader.blanks()
        yield from self.reader.option("```json", "```")
        yield from self.reader.blanks()
        if not name or (yield from self.reader.peek()) != "{":
            return False
        return (yield from read_arguments(self.reader, self.outlet, name, self.tools, _ENDS))


class Deepseek(Family):
    """A call's name, and its arguments behind a mark."""

    name = "deepseek"
    marks = (SECTION, SECTION_END, CALL, BETWEEN, CALL_END)
    signs = (CALL,)
    parser = DeepseekParser
    own_thoughts = ThoughtMarks("<think>", "</think>")
    before: str = ""
    """What stands before a call's name."""
    fence: tuple[str, str] = ("", "")
    """What stands around its arguments."""
    between: str = ""
    """What stands between two calls."""

    def call_rules(self, tools: Sequence[Tool], *, parallel: bool) -> str:
        """Writes the rules of `calls`."""
        return f'calls: %mark "{SECTION}" {self._behind(parallel=parallel)}\n{self._rules(tools)}'

    def triggers(self) -> tuple[str, ...]:
        """The mark before a section."""
        return (SECTION,)

    def call_grammar(self, tools: Sequence[Tool]) -> str:
        """Writes the grammar of what stands behind it."""
        return f"start: {self._behind(parallel=True)}\n{self._rules(tools)}"

    def write(self, calls: Sequence[WrittenCall], *, text: str = "", reasoning: str = "") -> str:
        """Writes an answer."""
        opening, closing = self.fence
        before = f"{self.before}{BETWEEN}" if self.before else ""
        separator = "" if opening else BETWEEN
        written = [f"{CALL}{before}{call.name}{separator}{opening}{call.arguments}{closing}{CALL_END}" for call in calls]
        section = f"{SECTION}{self.between.join(written)}{SECTION_END}" if written else ""
        return write_thought(reasoning, self.thoughts) + text + section

    def _behind(self, *, parallel: bool) -> str:
        between = f"{json.dumps(self.between)} " if self.between else ""
        return "call" + (f" ({between}call){MORE}" if parallel else "") + f' %mark "{SECTION_END}"'

    def _rules(self, tools: Sequence[Tool]) -> str:
        opening, closing = map(json.dumps, self.fence)
        rules = ["call: " + " | ".join(f"call_{at}" for at in range(len(tools)))]
        for at, tool in enumerate(tools):
            name, arguments = json.dumps(tool.name), f"%json {held_arguments(tool)}"
            middle = (
                f'"{self.before}" %mark "{BETWEEN}" {name} {opening} {arguments} {closing}'
                if self.before
                else f'{name} %mark "{BETWEEN}" {arguments}'
            )
            rules.append(f'call_{at}: %mark "{CALL}" {middle} %mark "{CALL_END}"')
        return "\n".join(rules)


class DeepseekFenced(Deepseek):
    """V3 and R1, which fence arguments in as code."""

    name = "deepseek_v3"
    before = "function"
    fence = ("\n```json\n", "\n```")
    between = "\n"

    @classmethod
    def matches(cls, template: str, control_texts: Collection[str]) -> bool:
        """Whether the template writes the fences."""
        return super().matches(template, control_texts) and "```json" in template
