"""One generation inside the llama backend."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from ...request import Adapter, GenerateRequest
from ..draft.guesser import Guesser
from ..prefix.store import Hit
from .llama_picture import Picture
from .llama_sampler import Sampler

USUAL_ANSWER_TOKENS = 64
"""Most answers are at least as long, where the request allows it."""


class Generating:
    """A generation's tokens, and how many of them are in the cache."""

    def __init__(
        self,
        number: int,
        tokens: list[int],
        sampler: Sampler,
        request: GenerateRequest,
        *,
        room: int,
        pictures: tuple[Picture, ...] = (),
        shown: frozenset[int] = frozenset(),
    ) -> None:
        self.number = number
        self.slot = -1
        """The engine's number of it while it has a share of the cache; else -1."""
        self.tokens = tokens
        """Prompt and reply; the newest one of a reply is computed in the next step."""
        self.prompt_tokens = len(tokens)
        self.pictures = pictures
        """In its prompt, in order."""
        self.shown = shown
        """Control tokens whose texts belong to its answer."""
        self.sampler = sampler
        self.top_logprobs = request.top_logprobs
        self.cached = request.cache_prompt
        """Whether it takes over what others computed, and leaves its own to them."""
        self.adapters: tuple[Adapter, ...] = request.adapters
        self.repeatable = request.sampling.seed is not None and request.sampling.temperature > 0
        """Whether the same request is to give the same text again, as far as other requests allow: its batches then do not
        depend on what the cache holds, nor on the clock."""
        self.since_s = time.monotonic()
        self.in_cache = 0
        self.held = False
        self.max_tokens = request.max_tokens
        self.room = room
        """How many tokens prompt and reply may have together."""
        self.hits: deque[Hit] | None = None
        """Kept states that are still to be put into the cache; None before they were looked for."""
        self.ram_tokens = 0
        self.disk_tokens = 0
        self.began = False
        """Whether it was said where its prompt comes from."""
        self.marks: deque[int] = deque()
        """Where its state is to be kept on the way, in rising order; only for models whose cache cannot be cut back."""
        self.guesser: Guesser | None = None
        """None where nothing is guessed ahead."""
        self.guess: list[int] = []
        """What is checked in the running step."""

    @property
    def active(self) -> bool:
        """Whether it has a share of the cache; one that has not waits for room, and computes its tokens anew then."""
        return self.slot >= 0

    @property
    def pending(self) -> int:
        """How many tokens must be computed before the next one can be chosen."""
        return len(self.tokens) - self.in_cache

    @property
    def expected_tokens(self) -> int:
        """How many tokens will surely, or probably, be computed for it from here on."""
        answer = USUAL_ANSWER_TOKENS if self.max_tokens is None else min(self.max_tokens, USUAL_ANSWER_TOKENS)
        return self.pending + max(0, answer - (len(self.tokens) - self.prompt_tokens))

    @property
    def answering(self) -> bool:
        """Whether its prompt is computed, and only the newest token of its answer is not."""
        return len(self.tokens) > self.prompt_tokens and self.pending == 1

    @property
    def next_picture(self) -> Picture | None:
        """The first one that is not in the cache."""
        return next((picture for picture in self.pictures if picture.begin >= self.in_cache), None)

    @property
    def view(self) -> Part | None:
        """The picture whose turn it is: its cells are no tokens of the vocabulary, and cannot be in one batch with such."""
        picture = self.next_picture
        return Part(self, picture.count, 0, answers=False) if picture is not None and picture.begin == self.in_cache else None

    @property
    def stretch(self) -> int:
        """How many tokens are pending before the next picture, or at all."""
        picture = self.next_picture
        return self.pending if picture is None else picture.begin - self.in_cache

    def splits_picture(self, position: int) -> bool:
        """Whether a position is inside a picture, where nothing can begin or end."""
        return any(picture.holds(position) for picture in self.pictures)

    @property
    def computed(self) -> list[int]:
        """The tokens that are in the cache."""
        return self.tokens[: self.in_cache]


@dataclass(slots=True)  # made for each sequence in each step: a frozen one takes twice as long
class Part:
    """What the batch holds of one sequence."""

    sequence: Generating
    count: int
    first: int
    """The index of its first token in the batch."""
    answers: bool
    """Whether its prompt was computed before this step."""
