"""One generation of an engine that only computes."""

from __future__ import annotations

import time
from collections import deque
from typing import Generic

from ...request import Adapter, GenerateRequest
from ..draft.guesser import Guesser
from ..prefix.store import Hit
from ..sampling.sampler import Sampler
from .runner import S

USUAL_ANSWER_TOKENS = 64
"""Most answers are at least as long, where the request allows it."""


class Sequence(Generic[S]):
    """A generation's tokens, and what was computed of them."""

    def __init__(
        self, number: int, tokens: list[int], sampler: Sampler, request: GenerateRequest, *, room: int, shown: frozenset[int]
    ) -> None:
        self.number = number
        self.state: S | None = None
        """None while it waits for room."""
        self.tokens = tokens
        """Prompt and reply; the newest one of a reply is computed in the next step."""
        self.prompt_tokens = len(tokens)
        self.sampler = sampler
        self.shown = shown
        """Control tokens whose texts belong to its answer."""
        self.top_logprobs = request.top_logprobs
        self.cached = request.cache_prompt
        """Whether it takes over what others computed, and leaves its own to them."""
        self.adapters: tuple[Adapter, ...] = request.adapters
        self.repeatable = request.sampling.seed is not None and request.sampling.temperature > 0
        """Whether the same request is to give the same text again, as far as other requests allow."""
        self.max_tokens = request.max_tokens
        self.room = room
        """How many tokens prompt and reply may have together."""
        self.since_s = time.monotonic()
        self.held = False
        self.hits: deque[Hit] | None = None
        """Kept states that are still to be put in; None before they were looked for."""
        self.ram_tokens = 0
        self.disk_tokens = 0
        self.began = False
        """Whether it was said where its prompt comes from."""
        self.marks: deque[int] = deque()
        """Where its state is to be kept on the way, in rising order; only where states cannot be cut."""
        self.guesser: Guesser | None = None
        """None where nothing is guessed ahead."""
        self.guess: list[int] = []
        """What is checked in the running step."""

    @property
    def computed(self) -> int:
        """How many of its tokens are computed."""
        return 0 if self.state is None else self.state.length

    @property
    def pending(self) -> int:
        """How many tokens must be computed before the next one can be chosen."""
        return len(self.tokens) - self.computed

    @property
    def answering(self) -> bool:
        """Whether its prompt is computed, and only the newest token of its answer is not."""
        return len(self.tokens) > self.prompt_tokens and self.pending == 1

    @property
    def expected_tokens(self) -> int:
        """How long it will surely, or probably, be."""
        answer = USUAL_ANSWER_TOKENS if self.max_tokens is None else min(self.max_tokens, USUAL_ANSWER_TOKENS)
        return max(len(self.tokens), self.prompt_tokens + answer)
