"""A conversation as one model holds it: how it is written, how its answer is read, and what the answer is held to."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import cast

import msgspec

from ...request import ChatPrompt, Constraint, Thinking, Tool, ToolCall
from ..backends.backend import Refusal
from ..output.choice import choose_family
from ..output.pieces import Parser
from ..prompt import CHATML, CHATML_STOP, ChatTemplate, Segment, WrittenObject, read_arguments
from .needs import Needs, find_needs, rewrite
from .plain_tools import describe_tools, write_calls
from .spoken_arguments import SpokenArguments
from .wanted import choose_forms

_END_CHARACTERS = 4000
"""So much of a prompt's end tells whether a thought is open in it."""


@dataclass(frozen=True, slots=True)
class ThoughtLimit:
    """The thought that may stand before an answer, and how long it may be."""

    tokens: int | None
    """None is as long as it likes."""
    open: str
    """What begins one."""
    close: str
    """What ends it, and is written where the limit is reached."""
    begun: bool
    """Whether the answer begins inside of one."""


@dataclass(frozen=True, slots=True)
class Written:
    """A conversation, ready for an engine."""

    segments: list[Segment]
    parser: Parser | None = None
    """Reads the answer; None where all of it is text."""
    controls: frozenset[str] = frozenset()
    """Control tokens whose texts the parser needs to see."""
    forms: tuple[Constraint, ...] = ()
    """What the answer is held to: the first of these that can be held. () leaves it free."""
    needs_form: bool = False
    """Whether the request cannot be served where none of the forms can be held."""
    limit: ThoughtLimit | None = None
    """None for a model that has no marks for thoughts."""


