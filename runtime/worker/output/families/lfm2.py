"""LFM2 and LFM2.5: `<|tool_call_start|>[f(a=1), g()]<|tool_call_end|>`, in Python or, if asked for, as a JSON list."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ....request import Tool
from ..call_object import CallObject
from ..family import Family, WrittenCall
from ..json_family import MORE, write_thought
from ..marked import MarkedParser
from ..marks import Marks
from ..python_call import PythonCalls, python_rules, write_python
from ..reader import Steps

OPEN, CLOSE = "<|tool_call_start|>", "<|tool_call_end|>"
_ENDS = Marks((CLOSE, OPEN))
_LIST = "List of tools: "


class Lfm2Parser(MarkedParser):
    """Reads the calls between the marks."""

    opens = (OPEN,)

    def read_call(self) -> Steps[bool]:
        """Reads the calls up to the closing mark."""
        yield from self.reader.blanks()
        is_json = yield from self._is_json()
        is_call = yield from (
            self._read_json() if is_json else PythonCalls(self.reader, self.outlet, self.tools, any_name=True).read()
        )
        if is_call:
            yield from self.read_end(CLOSE)
        return is_call

    def _is_json(self) -> Steps[bool]:
        """Whether an object comes next, maybe within a list; takes nothing."""
        while True:
            rest = self.reader.text[self.reader.at :].lstrip()
            inner = rest[1:].lstrip() if rest.startswith("[") else rest
            if inner or self.reader.ended:
                return inner.startswith("{")
            yield

    def _read_json(self) -> Steps[bool]:
        in_list = bool((yield from self.reader.option("[")))
        any_call = False
        while True:
            yield from self.reader.blanks()
            if not (yield from CallObject(self.reader, self.outlet, self.tools, _ENDS).read()):
                return any_call
            any_call = True
            yield from self.reader.blanks()
            if not in_list or not (yield from self.reader.option(",")):
                return True


class Lfm2(Family):
    """A Python list of calls between marks."""

    name = "lfm2"
    marks = (OPEN, CLOSE)
    parser = Lfm2Parser

    @classmethod
    def matches(cls, template: str, control_texts: Collection[str]) -> bool:
        """Whether a model has the mark, or its template tells of tools as these do."""
        return OPEN in template or OPEN in control_texts or _LIST in template

    def call_rules(self, tools: Sequence[Tool], *, parallel: bool) -> str:
        """Writes the rules of `calls`."""
        return f'calls: %mark "{OPEN}" {_behind(parallel=parallel)}\n{python_rules(tools)}'

    def triggers(self) -> tuple[str, ...]:
        """The opening mark."""
        return (OPEN,)

    def call_grammar(self, tools: Sequence[Tool]) -> str:
        """Writes the grammar of what stands behind it."""
        return f"start: {_behind(parallel=True)}\n{python_rules(tools)}"

    def write(self, calls: Sequence[WrittenCall], *, text: str = "", reasoning: str = "") -> str:
        """Writes an answer; the calls come before what is said."""
        written = f"{OPEN}[{', '.join(map(write_python, calls))}]{CLOSE}" if calls else ""
        return write_thought(reasoning, self.thoughts) + text + written


def _behind(*, parallel: bool) -> str:
    more = f' (", " call){MORE}' if parallel else ""
    return f'"[" call{more} "]" %mark "{CLOSE}"'
