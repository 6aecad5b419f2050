"""One sequence's guesses: where they come from, how many, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence

from .cost import StepCost
from .lookup import Lookup
from .pace import MODEL_CHANCES, Pace

RESTLESS_STEPS = 24
"""After so many steps without a guess the text is taken to be new."""
NAP_STEPS = 3
"""Then so many steps pass before it is looked at again: that costs a repetition three guesses when it begins, and a new text
three quarters of what looking costs."""


class Guesser:
    """Guesses the next tokens of one sequence, as long as that pays.

    It sees every token, guessed or not: so what lookup would have guessed is judged even while nothing is guessed, and
    guessing begins the moment that the text starts to repeat what is known.
    """

    def __init__(self, most: int, cost: StepCost, *, model: bool = False) -> None:
        self._pace = Pace(most, cost)
        self._model_pace = Pace(most, cost, chances=MODEL_CHANCES) if model else None
        self._lookup: Lookup | None = None
        self._seen = 0
        self._guess: list[int] = []
        """What the model guessed for the step before."""
        self._silent_steps = 0
        self._nap = 0

    def guess(
        self, tokens: Sequence[int], *, others: int = 0, room: int | None = None, limit_s: float | None = None
    ) -> list[int]:
        """Guesses by lookup how a sequence goes on; nothing where that is unknown or would not pay.

        Args:
            tokens: all of the sequence: prompt and reply, and never fewer than the time before.
            others: tokens of other sequences in the same step, guessed ones too.
            room: the most tokens that the step can still take.
            limit_s: how long a step may take that others wait for.
        """
        if self._nap:
            self._nap -= 1
            return []
        lookup = self._follow(tokens)
        count = 0
        if self._pace.could_pay(others=others) and lookup.peek() is not None:
            count = self._pace.wanted(others=others, agreement=lookup.agreement, limit_s=limit_s)
        if count:
            self._silent_steps = 0
            return lookup.draft(_at_most(count, room))
        self._silent_steps += 1
        # What a model guessed is judged step by step.
        if self._silent_steps > RESTLESS_STEPS and self._model_pace is None:
            self._nap = NAP_STEPS
        return []

    def wanted(self, *, others: int = 0, room: int | None = None, limit_s: float | None = None, token_s: float = 0.0) -> int:
        """Says how many tokens a model should guess where lookup guessed none; 0 without a model.

        Args:
            others: tokens of other sequences in the same step, guessed ones too.
            room: the most tokens that the step can still take.
            limit_s: how long a step may take that others wait for.
            token_s: how long the model takes for each.
        """
        if self._model_pace is None:
            return 0
        return _at_most(self._model_pace.wanted(others=others, limit_s=limit_s, token_s=token_s), room)

    def use(self, guess: Sequence[int]) -> None:
        """Notes what the model guessed for this step, to be judged by the tokens that come."""
        self._guess = list(guess)

    def _follow(self, tokens: Sequence[int]) -> Lookup:
        """Takes in what the sequence got since the step before."""
        lookup = self._lookup
        if lookup is None:
            lookup = self._lookup = Lookup(tokens)
            self._seen = len(tokens)
            return lookup
        fresh = tokens[self._seen :]
        self._seen = len(tokens)
        for token in fresh:
            if (expected := lookup.expected) is not None:
                self._pace.learn(expected == token, lookup.agreement)
            lookup.append(token)
        if self._guess and self._model_pace is not None and fresh:
            right = 0
            while right < min(len(self._guess), len(fresh)) and self._guess[right] == fresh[right]:
                right += 1
            self._model_pace.note(len(self._guess), right)
        self._guess = []
        return lookup


def _at_most(count: int, room: int | None) -> int:
    return count if room is None else max(0, min(count, room))
