"""Phi-4-mini: `<|tool_call|>[{"name": …, "arguments": {…}}]<|/tool_call|>`, or `functools[…]`."""

from __future__ import annotations

from ..listed import ListedFamily, ListedParser
from ..thoughts import ThoughtMarks


class Phi4Parser(ListedParser):
    """Reads the list behind either mark."""

    opens = ("<|tool_call|>", "functools[")
    closes = ("<|/tool_call|>",)


class Phi4(ListedFamily):
    """A list of calls between control tokens."""

    name = "phi4"
    open = "<|tool_call|>"
    close = "<|/tool_call|>"
    marks = ("<|tool_call|>", "<|/tool_call|>")
    signs = ("<|tool_call|>", "<|/tool_call|>")
    parser = Phi4Parser
    own_thoughts = ThoughtMarks("<think>", "</think>")
