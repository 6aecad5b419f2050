"""Gemma 4 and FunctionGemma: `<|tool_call>call:NAME{path:<|"|>a.txt<|"|>,n:3}<tool_call|>`, one for each call."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import ClassVar, cast

from ....request import Tool
from ..bare_object import BareObject
from ..bare_object_rules import BareObjectRules
from ..family import Family, WrittenCall
from ..json_family import MORE
from ..marked import MarkedParser
from ..marks import Marks
from ..named_call import read_arguments, read_word
from ..reader import Steps
from ..thoughts import ThoughtMarks
from ..tool_schema import read_schema

_HEAD = "call:"
_CHANNEL, _CHANNEL_END = "<|channel>", "<channel|>"
_THOUGHT, _EMPTY = "thought\n", f"thought{_CHANNEL_END}"


class BareParser(MarkedParser):
    """Reads calls whose arguments have no quotes around their names."""

    close: ClassVar[str]
    """The mark behind a call."""
    quote: ClassVar[str]
    """The one before and behind a text."""

    def read_call(self) -> Steps[bool]:
        """Reads a call up to its closing mark."""
        yield from self.reader.blanks()
        if not (yield from self.reader.option(_HEAD)):
            return False
        yield from self.reader.blanks()
        name = yield from read_word(self.reader)
        yield from self.reader.blanks()
        if not name:
            return False
        tool = self.tools.get(name)
        if (yield from self.reader.peek()) != "{":
            if tool is None or not (yield from self.reader.option(self.close)):
                return False
            self.outlet.call(name)
            self.outlet.arguments("{}")
            return True
        ends = Marks((self.close, *self.opens))
        arguments = BareObject(self.reader, self.quote, ends, read_schema(tool) if tool else {})
        is_call = yield from read_arguments(
            self.reader, self.outlet, name, self.tools, ends, read=lambda _, say: arguments.read(say)
        )
        if is_call:
            yield from self.read_end(self.close)
        return is_call


class Gemma4Parser(BareParser):
    """Reads such calls, and thoughts wherever they stand: the model thinks between texts, too."""

    opens = ("<|tool_call>",)
    close = "<tool_call|>"
    quote = '<|"|>'

    def read_answer(self) -> Steps[None]:
        """Reads all that comes behind the first thoughts, to the end."""
        thoughts = self._thoughts
        if thoughts is None:
            yield from super().read_answer()
            return
        marks = Marks((*self._opens.texts, _CHANNEL, _CHANNEL_END))
        while mark := (yield from self.reader.until(marks, self.outlet.say)):
            if mark in self.opens:
                yield from self.read_marked(mark)
            elif mark == _CHANNEL_END:
                yield from self._read_stray()
            else:
                again = yield from self.reader.option(_CHANNEL)
                kind = yield from self.reader.option(_THOUGHT, _EMPTY)
                if kind:
                    yield from self._read_thoughts(thoughts, inside=kind == _THOUGHT)
                else:
                    self.outlet.say(mark + again)

    def _read_stray(self) -> Steps[None]:
        """Drops the mark behind a thought where nothing but an answer's end follows: the model adds it there."""
        blanks = yield from self.reader.blanks()
        if (yield from self.reader.peek()):
            self.outlet.say(_CHANNEL_END + blanks)


class BareFamily(Family):
    """What families share that write arguments without quotes around their names."""

    syntax: ClassVar[type[BareParser]]
    """The marks."""

    def call_rules(self, tools: Sequence[Tool], *, parallel: bool) -> str:
        """Writes the rules of `calls`."""
        more = f" one{MORE}" if parallel else ""
        return f"calls: one{more}\none: %mark {json.dumps(self.syntax.opens[0])} {self._behind()}\n{self._rules(tools)}"

    def triggers(self) -> tuple[str, ...]:
        """The mark before a call."""
        return self.syntax.opens

    def call_grammar(self, tools: Sequence[Tool]) -> str:
        """Writes the grammar of what stands behind it."""
        return f"start: {self._behind()}\n{self._rules(tools)}"

    def write(self, calls: Sequence[WrittenCall], *, text: str = "", reasoning: str = "") -> str:
        """Writes an answer."""
        thought = f"{self.thoughts.open}\n{reasoning}\n{self.thoughts.close}" if reasoning and self.thoughts else ""
        return thought + text + "".join(map(self._write_call, calls))

    def _write_call(self, call: WrittenCall) -> str:
        members = cast("dict[str, object]", json.loads(call.arguments))
        return f"{self.syntax.opens[0]}{_HEAD}{call.name}{self._write_value(members)}{self.syntax.close}"

    def _write_value(self, value: object) -> str:
        match value:
            case str():
                return f"{self.syntax.quote}{value}{self.syntax.quote}"
            case dict():
                members = cast("dict[str, object]", value)
                return f"{{{','.join(f'{key}:{self._write_value(one)}' for key, one in members.items())}}}"
            case list():
                return f"[{','.join(map(self._write_value, cast('list[object]', value)))}]"
            case _:
                return json.dumps(value)

    def _behind(self) -> str:
        return f'"{_HEAD}" call %mark {json.dumps(self.syntax.close)}'

    def _rules(self, tools: Sequence[Tool]) -> str:
        rules = BareObjectRules(self.syntax.quote)
        written = ["call: " + " | ".join(f"call_{at}" for at in range(len(tools)))]
        for at, tool in enumerate(tools):
            written.append(f"call_{at}: {json.dumps(tool.name)} {rules.object(read_schema(tool))}")
        return "\n".join((*written, rules.write()))


class Gemma4(BareFamily):
    """Calls with marks of their own around texts."""

    name = "gemma4"
    marks = (*Gemma4Parser.opens, Gemma4Parser.close, Gemma4Parser.quote, _CHANNEL)
    signs = (*Gemma4Parser.opens, Gemma4Parser.close)
    parser = syntax = Gemma4Parser
    own_thoughts = ThoughtMarks("<|channel>thought", _CHANNEL_END)


class FunctionGemmaParser(BareParser):
    """Reads the same calls between the marks that a smaller, older model has for them."""

    opens = ("<start_function_call>",)
    close = "<end_function_call>"
    quote = "<escape>"


class FunctionGemma(BareFamily):
    """The same calls between other marks."""

    name = "functiongemma"
    marks = (*FunctionGemmaParser.opens, FunctionGemmaParser.close, FunctionGemmaParser.quote)
    signs = (*FunctionGemmaParser.opens, FunctionGemmaParser.close)
    parser = syntax = FunctionGemmaParser
