"""What is known of a family of models: how its answers are read, and how it is held to call a tool."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from ...request import Tool
from .pieces import Parser
from .thoughts import ThoughtMarks


@dataclass(frozen=True, slots=True)
class WrittenCall:
    """A call as a model is to write it."""

    name: str
    arguments: str
    """JSON text of an object."""
    id: str = ""


class ParserType(Protocol):
    """Makes parsers of one syntax; the class of them is one."""

    def __call__(self, tools: Sequence[Tool], thoughts: ThoughtMarks | None, rendered_end: str = "") -> Parser:
        """Makes the parser of one answer."""
        ...


class Family(ABC):
    """A syntax of tool calls, with the marks that a model puts around its thoughts.

    Args:
        thoughts: those marks; None takes the family's own, if it has any.
    """

    name: ClassVar[str]
    """As the settings name it: "hermes", "mistral", "harmony"."""
    controls: ClassVar[frozenset[str]] = frozenset()
    """Texts of control tokens that the parser needs to see besides those around thoughts; engines hide the others."""
    parser: ClassVar[ParserType]
    own_thoughts: ClassVar[ThoughtMarks | None] = None

    def __init__(self, thoughts: ThoughtMarks | None = None) -> None:
        self.thoughts = thoughts or self.own_thoughts

    @staticmethod
    @abstractmethod
    def matches(template: str, control_texts: Collection[str]) -> bool:
        """Whether a model with this chat template and these control tokens writes so."""

    def open_parser(self, tools: Sequence[Tool], *, rendered_end: str = "") -> Parser:
        """Makes the parser of one answer.

        Args:
            tools: those that were offered; with none, nothing is read as a call, only reasoning is told apart.
            rendered_end: how the prompt ends; an answer to one that ends inside a thought begins in it.
        """
        return type(self).parser(tools, self.thoughts, rendered_end)

    @abstractmethod
    def grammar(self, tools: Sequence[Tool], *, parallel: bool, thinks: bool) -> str:
        """Writes the Lark grammar (of llguidance) of an answer that calls one of these tools, or with `parallel` several.

        Args:
            tools: those that may be called; arguments are held by `%json {schema}`.
            parallel: whether several calls may follow one another.
            thinks: whether a thought may stand before the first call.
        """

    @abstractmethod
    def triggers(self) -> tuple[str, ...]:
        """The texts behind which `call_grammar` holds; () where an answer that is free to call cannot be held."""

    @abstractmethod
    def call_grammar(self, tools: Sequence[Tool]) -> str:
        """Writes the Lark grammar of what stands behind a trigger."""

    @abstractmethod
    def write(self, calls: Sequence[WrittenCall], *, text: str = "", reasoning: str = "") -> str:
        """Writes an answer as a model of the family does, control tokens as their texts; the scripted engine speaks so."""
