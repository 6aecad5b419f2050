"""Calls as a JSON list behind a mark: `<TOOLCALL>[{"name": …, "arguments": {…}}, …]</TOOLCALL>`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ...request import Tool
from .call_object import CallObject
from .family import Family, WrittenCall
from .json_family import MORE, object_rules, write_object, write_thought
from .marked import MarkedParser
from .marks import Marks
from .reader import Steps


class ListedParser(MarkedParser):
    """Reads a list of calls, or a single one where the brackets were forgotten."""

    closes: ClassVar[tuple[str, ...]]
    """The marks that may end the list, of which none need to."""

    def read_call(self) -> Steps[bool]:
        """Reads the calls up to the closing mark."""
        yield from self.reader.blanks()
        in_list = self.mark.endswith("[") or bool((yield from self.reader.option("[")))
        ends = Marks((*self.closes, *self.opens))
        any_call = False
        while True:
            yield from self.reader.blanks()
            if (yield from self.reader.peek()) != "{":
                break
            is_call = yield from CallObject(self.reader, self.outlet, self.tools, ends).read()
            if not is_call:
                return any_call
            any_call = True
            yield from self.reader.blanks()
            if not in_list or not (yield from self.reader.option(",")):
                break
        if any_call:
            yield from self.read_end(*self.closes)
        return any_call


class ListedFamily(Family):
    """What families share that write their calls as one list."""

    open: ClassVar[str]
    """The mark before the list."""
    close: ClassVar[str] = ""
    """The mark behind it, if there is one."""

    def call_rules(self, tools: Sequence[Tool], *, parallel: bool) -> str:
        """Writes the rules of `calls`."""
        return f'calls: %mark "{self.open}" {self._behind(parallel=parallel)}\n{object_rules(tools)}'

    def triggers(self) -> tuple[str, ...]:
        """The opening mark."""
        return (self.open,)

    def call_grammar(self, tools: Sequence[Tool]) -> str:
        """Writes the grammar of what stands behind the opening mark."""
        return f"start: {self._behind(parallel=True)}\n{object_rules(tools)}"

    def write(self, calls: Sequence[WrittenCall], *, text: str = "", reasoning: str = "") -> str:
        """Writes an answer."""
        written = f"{self.open}[{', '.join(map(write_object, calls))}]{self.close}" if calls else ""
        return write_thought(reasoning, self.thoughts) + text + written

    def _behind(self, *, parallel: bool) -> str:
        more = f' (", " call){MORE}' if parallel else ""
        close = f' %mark "{self.close}"' if self.close else ""
        return f'"[" call{more} "]"{close}'
