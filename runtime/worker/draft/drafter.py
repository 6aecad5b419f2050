"""What a small model has to do to guess for a larger one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

LEAST_PROBABILITY = 0.6
"""A guess ends before a token of which the small model itself is less sure."""
CATCH_UP_TOKENS = 256
"""So many tokens that it does not know yet are computed in one call, so that a long prompt does not keep others waiting."""
LEAST_SHARED = 32
"""Fewer tokens are computed sooner than taken over."""
SPEED_RATE = 0.2
FIRST_COMPARED = 5
"""As llama.cpp's common/speculative.cpp has it: vocabularies may differ in the first few tokens."""


@dataclass(frozen=True, slots=True)
class DraftWant:
    """What one sequence wants guessed."""

    number: int
    """The sequence's, unique while the process lives."""
    tokens: Sequence[int]
    """All of it: prompt and reply. Later calls only add to it."""
    most: int
    """The most tokens to guess."""


class Drafter(Protocol):
    """A small model with the larger one's vocabulary."""

    @property
    def token_s(self) -> float:
        """How long it takes for each token it guesses."""
        ...

    def draft_many(self, wants: Sequence[DraftWant]) -> list[list[int]]:
        """Guesses how sequences go on, each as far as it is sure enough; nothing for one that it does not know wholly yet."""
        ...

    def drop(self, number: int) -> None:
        """Notes the end of a sequence; an unknown one is ignored."""
        ...

    def close(self) -> None:
        """Frees everything."""
        ...
