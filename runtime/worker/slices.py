"""How much of a new prompt is computed beside running answers, and whose prompt comes first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from .draft.cost import TILE_TOKENS

LEAST_SLICE = 16
"""Fewer prompt tokens in a step cost more in overhead than they spare the others."""
WELL_KNOWN_STEPS = 16
EVERY_STEPS = 4
_NEWEST = 0.3
"""How much the newest measurement counts."""


class Prompt(Protocol):
    """A prompt that is not computed yet, or not wholly."""

    @property
    def pending(self) -> int:
        """How many of its tokens are left."""
        ...

    @property
    def since_s(self) -> float:
        """When it came, by `time.monotonic`."""
        ...


Waiting = TypeVar("Waiting", bound=Prompt)


class Slices:
    """Learns how fast this machine computes, and cuts prompts so that a step stays under its target.

    Args:
        target_s: how long a step may take that answers wait for.
        most: the most tokens of one step.
    """

    def __init__(self, *, target_s: float, most: int) -> None:
        self._target_s = target_s
        self._most = most
        self._prefill_s = 0.0
        """Seconds for one prompt token, in whatever steps there were of late; 0 until one was computed."""
        self._decode_s: dict[int, float] = {}
        """Seconds for a step of nothing but so many answers' tokens."""

    @property
    def prefill_tps(self) -> float | None:
        """Prompt tokens per second, as last seen; None before the first prompt."""
        return 1 / self._prefill_s if self._prefill_s else None

    def size(self, decode_tokens: int) -> int:
        """How many prompt tokens fit into a step beside so many tokens of answers.

        A prompt that nobody waits beside is cut by the batch alone, never by the clock.
        """
        if not decode_tokens:
            return self._most
        if not self._prefill_s:
            return LEAST_SLICE
        part = max(LEAST_SLICE, int((self._target_s - self._expected_s(decode_tokens)) / self._prefill_s))
        rows = (decode_tokens + part) // TILE_TOKENS * TILE_TOKENS
        return min(self._most, rows - decode_tokens if rows - decode_tokens >= LEAST_SLICE else part)

    def order(self, prompts: Iterable[Waiting], now_s: float) -> list[Waiting]:
        """The prompt that is finished soonest comes first, and each gains by as long as it has waited."""
        return sorted(prompts, key=lambda prompt: prompt.pending * (self._prefill_s or 0.001) - (now_s - prompt.since_s))

    def note(self, *, decode_tokens: int, prefill_tokens: int, took_s: float) -> None:
        """Learns from a step."""
        if not prefill_tokens:
            self._decode_s[decode_tokens] = _blend(self._decode_s.get(decode_tokens), took_s)
        elif prefill_tokens >= LEAST_SLICE:
            alone_s = took_s - self._expected_s(decode_tokens)
            # A step is never all answers: what was expected of them may be out of date.
            each_s = max(alone_s, took_s * prefill_tokens / (prefill_tokens + decode_tokens) / 2) / prefill_tokens
            self._prefill_s = _blend(self._prefill_s or None, each_s)

    def _expected_s(self, decode_tokens: int) -> float:
        if not decode_tokens or not self._decode_s:
            return 0.0
        nearest = min(self._decode_s, key=lambda count: abs(count - decode_tokens))
        return self._decode_s[nearest] + max(0, decode_tokens - nearest) * self._prefill_s


class Attention:
    """Says which steps are worth to learn from: taking one in takes time too, and of many alike a few will do."""

    def __init__(self) -> None:
        self._decode_tokens = self._steps = 0

    def is_due(self, *, decode_tokens: int, prefill_tokens: int) -> bool:
        """Counts a step."""
        if prefill_tokens or decode_tokens != self._decode_tokens:
            self._decode_tokens, self._steps = 0 if prefill_tokens else decode_tokens, 0
        self._steps += 1
        return self._steps <= WELL_KNOWN_STEPS or self._steps % EVERY_STEPS == 0


def _blend(before: float | None, newest: float) -> float:
    return newest if before is None else before + _NEWEST * (newest - before)