@dataclass
class Conversation:
    """Writes conversations for one model.

    Args:
        source: its chat template in Jinja; None where it has none, and conversations are written as ChatML.
        bos: the text of the beginning-of-sequence token, or "".
        eos: the same for the end.
        control_texts: every control token's text.
        sees: whether the model takes pictures.
        family: the name of its syntax of calls; "auto" finds it out.
    """

    source: str | None
    bos: str = ""
    eos: str = ""
    control_texts: Collection[str] = ()
    sees: bool = False
    family_name: str = "auto"
    arguments: SpokenArguments = field(default_factory=SpokenArguments)

    def __post_init__(self) -> None:
        self._template = ChatTemplate(
            self.source or CHATML, bos=self.bos, eos=self.eos, control_texts=list(self.control_texts), sees=self.sees
        )
        self.family = choose_family(self.source or "", self.control_texts, self.family_name)
        self.stop = (CHATML_STOP,) if self.source is None else ()
        """Stop strings that the form of conversations asks for."""
        self._needs: Needs | None = None
        self._switches: bool | None = None

    @property
    def about(self) -> str:
        """Says where the template comes from, or what is wrong with it."""
        if self._template.problem:
            return self._template.problem
        return "the model's own" if self.source else "none in the file; messages are written as ChatML"

    @property
    def needs(self) -> Needs:
        """What the template cannot take; tried when it is asked for first."""
        if self._needs is None:
            self._needs = find_needs(self._template.attempt)
        return self._needs

    @property
    def knows_tools(self) -> bool:
        """Whether the template itself describes tools and writes calls."""
        return self.needs.tools_native and self.needs.calls_native

    @property
    def thinks(self) -> bool:
        """Whether the model's template knows thoughts."""
        marks = self.family.thoughts
        return marks is not None and (marks.open.strip() in (self.source or "") or marks.close.strip() in (self.source or ""))

    def write(self, prompt: ChatPrompt, constraint: Constraint | None = None, *, split: bool = True) -> Written:
        """Writes a conversation; raises Refusal where the template does not take it.

        Args:
            prompt: the conversation.
            constraint: what form the answer's text must have.
            split: whether reasoning and calls are told apart in the answer.
        """
        # Where calls can be kept from coming, tools are described all the same: the prompt begins as the turns before it, and
        # what was computed for them is found.
        tools = prompt.tools if prompt.tool_mode != "none" or self.family.triggers() else ()
        segments = self._render_somehow(prompt, tools)
        end = "".join(segment.text for segment in segments[-8:])[-_END_CHARACTERS:]
        thinks = self.thinks and prompt.thinking.enabled is not False
        forms, needs_form = choose_forms(self.family, prompt, tools, constraint, thinks=thinks, end=end)
        parser = None
        read = () if prompt.tool_mode == "none" else tools
        if split and (read or self.thinks):
            parser = self.arguments.listen(self.family.open_parser(read, rendered_end=end))
        return Written(
            segments,
            parser,
            self.family.controls if parser is not None else frozenset(),
            forms,
            needs_form,
            self._limit(prompt.thinking, end),
        )

    def _render_somehow(self, prompt: ChatPrompt, tools: Sequence[Tool]) -> list[Segment]:
        """Describes tools in plain text where the template knows tools, but not such ones."""
        plain = bool(tools) and not self.knows_tools
        try:
            return self._render(prompt, tools, plain=plain)
        except Refusal:
            if plain or not tools:
                raise
            try:
                return self._render(prompt, tools, plain=True)
            except Refusal:
                pass
            raise

    def _render(self, prompt: ChatPrompt, tools: Sequence[Tool], *, plain: bool) -> list[Segment]:
        messages = prompt.messages
        if plain or not self.needs.calls_native:
            messages = write_calls(messages, self.family, self._written)
        if plain:
            messages = describe_tools(messages, tools, self.family)
        return self._template.render(
            rewrite(messages, self.needs),
            tools=() if plain else tools,
            options=_options(prompt.thinking) | _decoded(prompt.template_options),
            arguments=self._argument_value if self.needs.arguments else self._written,
            continues=prompt.continues,
        )

    def _written(self, call: ToolCall) -> str:
        """Gives a call's arguments as the model wrote them, else as the client did."""
        return self.arguments.find(call.name, call.arguments) or call.arguments or "{}"

    def _argument_value(self, call: ToolCall) -> object:
        """Gives a call's arguments as the object that templates want, which they write as JSON themselves."""
        text = self.arguments.find(call.name, call.arguments)
        if text is not None:
            return WrittenObject(cast("dict[str, object]", json.loads(text)), text)
        value = read_arguments(call) if call.arguments else dict[str, object]()
        # What is no JSON is shown as it was written, by templates that write JSON; others get it under a name.
        if isinstance(value, dict):
            return cast("dict[str, object]", value)
        return WrittenObject({"arguments": call.arguments}, call.arguments)

    def _limit(self, thinking: Thinking, end: str) -> ThoughtLimit | None:
        marks = self.family.thoughts
        if marks is None:
            return None
        tokens = thinking.budget_tokens
        if thinking.enabled is False and not self._switches_thoughts:
            tokens = 0
        return ThoughtLimit(tokens, marks.open, marks.close, marks.is_open(end))

    @property
    def _switches_thoughts(self) -> bool:
        """Whether the template writes something else where thinking is switched off."""
        if self._switches is None:
            word: list[dict[str, object]] = [{"role": "user", "content": "zq"}]
            on, off = (self._template.attempt(word, None, _options(Thinking(enabled=enabled))) for enabled in (True, False))
            self._switches = on != off
        return self._switches


def _options(thinking: Thinking) -> dict[str, object]:
    """Says how much is thought, by the names that templates have for it; what is not said is not defined."""
    options: dict[str, object] = {}
    if thinking.enabled is not None:
        options |= {"enable_thinking": thinking.enabled, "thinking": thinking.enabled}
    if thinking.effort is not None:
        options["reasoning_effort"] = thinking.effort
    if thinking.budget_tokens is not None:
        options["thinking_budget"] = thinking.budget_tokens
    return options


def _decoded(options: dict[str, msgspec.Raw]) -> dict[str, object]:
    return {name: msgspec.json.decode(raw) for name, raw in options.items()}
