"""What the answers of a step guess ahead, by lookup or by a draft model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ...frames import LoadOptions
from ...request import GenerateRequest
from .cost import StepCost
from .drafter import Drafter, DraftWant
from .guesser import Guesser

MOST_CHECKED = 64
"""How many guessed tokens a step may check."""


class GuessingSampler(Protocol):
    """What chooses a sequence's tokens."""

    @property
    def may_draft(self) -> bool:
        """Whether guessing ahead can pay."""
        ...

    def draft_prefix(self, tokens: Sequence[int]) -> int:
        """Counts how many tokens of a guess may be chosen at all."""
        ...


class Guessing(Protocol):
    """A sequence that may guess."""

    number: int
    tokens: list[int]
    room: int
    """How many tokens prompt and reply may have together."""
    repeatable: bool
    """Whether the same request is to give the same text again."""
    guesser: Guesser | None
    guess: list[int]
    """What is checked in the running step."""

    @property
    def sampler(self) -> GuessingSampler:
        """What chooses its tokens."""
        ...


class Guesses:
    """Fills in each answer's guess before a step.

    Args:
        options: whether, by whom and how many tokens are guessed.
        drafter: a smaller model that guesses where lookup has no guess; None is lookup alone.
        cuttable: whether the model that checks them can forget the wrong ones; if not, nothing is guessed.
        spare: how many guessed tokens a step can check.
        limit_s: how long a step may take that others wait for.
    """

    def __init__(
        self, options: LoadOptions, drafter: Drafter | None, *, cuttable: bool, spare: int = MOST_CHECKED, limit_s: float
    ) -> None:
        self._most = options.draft_tokens if options.draft != "off" and cuttable else 0
        self._spare = spare
        self._drafter = drafter
        self._limit_s = limit_s
        self._cost = StepCost()

    def begin(self, sequence: Guessing, request: GenerateRequest) -> None:
        """Gives a new sequence its guesser, where guessing may pay and cannot be seen in what a seed gives."""
        most = min(self._spare, self._most if request.draft_tokens is None else request.draft_tokens)
        if self._most and most > 0 and not sequence.repeatable:
            sequence.guesser = Guesser(most, self._cost, model=self._drafter is not None)

    def fill(self, answering: Sequence[Guessing], room: int) -> None:
        """Guesses for all answers of a step.

        Args:
            answering: the sequences that get their next token in it.
            room: how many guessed tokens the batch can take.
        """
        room = min(room, self._spare)
        tokens = len(answering)
        wants: list[tuple[Guessing, DraftWant]] = []
        for sequence in answering:
            sequence.guess = []
            guesser = sequence.guesser
            most = min(room, sequence.room - len(sequence.tokens) - 1)
            if guesser is None or most <= 0 or not sequence.sampler.may_draft:
                continue
            limit_s = self._limit_s if len(answering) > 1 else None
            guess = guesser.guess(sequence.tokens, others=tokens - 1, room=most, limit_s=limit_s)
            if guess:
                sequence.guess = guess[: sequence.sampler.draft_prefix(guess)]
            elif self._drafter is not None:
                most = guesser.wanted(others=tokens - 1, room=most, limit_s=limit_s, token_s=self._drafter.token_s)
                if most > 0:
                    wants.append((sequence, DraftWant(sequence.number, sequence.tokens, most)))
                    room -= most
            tokens += len(sequence.guess)
            room -= len(sequence.guess)
        if wants and self._drafter is not None:
            guesses = self._drafter.draft_many([want for _, want in wants])
            for (sequence, _), guess in zip(wants, guesses, strict=True):
                sequence.guess = guess[: sequence.sampler.draft_prefix(guess)]
                if sequence.guesser is not None:
                    sequence.guesser.use(sequence.guess)

    def note_step(self, tokens: int, took_s: float) -> None:
        """Learns how long a step of nothing but answers took."""
        if self._most:
            self._cost.note(tokens, took_s)

    def drop(self, number: int) -> None:
        """Notes the end of a sequence."""
        if self._drafter is not None:
            self._drafter.drop(number)

    def close(self) -> None:
        """Frees the draft model."""
        if self._drafter is not None:
            self._drafter.close()
