"""What is known of a family of models: how its answers are read, and how it is held to call a tool."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...request import Tool
from .pieces import Parser


@dataclass(frozen=True, slots=True)
class WrittenCall:
    """A call as a model is to write it."""

    name: str
    arguments: str
    """JSON text of an object."""
    id: str = ""


class Family(Protocol):
    """A syntax of tool calls, with the reasoning marks that go with it."""

    name: str
    """As the settings name it: "hermes", "mistral", "harmony"."""
    controls: frozenset[str]
    """Texts of control tokens that the parser needs to see; engines hide the others."""

    def matches(self, template: str, control_texts: Collection[str]) -> bool:
        """Whether a model with this chat template and these control tokens writes so."""
        ...

    def open_parser(self, tools: Sequence[Tool], *, rendered_end: str = "") -> Parser:
        """Makes the parser of one answer.

        Args:
            tools: those that were offered; with none, nothing is read as a call, only reasoning is told apart.
            rendered_end: how the prompt ends; an answer to one that ends inside a thought begins in it.
        """
        ...

    def grammar(self, tools: Sequence[Tool], *, parallel: bool, thinks: bool) -> str:
        """Writes the Lark grammar (of llguidance) of an answer that calls one of these tools, or with `parallel` several.

        Args:
            tools: those that may be called; arguments are held by `%json {schema}`.
            parallel: whether several calls may follow one another.
            thinks: whether a thought may stand before the first call.
        """
        ...

    def triggers(self) -> tuple[str, ...]:
        """The texts behind which `call_grammar` holds; () where an answer that is free to call cannot be held."""
        ...

    def call_grammar(self, tools: Sequence[Tool]) -> str:
        """Writes the Lark grammar of what stands behind a trigger."""
        ...

    def write(self, calls: Sequence[WrittenCall], *, text: str = "", reasoning: str = "") -> str:
        """Writes an answer as a model of the family does, control tokens as their texts; the scripted engine speaks so."""
        ...
