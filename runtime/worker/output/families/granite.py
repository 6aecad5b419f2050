"""Granite 3: `<|tool_call|>[{"name": …, "arguments": {…}}]`; Granite 4 writes as Hermes does, and is read here, too."""

from __future__ import annotations

from collections.abc import Collection

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

    @classmethod
    def matches(cls, template: str, control_texts: Collection[str]) -> bool:
        """Whether a model writes so; Granite 4 has the token left over, but its template asks for the other mark."""
        return super().matches(template, control_texts) and ("<|tool_call|>" in template or "<tool_call>" not in template)
