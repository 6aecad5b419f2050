"""What a generation answers.

The order for every request: one `Admitted`, then `TextDelta`s of its choices in any interleaving, then one `Finished`
per choice. A generation that goes wrong raises an error of `errors.py` instead, at any point.
"""

from __future__ import annotations

from typing import Literal

import msgspec

FinishReason = Literal["stop", "length"]
"""`stop`: the model ended or a stop string was met. `length`: max_tokens or the context is used up."""


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


class Finished(msgspec.Struct, frozen=True):
    """The last event of a choice."""

    index: int
    reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    """How many prompt tokens were not computed again."""
    prefill_s: float = 0.0
    decode_s: float = 0.0


Event = Admitted | TextDelta | Finished
