"""What is known of a family of models: how its answers are read, and how it is held to call a tool."""

from __future__ import annotations

import json
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
    marks: ClassVar[tuple[str, ...]] = ()
    """All texts of its syntax that may be tokens of their own."""
    signs: ClassVar[tuple[str, ...]] = ()
    """Texts that the chat template of such a model holds, or its control tokens: all of them."""
    parser: ClassVar[ParserType]
    own_thoughts: ClassVar[ThoughtMarks | None] = None

    def __init__(self, thoughts: ThoughtMarks | None = None) -> None:
        self.thoughts = thoughts or self.own_thoughts
        around = (self.thoughts.open.strip(), self.thoughts.close.strip()) if self.thoughts else ()
        self.controls = frozenset((*self.marks, *around))
        """Texts that the parser needs to see where they are control tokens; engines hide the others."""

    @classmethod
    def matches(cls, template: str, control_texts: Collection[str]) -> bool:
        """Whether a model with this chat template and these control tokens writes so."""
        return bool(cls.signs) and all(sign in template or sign in control_texts for sign in cls.signs)

    def open_parser(self, tools: Sequence[Tool], *, rendered_end: str = "") -> Parser:
        """Makes the parser of one answer.

        Args:
            tools: those that were offered; with none, nothing is read as a call, only reasoning is told apart.
            rendered_end: how the prompt ends; an answer to one that ends inside a thought begins in it.
        """
        return type(self).parser(tools, self.thoughts, rendered_end)

    def grammar(self, tools: Sequence[Tool], *, parallel: bool, thinks: bool, rendered_end: str = "") -> str:
        """Writes the Lark grammar of an answer that calls one of these tools, or with `parallel` several.

        It is llguidance's, with two words more: `%mark "text"` is that text, or the control token of that text where the
        vocabulary has one, also for a part of it; `%until "text"` is anything up to and with it.

        Args:
            tools: those that may be called; arguments are held by `%json {schema}`.
            parallel: whether several calls may follow one another.
            thinks: whether a thought may stand before the first call.
            rendered_end: how the prompt ends; an answer to one that ends inside a thought begins in it.
        """
        start = self.start("calls", thinks=thinks, rendered_end=rendered_end)
        return f"{start}\n{self.call_rules(tools, parallel=parallel)}"

    def start(self, what: str, *, thinks: bool, rendered_end: str = "") -> str:
        """Writes the first rule of a grammar whose answer is `what`, behind a thought where there may be one; see `grammar`."""
        marks = self.thoughts
        if marks is None or not (thinks or marks.is_open(rendered_end)):
            return f"start: {what}"
        thought = f"%until {json.dumps(marks.close)} /\\n{{0,2}}/"
        if marks.is_open(rendered_end):
            return f"start: {thought} {what}"
        mark, _, rest = marks.open.partition("\n")
        opening = f"%mark {json.dumps(mark)}" + (r' "\n"' if rest or "\n" in marks.open else "")
        return f"start: thought? {what}\nthought: {opening} {thought}"

    @abstractmethod
    def call_rules(self, tools: Sequence[Tool], *, parallel: bool) -> str:
        """Writes the rules of `calls`, the whole of one call or, with `parallel`, of several; see `grammar`."""

    @abstractmethod
    def triggers(self) -> tuple[str, ...]:
        """The texts behind which `call_grammar` holds; () where an answer that is free to call cannot be held."""

    @abstractmethod
    def call_grammar(self, tools: Sequence[Tool]) -> str:
        """Writes the grammar of what stands behind a trigger, as `grammar` does."""

    @abstractmethod
    def write(self, calls: Sequence[WrittenCall], *, text: str = "", reasoning: str = "") -> str:
        """Writes an answer as a model of the family does, control tokens as their texts; the scripted engine speaks so."""
