"""What keeps a model from repeating itself."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ...request import Sampling
from ..vocabulary import Vocabulary

_LONGEST_MATCH = 512
"""A stretch of so many tokens has been penalised beyond any other score long ago."""
_MOST_EXPONENT = 80.0


class Repetition:
    """Penalties on tokens that were written lately, as often as they were."""

    def __init__(self, sampling: Sampling, last_n: int) -> None:
        self._repeat = sampling.repeat_penalty
        self._frequency = sampling.frequency_penalty
        self._presence = sampling.presence_penalty
        self._last: deque[int] = deque(maxlen=last_n)
        self._counts: Counter[int] = Counter()

    @classmethod
    def open(cls, sampling: Sampling, context_length: int, prompt: Sequence[int], controls: Collection[int]) -> Self | None:
        """Makes one that saw the prompt; None where nothing is penalised.

        Control tokens of the prompt are no repetition: a penalty on them would keep the model from ending.
        """
        last_n = context_length if sampling.repeat_last_n < 0 else min(sampling.repeat_last_n, context_length)
        if last_n == 0 or (sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty) == (1, 0, 0):
            return None
        penalty = cls(sampling, last_n)
        for token in prompt[-last_n:]:
            if token not in controls:
                penalty.note(token)
        return penalty

    def note(self, token: int) -> None:
        """Takes a token in; the oldest one leaves where there are too many."""
        if len(self._last) == self._last.maxlen:
            oldest = self._last[0]
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]
        self._last.append(token)
        self._counts[token] += 1

    def apply(self, scores: NDArray[np.float32]) -> None:
        """Lowers, in place, the scores of tokens that were written; scores have shape (vocabulary size,)."""
        if not self._counts:
            return
        ids = np.fromiter(self._counts.keys(), np.intp, len(self._counts))
        counts = np.fromiter(self._counts.values(), np.float32, len(self._counts))
        found = scores[ids]
        found = np.where(found <= 0, found * self._repeat, found / self._repeat)
        scores[ids] = found - counts * self._frequency - self._presence


class DryPenalty:
    """A penalty on tokens that would go on with a stretch that stands earlier in the text (DRY).

    It grows with the stretch's length: multiplier * base ** (length - allowed length).
    """

    def __init__(self, sampling: Sampling, last_n: int, breaks: frozenset[int]) -> None:
        self._multiplier = sampling.dry_multiplier
        self._base = sampling.dry_base
        self._allowed = sampling.dry_allowed_length
        self._breaks = breaks
        self._last: deque[int] = deque(maxlen=last_n)

    @classmethod
    def open(cls, sampling: Sampling, context_length: int, prompt: Sequence[int], vocabulary: Vocabulary) -> Self | None:
        """Makes one that saw the prompt; None where nothing is penalised.

        A token that holds one of the sequence breakers ends every stretch.
        """
        last_n = context_length if sampling.dry_penalty_last_n < 0 else min(sampling.dry_penalty_last_n, context_length)
        if last_n == 0 or sampling.dry_multiplier == 0:
            return None
        breakers = [text.encode("utf-8", "replace") for text in sampling.dry_sequence_breakers if text]
        breaks = frozenset(
            token for token in range(vocabulary.size) if any(text in vocabulary.bytes_of(token) for text in breakers)
        )
        penalty = cls(sampling, last_n, breaks)
        penalty._last.extend(prompt[-last_n:])
        return penalty

    def note(self, token: int) -> None:
        """Takes a token in."""
        self._last.append(token)

    def apply(self, scores: NDArray[np.float32]) -> None:
        """Lowers, in place, the scores of tokens that would repeat; scores have shape (vocabulary size,)."""
        for token, length in self._matches().items():
            if length >= self._allowed:
                exponent = min(float(length - self._allowed), _MOST_EXPONENT)
                scores[token] -= np.float32(min(self._multiplier * self._base**exponent, 1e30))

    def _matches(self) -> dict[int, int]:
        """For each token that followed an earlier copy of the text's end: how long the longest such copy is."""
        tokens = list(self._last)
        found: dict[int, int] = {}
        if not tokens or tokens[-1] in self._breaks:
            return found
        newest = tokens[-1]
        for at in range(len(tokens) - 1):
            if tokens[at] != newest:
                continue
            length = 1
            while (
                length < _LONGEST_MATCH
                and length <= at
                and tokens[at - length] == tokens[-1 - length]
                and tokens[at - length] not in self._breaks
            ):
                length += 1
            following = tokens[at + 1]
            found[following] = max(found.get(following, 0), length)
        return found
