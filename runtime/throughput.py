"""Tokens per second of each model over the last minutes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence


class Throughput:
    """Counts tokens in bins of one second, in a ring per model."""

    def __init__(self, *, window_s: int = 300, clock: Callable[[], float] = time.monotonic) -> None:
        self.window_s = window_s
        """How far back the rates go."""
        self._clock = clock
        self._bins: dict[str, list[int]] = {}
        self._second: dict[str, int] = {}

    def note(self, model: str, tokens: int) -> None:
        """Adds tokens to the current second."""
        now = int(self._clock())
        bins = self._advance(model, now)
        bins[now % len(bins)] += tokens

    def rates(self, model: str) -> Sequence[float]:
        """Gives tokens per second, one value a second, oldest first; the newest complete second is the last."""
        now = int(self._clock())
        bins = self._advance(model, now)
        size = len(bins)
        return [float(bins[second % size]) for second in range(now - self.window_s, now)]

    def models(self) -> Sequence[str]:
        """All models that ever handed out a token, in the order of their first."""
        return tuple(self._bins)

    def total(self) -> float:
        """Tokens of all models in the last complete second."""
        last = int(self._clock()) - 1
        total = 0
        for model in self._bins:
            bins = self._advance(model, last + 1)
            total += bins[last % len(bins)]
        return float(total)

    def _advance(self, model: str, now: int) -> list[int]:
        """Empties the bins of the seconds that passed since the model was last looked at."""
        bins = self._bins.get(model)
        if bins is None:
            bins = self._bins[model] = [0] * (self.window_s + 1)
            self._second[model] = now
            return bins
        size = len(bins)
        passed = now - self._second[model]
        for second in range(now - min(passed, size) + 1, now + 1):
            bins[second % size] = 0
        self._second[model] = max(now, self._second[model])
        return bins
