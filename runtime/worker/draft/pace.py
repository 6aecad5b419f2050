"""How many tokens a sequence guesses ahead, by what guessing gave so far."""

from __future__ import annotations

from collections.abc import Mapping

from .cost import TILE_TOKENS, StepCost

LOOKUP_CHANCES = {
    0: 0.1, 1: 0.15, 2: 0.25, 3: 0.35, 4: 0.45, 5: 0.55, 7: 0.65, 10: 0.75, 16: 0.85, 24: 0.92, 40: 0.97
}  # fmt: skip
"""How often a guess by lookup is taken to be right before the sequence has shown its own numbers, by how many tokens before it
agree: each level begins at its key. Lower than in edits of source files, where levels from 10 on come to 0.93 to 0.995: guesses
are judged whether they are made or not, so a text that does repeat what is known shows that within some ten tokens, and in
one that does not, nothing was lost."""
MODEL_CHANCES = {0: 0.6, 3: 0.75}
"""The same for the guesses of a model, by how many of its guesses in a row were right."""
PRIOR_GUESSES = 4.0
"""What is assumed weighs as much as so many guesses."""
MEMORY_GUESSES = 48.0
"""So many guesses of a level are remembered, the older ones less and less."""
LEAST_GAIN = 1.04
"""What a guess must be expected to gain; below, the uncertainty of the numbers outweighs it."""
STRETCH = 1.5
"""A step that others share may be so much longer by guesses, whatever the limit."""
LEAST_PATIENCE = 32
MOST_PATIENCE = 256
"""Steps without a guess before the next trial."""
TRIAL_CHANCE = 0.5
"""A whole tile is tried once where it is so probable that all of it holds: its cost does not show in that of smaller steps."""
HOPELESS = 0.02
"""Tokens behind ones that so seldom hold are not worth the thought."""


class Pace:
    """Chooses the number of guesses with which the most tokens per second are expected.

    Whether a guess is right is learnt for each level of agreement before it. The cost of a longer step comes from the
    engine's measured steps. Where guesses are known without being checked by the engine (`learn`), nothing is lost while
    they do not pay; where they cost (`note`), one is tried now and then, ever more seldom, and again as long as it is right.
    """

    def __init__(self, most: int, cost: StepCost, *, chances: Mapping[int, float] = LOOKUP_CHANCES) -> None:
        self._most = most
        self._cost = cost
        self._highest = max(chances)
        self._level_of = [sum(begin <= agreement for begin in chances) - 1 for agreement in range(self._highest + 1)]
        self._right = [PRIOR_GUESSES * chances[begin] for begin in sorted(chances)]
        self._made = [PRIOR_GUESSES] * len(chances)
        self._run = 0
        self._silent = 0
        self._patience = LEAST_PATIENCE
        self._probes = False

    def wanted(
        self, *, others: int = 0, agreement: int | None = None, limit_s: float | None = None, token_s: float = 0.0
    ) -> int:
        """Says how many tokens to guess now; 0 is none.

        Args:
            others: tokens of other sequences in the same step.
            agreement: how many tokens before the guess agree; None counts the guesses in a row that were right, and guesses
                one token now and then where that does not pay.
            limit_s: how long a step may take that others wait for.
            token_s: what making each guess takes, besides checking it.
        """
        guess_cost = self._cost.in_units(token_s)
        if not self._cost.is_anchored(others + 1) or not self.could_pay(others=others, guess_cost=guess_cost):
            return 0
        level = self._run if agreement is None else agreement
        count = self._best(others, level, self._longest(others, limit_s), guess_cost)
        if agreement is not None:
            return count
        self._probes = count == 0
        if count:
            self._silent, self._patience = 0, LEAST_PATIENCE
            return count
        self._silent += 1
        if self._silent < self._patience:
            return 0
        self._silent = 0
        return 1

    def could_pay(self, *, others: int = 0, guess_cost: float = 0.0) -> bool:
        """Whether guesses would gain anything if all of them were right."""
        plain = self._cost.relative(others + 1)
        return self._most > 0 and any(
            (others + 1 + count) * plain
            > LEAST_GAIN * (others + 1) * (self._cost.relative(others + 1 + count) + count * guess_cost)
            for count in (1, self._most)
        )

    def learn(self, right: bool, agreement: int) -> None:
        """Takes in one guess, whether the engine checked it or it was just compared with what came."""
        level = self._level_of[min(agreement, self._highest)]
        keep = 1 - 1 / MEMORY_GUESSES
        self._right[level] = keep * self._right[level] + right
        self._made[level] = keep * self._made[level] + 1

    def note(self, drafted: int, accepted: int) -> None:
        """Takes in what became of a guess of several tokens."""
        for _ in range(accepted):
            self.learn(True, self._run)
            self._run += 1
        if accepted < drafted:
            self.learn(False, self._run)
            self._run = 0
        if drafted and self._probes:
            if accepted:
                self._silent = self._patience
            else:
                self._patience = min(2 * self._patience, MOST_PATIENCE)

    def _best(self, others: int, agreement: int, longest: float, guess_cost: float) -> int:
        relative = self._cost.relative
        best, best_rate = 0, LEAST_GAIN * (others + 1) / relative(others + 1)
        gain, chance = others + 1.0, 1.0
        for count in range(1, self._most + 1):
            level = self._level_of[min(agreement, self._highest)]
            chance *= self._right[level] / self._made[level]
            gain += chance
            agreement += 1
            cost = relative(others + 1 + count)
            if chance < HOPELESS or cost > longest:
                break
            if (rate := gain / (cost + count * guess_cost)) > best_rate:
                best, best_rate = count, rate
            if best and others + 1 + count == TILE_TOKENS and chance > TRIAL_CHANCE and not self._cost.is_known(TILE_TOKENS):
                return count
        return best

    def _longest(self, others: int, limit_s: float | None) -> float:
        """The most that a step may cost."""
        if limit_s is None:
            return float("inf")
        return max(self._cost.in_units(limit_s), STRETCH * self._cost.relative(others + 1))
