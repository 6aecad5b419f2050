"""Llama 3.1 to 3.3: `{"name": …, "parameters": {…}}` as the whole answer, maybe behind `<|python_tag|>`."""

from __future__ import annotations

from collections.abc import Sequence

from ....request import Tool
from ..call_object import CallObject
from ..family import Family, WrittenCall
from ..json_family import object_rules, write_object
from ..marked import MarkedParser
from ..marks import Marks
from ..outlet import Outlet
from ..pieces import Call
from ..reader import Steps

TAG = "<|python_tag|>"
_KEY = "parameters"
_BETWEEN = (";", ",")
_NOTHING = Marks(())


class LlamaJsonParser(MarkedParser):
    """Reads an answer that is nothing but calls of offered tools; any other is text."""

    def read_answer(self) -> Steps[None]:
        """Reads calls as long as they come, and all else as text."""
        if not self.tools:
            yield from super().read_answer()
            return
        self.reader.keep()
        blanks = yield from self.reader.blanks()
        yield from self.reader.option(TAG)
        is_call = yield from self._read_object()
        if not is_call:
            said = self.reader.kept()
            self.outlet.say(said if said.strip() else blanks)
        self.reader.forget()
        while is_call:
            is_call = yield from self._read_next()
        yield from super().read_answer()

    def _read_next(self) -> Steps[bool]:
        """Reads one more call behind another."""
        self.reader.keep()
        yield from self.reader.blanks()
        yield from self.reader.option(*_BETWEEN)
        yield from self.reader.blanks()
        yield from self.reader.option(TAG)
        is_call = yield from self._read_object()
        if not is_call:
            self.outlet.say(self.reader.kept())
        self.reader.forget()
        return is_call

    def _read_object(self) -> Steps[bool]:
        yield from self.reader.blanks()
        if (yield from self.reader.peek()) != "{":
            return False
        # What turns out to be no call must come out as text, so nothing of it may be handed on before its end.
        scratch = Outlet(holds_blanks=False)
        if not (yield from CallObject(self.reader, scratch, self.tools, _NOTHING, any_name=False).read()):
            return False
        for piece in scratch.drain(last=True):
            if isinstance(piece, Call):
                self.outlet.call(piece.name, piece.id)
            else:
                self.outlet.arguments(piece.text)
        return True

    def read_call(self) -> Steps[bool]:
        """Is never asked for: calls have no mark of their own."""
        raise NotImplementedError
        yield


class LlamaJson(Family):
    """Bare JSON objects, one at a time as a rule."""

    name = "llama_json"
    marks = (TAG,)
    signs = ("<|start_header_id|>", f'"{_KEY}"')
    parser = LlamaJsonParser

    def call_rules(self, tools: Sequence[Tool], *, parallel: bool) -> str:
        """Writes the rules of `calls`; the model was taught one call an answer."""
        del parallel
        return f"calls: call\n{object_rules(tools, _KEY)}"

    def triggers(self) -> tuple[str, ...]:
        """None: a bare object may be an answer of its own."""
        return ()

    def call_grammar(self, tools: Sequence[Tool]) -> str:
        """Writes the grammar of a call."""
        return f"start: call\n{object_rules(tools, _KEY)}"

    def write(self, calls: Sequence[WrittenCall], *, text: str = "", reasoning: str = "") -> str:
        """Writes an answer; there is no text beside calls, and no thought."""
        del reasoning
        return "; ".join(write_object(call, _KEY) for call in calls) if calls else text
