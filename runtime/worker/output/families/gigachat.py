"""GigaChat 3.1: `<|function_call|>{"name": …, "arguments": {…}}`, once in an answer."""

from __future__ import annotations

from collections.abc import Sequence

from ....request import Tool
from ..family import WrittenCall
from ..json_family import object_rules, write_object, write_thought
from ..listed import ListedFamily, ListedParser


class GigaChatParser(ListedParser):
    """Reads the call behind the mark."""

    opens = ("<|function_call|>",)
    closes = ()


class GigaChat(ListedFamily):
    """One call behind a mark; the model's turn ends with it, so that several never come."""

    name = "gigachat"
    open = "<|function_call|>"
    marks = ("<|function_call|>",)
    signs = ("<|function_call|>", "<|message_sep|>")
    parser = GigaChatParser

    def call_rules(self, tools: Sequence[Tool], *, parallel: bool) -> str:  # noqa: ARG002 - there is one call even where several may come
        """Writes the rules of `calls`."""
        return f'calls: %mark "{self.open}" call\n{object_rules(tools)}'

    def call_grammar(self, tools: Sequence[Tool]) -> str:
        """Writes the grammar of what stands behind the mark."""
        return f"start: call\n{object_rules(tools)}"

    def write(self, calls: Sequence[WrittenCall], *, text: str = "", reasoning: str = "") -> str:
        """Writes an answer."""
        written = "".join(f"{self.open}{write_object(call)}" for call in calls)
        return write_thought(reasoning, self.thoughts) + text + written
