"""What a generation answers.

The order for every request: one `Admitted`, then what its choices say in any interleaving, then one `Finished` per choice.
A choice says pieces of reasoning, of text and of tool calls, in this order as a rule; a tool call begins with `CallBegun`, the
`CallDelta`s that follow are its arguments, and it has ended when anything else comes. A generation that goes wrong raises an
error of `errors.py` instead, at any point.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

FinishReason = Literal["stop", "length", "tool_calls"]
"""`stop`: the model ended or a stop string was met. `length`: max_tokens or the context is used up. `tool_calls`: it ended, and
waits for what the tools say."""


class TopLogprob(msgspec.Struct, frozen=True, array_like=True):
    """One candidate at a position."""

    token_id: int
    text: bytes
    """The token's bytes; not always whole UTF-8."""
    logprob: float
    """Natural logarithm, before sampling stages."""


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    """The chosen token at a position and the likeliest ones there."""

    token_id: int
    text: bytes
    logprob: float
    top: tuple[TopLogprob, ...] = ()


MissCause = Literal["header", "timestamp", "tools", "system_prompt", "history", "evicted", "settings", "model_state", "unknown"]
"""Why a prompt was computed again: a line that changes every turn, a date or time, another list of tools, another system
prompt, an earlier turn that was rewritten, room that others needed, other model settings (adapters, cache off), a model whose
memory cannot be cut back at that place."""


class PrefixMiss(msgspec.Struct, frozen=True):
    """Where a prompt first differs from the closest one that was seen."""

    at: int
    """Index of the first token that differs, or from which on nothing was kept."""
    expected: str
    """The earlier prompt's text around that place; "" where it is the same text."""
    found: str
    """This prompt's text around it."""
    cause: MissCause
    why: str
    """A sentence for people."""


class PrefixReport(msgspec.Struct, frozen=True):
    """Where a prompt's tokens came from; the three counts add up to the prompt."""

    ram_tokens: int
    """Taken over from memory, of other sequences or kept states."""
    disk_tokens: int
    """Read from the disk."""
    computed_tokens: int
    miss: PrefixMiss | None = None
    """None where as much was reused as could be hoped for."""


class Admitted(msgspec.Struct, frozen=True):
    """The prompt is tokenised and has a place; nothing that is the caller's fault can follow."""

    model: str
    """The id that serves the request."""
    prompt_tokens: int
    context_length: int


class TextDelta(msgspec.Struct, frozen=True):
    """New text of one choice, from one token (several only where held-back text was released)."""

    index: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


class ReasoningDelta(msgspec.Struct, frozen=True):
    """New text of what the model thinks before it answers."""

    index: int
    text: str


class CallBegun(msgspec.Struct, frozen=True):
    """The model calls a tool."""

    index: int
    call: int
    """Number of the call within the choice, from 0."""
    id: str
    """Unique; the tool's result is sent back with it."""
    name: str


class CallDelta(msgspec.Struct, frozen=True):
    """New text of a call's arguments; all of a call's joined are a JSON object, unless the generation was cut."""

    index: int
    call: int
    text: str


class Finished(msgspec.Struct, frozen=True):
    """The last event of a choice."""

    index: int
    reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    """How many prompt tokens were not computed again."""
    prefix: PrefixReport | None = None
    """Where the prompt's tokens came from; None from engines that keep nothing."""
    draft_tokens: int = 0
    """How many tokens were guessed ahead."""
    accepted_tokens: int = 0
    """How many of these the model would have chosen itself, and so were kept."""
    prefill_s: float = 0.0
    decode_s: float = 0.0
    reasoning_tokens: int = 0
    """How many of the completion's tokens were reasoning."""
    stop_text: str | None = None
    """The stop string that was met, of those the caller gave."""


Spoken = TextDelta | ReasoningDelta | CallBegun | CallDelta
"""What a choice says."""

Event = Admitted | Spoken | Finished


def speaks(batch: Iterable[Event]) -> bool:
    """Whether a batch says anything but that its request was admitted."""
    return any(not isinstance(event, Admitted) for event in batch)
