"""Models whose template knows no tools: told to write as Hermes does, and read with more patience."""

from __future__ import annotations

from ..call_object import CallObject
from ..marks import Marks
from ..outlet import Outlet
from ..pieces import Call
from ..reader import Steps
from .hermes import Hermes, HermesParser

_FENCES = ("```json", "```tool_call", "```")


class GenericParser(HermesParser):
    """Reads calls between tags, and an answer that is nothing but one call as JSON, of a tool that was offered."""

    def read_answer(self) -> Steps[None]:
        """Reads the answer behind its thoughts."""
        if self.tools:
            self.reader.keep()
            if (yield from self._read_whole()):
                return
            self.outlet.say(self.reader.kept())
            self.reader.forget()
        yield from super().read_answer()

    def _read_whole(self) -> Steps[bool]:
        """Reads the whole answer as one call; False where it is another."""
        yield from self.reader.blanks()
        fence = yield from self.reader.option(*_FENCES)
        yield from self.reader.blanks()
        if (yield from self.reader.peek()) != "{":
            return False
        scratch = Outlet(holds_blanks=False)
        is_call = yield from CallObject(
            self.reader, scratch, self.tools, Marks(("```",) if fence else ()), any_name=False
        ).read()
        if not is_call:
            return False
        yield from self.reader.blanks()
        if fence and not (yield from self.reader.option("```")):
            return False
        yield from self.reader.blanks()
        if (yield from self.reader.peek()):
            return False
        for piece in scratch.drain(last=True):
            if isinstance(piece, Call):
                self.outlet.call(piece.name, piece.id)
            else:
                self.outlet.arguments(piece.text)
        return True


class Generic(Hermes):
    """The syntax that a model without one is taught by its prompt."""

    name = "generic"
    signs = ()
    parser = GenericParser
