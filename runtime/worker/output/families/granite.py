"""Granite 3: `<|tool_call|>[{"name": …, "arguments": {…}}]`; Granite 4 writes as Hermes does, and is read here, too."""

from __future__ import annotations

from ..listed import ListedFamily, ListedParser


class GraniteParser(ListedParser):
    """Reads the list behind either mark."""

    opens = ("<|tool_call|>", "<tool_call>")
    closes = ("</tool_call>", "<|/tool_call|>")


class Granite(ListedFamily):
    """A list of calls behind a control token."""

    name = "granite"
    open = "<|tool_call|>"
    marks = ("<|tool_call|>", "<tool_call>", "</tool_call>")
    signs = ("<|tool_call|>", "<|start_of_role|>")
    parser = GraniteParser
