"""Hermes, Qwen 2.5 and Qwen 3: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`."""

from __future__ import annotations

from ..call_object import CallObject
from ..marked import MarkedParser
from ..marks import Marks
from ..reader import Steps

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
