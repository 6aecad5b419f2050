"""Mistral: `[TOOL_CALLS][{"name": …, "arguments": {…}}]`, and since 2025 `[TOOL_CALLS]NAME[ARGS]{…}` for each call."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from ....request import Tool
from ..call_object import CallObject
from ..family import Family, WrittenCall
from ..json_family import MORE, object_rules
from ..marked import MarkedParser
from ..marks import Marks
from ..named_call import read_arguments, read_word
from ..reader import Steps
from ..thoughts import ThoughtMarks
from ..tool_schema import held_arguments

OPEN, ARGUMENTS, CALL_ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"
_ENDS = Marks((OPEN,))
_THOUGHTS = ThoughtMarks("[THINK]", "[/THINK]")


class MistralParser(MarkedParser):
    """Reads both kinds, whichever comes."""

    opens = (OPEN,)

    def read_call(self) -> Steps[bool]:
        """Reads the list behind the mark, or the one call."""
        yield from self.reader.blanks()
        first = yield from self.reader.peek()
        if first in ("[", "{"):
            return (yield from self._read_list())
        name = yield from read_word(self.reader)
        call_id = ""
        yield from self.reader.blanks()
        if (yield from self.reader.option(CALL_ID)):
            call_id = yield from read_word(self.reader)
        marked = yield from self.reader.option(ARGUMENTS)
        yield from self.reader.blanks()
        if not name or (yield from self.reader.peek()) != "{" or not (marked or name in self.tools):
            return False
        return (yield from read_arguments(self.reader, self.outlet, name, self.tools, _ENDS, call_id=call_id))

    def _read_list(self) -> Steps[bool]:
        in_list = bool((yield from self.reader.option("[")))
        any_call = False
        while True:
            yield from self.reader.blanks()
            if (yield from self.reader.peek()) != "{":
                break
            if not (yield from CallObject(self.reader, self.outlet, self.tools, _ENDS).read()):
                return any_call
            any_call = True
            yield from self.reader.blanks()
            if not in_list or not (yield from self.reader.option(",")):
                break
        if any_call:
            yield from self.read_end()
        return any_call


class Mistral(Family):
    """A call's name, and its arguments as JSON behind a mark."""

    name = "mistral"
    marks = (OPEN, ARGUMENTS, CALL_ID)
    signs = (OPEN, ARGUMENTS)
    parser = MistralParser
    own_thoughts = _THOUGHTS

    def call_rules(self, tools: Sequence[Tool], *, parallel: bool) -> str:
        """Writes the rules of `calls`."""
        more = f" one{MORE}" if parallel else ""
        return f'calls: one{more}\none: %mark "{OPEN}" call\n{_rules(tools)}'

    def triggers(self) -> tuple[str, ...]:
        """The mark before a call."""
        return (OPEN,)

    def call_grammar(self, tools: Sequence[Tool]) -> str:
        """Writes the grammar of what stands behind it."""
        return f"start: call\n{_rules(tools)}"

    def write(self, calls: Sequence[WrittenCall], *, text: str = "", reasoning: str = "") -> str:
        """Writes an answer."""
        written = (f"{OPEN}{call.name}{ARGUMENTS}{call.arguments}" for call in calls)
        return self._thought(reasoning) + text + "".join(written)

    def _thought(self, reasoning: str) -> str:
        return f"{self.thoughts.open}{reasoning}{self.thoughts.close}" if reasoning and self.thoughts else ""


class MistralList(Mistral):
    """All calls as one list, as models of 2024 write them."""

    name = "mistral_list"
    signs = (OPEN,)

    @classmethod
    def matches(cls, template: str, control_texts: Collection[str]) -> bool:
        """Whether the mark is known, and the one before arguments is not."""
        return super().matches(template, control_texts) and ARGUMENTS not in template

    def call_rules(self, tools: Sequence[Tool], *, parallel: bool) -> str:
        """Writes the rules of `calls`."""
        return f'calls: %mark "{OPEN}" {_list(parallel=parallel)}\n{object_rules(tools)}'

    def call_grammar(self, tools: Sequence[Tool]) -> str:
        """Writes the grammar of what stands behind the mark."""
        return f"start: {_list(parallel=True)}\n{object_rules(tools)}"

    def write(self, calls: Sequence[WrittenCall], *, text: str = "", reasoning: str = "") -> str:
        """Writes an answer."""
        objects = ", ".join(f'{{"name": {json.dumps(call.name)}, "arguments": {call.arguments}}}' for call in calls)
        return self._thought(reasoning) + text + (f"{OPEN}[{objects}]" if calls else "")


def _list(*, parallel: bool) -> str:
    return '"[" call' + (f' (", " call){MORE}' if parallel else "") + ' "]"'


def _rules(tools: Sequence[Tool]) -> str:
    rules = ["call: " + " | ".join(f"call_{at}" for at in range(len(tools)))]
    for at, tool in enumerate(tools):
        rules.append(f'call_{at}: {json.dumps(tool.name)} %mark "{ARGUMENTS}" %json {held_arguments(tool)}')
    return "\n".join(rules)
