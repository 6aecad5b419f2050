"""Llama 4, and 3.2 where it is asked so: `[f(a=1), g()]` as the whole answer, in Llama 4 between marks of its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ....request import Tool
from ..family import Family, WrittenCall
from ..json_family import MORE
from ..marked import MarkedParser
from ..python_call import PythonCalls, python_rules, write_python
from ..reader import Steps

OPEN, CLOSE = "<|python_start|>", "<|python_end|>"
_ASKS_FOR_LIST = "func_name1(params_name1=params_value1"
"""How the templates of these models show what a call is to look like."""


class LlamaPythonicParser(MarkedParser):
    """Reads calls behind the mark, and an answer that is nothing but calls of offered tools."""

    opens = (OPEN,)

    def read_call(self) -> Steps[bool]:
        """Reads the calls up to the closing mark."""
        is_call = yield from PythonCalls(self.reader, self.outlet, self.tools, any_name=True).read()
        if is_call:
            yield from self.read_end(CLOSE)
        return is_call

    def read_answer(self) -> Steps[None]:
        """Reads bare calls at the beginning, and all else as usual."""
        if self.tools:
            self.reader.keep()
            blanks = yield from self.reader.blanks()
            if (yield from self.reader.peek()) == "[":
                is_call = yield from PythonCalls(self.reader, self.outlet, self.tools).read()
                if is_call:
                    yield from self.read_end(CLOSE)
                else:
                    self.outlet.say(self.reader.kept())
            else:
                self.outlet.say(blanks)
            self.reader.forget()
        yield from super().read_answer()


class LlamaPythonic(Family):
    """A bare Python list of calls."""

    name = "llama_pythonic"
    marks = (OPEN, CLOSE)
    parser = LlamaPythonicParser

    @classmethod
    def matches(cls, template: str, control_texts: Collection[str]) -> bool:
        """Whether a template asks for such a list, or a Llama 4 has the marks and no other syntax in its template."""
        return _ASKS_FOR_LIST in template or OPEN in template or (OPEN in control_texts and '"parameters"' not in template)

    def call_rules(self, tools: Sequence[Tool], *, parallel: bool) -> str:
        """Writes the rules of `calls`."""
        marked = f'(%mark "{OPEN}")? {_list(parallel=parallel)} (%mark "{CLOSE}")?'
        return f"calls: {marked}\n{python_rules(tools)}"

    def triggers(self) -> tuple[str, ...]:
        """The mark; a bare list may be an answer of its own."""
        return (OPEN,)

    def call_grammar(self, tools: Sequence[Tool]) -> str:
        """Writes the grammar of what stands behind the mark."""
        return f'start: {_list(parallel=True)} (%mark "{CLOSE}")?\n{python_rules(tools)}'

    def write(self, calls: Sequence[WrittenCall], *, text: str = "", reasoning: str = "") -> str:
        """Writes an answer; there is no thought."""
        del reasoning
        return text + (f"{OPEN}[{', '.join(map(write_python, calls))}]{CLOSE}" if calls else "")


def _list(*, parallel: bool) -> str:
    more = f' (", " call){MORE}' if parallel else ""
    return f'"[" call{more} "]"'
