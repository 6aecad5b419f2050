"""Rests between steps, so that a machine that gets too hot computes at a rate that it can keep up."""

from __future__ import annotations

LONGEST_REST_S = 2.0
"""A rest ends by itself even after a very long step, and before anybody takes the engine for dead."""


class Pace:
    """Says how long to rest after a step; times are of `time.monotonic`.

    Args:
        prefill_duty: the share of the time that steps with prompts may take, above 0 and up to 1.
        decode_duty: the same for steps that only answer.
    """

    def __init__(self, *, prefill_duty: float, decode_duty: float) -> None:
        self._prefill_duty = prefill_duty
        self._decode_duty = decode_duty
        self._until_s = 0.0

    def note_step(self, *, prefill: bool, took_s: float, now_s: float) -> None:
        """Takes in that a step just ended; the rest after it is as long as its duty asks for."""
        duty = self._prefill_duty if prefill else self._decode_duty
        self._until_s = now_s + min(LONGEST_REST_S, took_s * (1 / duty - 1))

    def wait_s(self, now_s: float) -> float:
        """How long the rest still lasts; 0 where it is over."""
        return max(0.0, self._until_s - now_s)
