"""What a step of the engine costs by the number of its tokens, as measured."""

from __future__ import annotations

import math
from bisect import bisect_left

PRIOR_SLOPE = 0.35
"""What each further token costs of a step with one, until it was measured: between a GPU's nearly nothing and the 0.3 to 0.6
of two CPU cores."""
PRIOR_SPAN = 4
"""The prior has a say until sizes so many tokens apart were measured."""
SCALE_RATE = 0.2
"""How fast all sizes together follow the machine: other load, a longer context."""
SHAPE_RATE = 0.05
"""How fast one size moves against the others at least."""
MOST_SURPRISE = math.log(2)
"""No single step counts as more than twice too slow or too fast."""
ANCHOR_NOTES = 256
"""What a step costs without guesses is measured anew after so many with."""
STALE_NOTES = 2000
"""A size that was not seen for so many steps is forgotten, so that one measured at a bad moment gets another chance."""
TILE_TOKENS = 64
"""Engines compute attention in tiles; llama.cpp on a CPU takes less time for 64 tokens than for 48, as only whole tiles go the
fast way (ggml/src/ggml-cpu/ops.cpp, ggml_compute_forward_flash_attn_ext_tiled)."""


class StepCost:
    """Learns how long steps take; shared by all sequences of a model.

    A step of n tokens is taken to last scale * shape(n). The scale follows quickly, the shape slowly, and only the shape
    decides whether a guess pays: a machine that is busy with other things slows down every size alike.
    """

    def __init__(self) -> None:
        self._log_scale: float | None = None
        self._groups: dict[int, _Group] = {}
        self._notes = 0
        self._nodes: list[tuple[float, float]] = []
        """The sizes that were measured and what they cost, in order."""
        self._known: dict[int, float] = {}
        """What was asked for since the last step: most steps ask for two or three sizes."""

    def note(self, tokens: int, step_s: float) -> None:
        """Takes in how long a step of so many tokens took."""
        if tokens < 1 or step_s <= 0:
            return
        self._notes += 1
        expected = self._interpolate(tokens)
        if self._log_scale is None:
            self._log_scale = math.log(step_s / expected)
        group = self._groups.get(group_of(tokens))
        if group is None:
            group = self._groups[group_of(tokens)] = _Group(float(tokens), math.log(expected))
        surprise = math.log(step_s / expected) - self._log_scale
        # A size's first step tells of itself, not of the machine.
        if group.notes:
            surprise = max(-MOST_SURPRISE, min(MOST_SURPRISE, surprise))
            self._log_scale += SCALE_RATE * surprise
        group.take(tokens, surprise, self._notes)
        self._forget()
        self._nodes = [(each.size, each.shape) for _, each in sorted(self._groups.items())]
        self._known.clear()

    def relative(self, tokens: int) -> float:
        """What a step of so many tokens costs; only ratios of these numbers mean something."""
        cost = self._known.get(tokens)
        if cost is None:
            cost = self._known[tokens] = self._interpolate(tokens)
        return cost

    def is_anchored(self, tokens: int) -> bool:
        """Whether a step of at most so many tokens was seen lately; without one, there is nothing to compare longer ones to."""
        return any(group.size <= tokens and self._notes - group.last_note < ANCHOR_NOTES for group in self._groups.values())

    def is_known(self, tokens: int) -> bool:
        """Whether steps of about so many tokens were measured."""
        return group_of(tokens) in self._groups

    def in_units(self, duration_s: float) -> float:
        """Gives a duration in the numbers of `relative`; 0 before the first step."""
        return 0.0 if self._log_scale is None else duration_s / math.exp(self._log_scale)

    def step_s(self, tokens: int) -> float | None:
        """How long a step of so many tokens will take; None before the first one."""
        return None if self._log_scale is None else math.exp(self._log_scale) * self.relative(tokens)

    def _interpolate(self, tokens: int) -> float:
        nodes = self._nodes
        if not nodes:
            return 1 + PRIOR_SLOPE * (tokens - 1)
        place = bisect_left(nodes, (tokens, 0.0))
        if 0 < place < len(nodes):
            (size, shape), (next_size, next_shape) = nodes[place - 1], nodes[place]
            return shape + (tokens - size) / (next_size - size) * (next_shape - shape)
        size, shape = nodes[0 if place == 0 else -1]
        # Downwards it ends before nothing at all.
        return max(shape + self._slope() * (tokens - size), 0.1 * shape)

    def _slope(self) -> float:
        """What each token costs beyond the sizes that were measured."""
        (size, shape), (last_size, last_shape) = self._nodes[0], self._nodes[-1]
        prior = PRIOR_SLOPE * shape / (1 + PRIOR_SLOPE * (size - 1))
        span = last_size - size
        return max(0.0, (last_shape - shape + max(0.0, PRIOR_SPAN - span) * prior) / max(PRIOR_SPAN, span))

    def _forget(self) -> None:
        smallest = min(self._groups)
        stale = [key for key, group in self._groups.items() if key != smallest and self._notes - group.last_note > STALE_NOTES]
        for key in stale:
            del self._groups[key]


class _Group:
    """Sizes that count as one."""

    def __init__(self, size: float, log_shape: float) -> None:
        self.size = size
        self.notes = 0
        self.last_note = 0
        self._log_shape = log_shape

    @property
    def shape(self) -> float:
        return math.exp(self._log_shape)

    def take(self, tokens: int, surprise: float, note: int) -> None:
        self.notes += 1
        self.last_note = note
        # What was expected before counts as half a measurement.
        rate = max(SHAPE_RATE, 1 / (self.notes + 0.5))
        self._log_shape += rate * surprise
        self.size += rate * (tokens - self.size)


def group_of(tokens: int) -> int:
    """Sorts sizes: each for itself up to 8, then four to each doubling, and whole tiles apart."""
    if tokens <= 8:
        return tokens
    octave = (tokens - 1).bit_length() - 1
    whole = tokens <= 4 * TILE_TOKENS and tokens % TILE_TOKENS == 0
    return 16 * octave + 2 * (((tokens - 1) >> (octave - 2)) % 4) + whole
