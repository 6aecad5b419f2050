"""Own speed against own best cool speed: the second opinion on heat, where the system's own level is silent."""

from __future__ import annotations

import math
import statistics
from collections import deque

WINDOW = 10
"""Reports of one kind of step, one a second: their median is a window's speed."""
SMOOTH_S = 15.0
STALE_S = 10.0
"""After so long without a step nothing is known of the speed."""

DEPTH_COST = 0.93
"""What is left of the speed at twice the depth, where that depth has not been seen cool; published series lose 4 to 6 %."""

Kind = tuple[str, int, int]
"""A model, how many tokens a step computed, and how deep the contexts were: only steps of one kind can be compared."""


def depth_of(tokens: int) -> int:
    """Puts depths that cost about the same together: each class is twice as deep as the one before."""
    return (tokens // 1024).bit_length()


class OwnSpeed:
    """Learns the best speed while the machine is cool, and tells how much of it is left."""

    def __init__(self) -> None:
        self._recent: dict[Kind, deque[float]] = {}
        self._best: dict[Kind, float] = {}
        self._ratio: float | None = None
        self._at_s = -math.inf

    def note(self, kind: Kind, steps_per_s: float, at_s: float, *, cool: bool) -> None:
        """Takes the speed of plain steps over the last second.

        Args:
            kind: what was computed.
            steps_per_s: how many of them the machine would compute in a second without a pause.
            at_s: time.monotonic().
            cool: whether nothing says that the machine is held back.
        """
        if cool:
            recent = self._recent.setdefault(kind, deque(maxlen=WINDOW))
            recent.append(steps_per_s)
            if len(recent) == WINDOW:
                self._best[kind] = max(self._best.get(kind, 0.0), statistics.median(recent))
        else:
            # A window is cool as a whole or not at all.
            self._recent.pop(kind, None)
        best = self._expect(kind)
        if best is None:
            return
        now = steps_per_s / best
        elapsed_s = at_s - self._at_s
        weight = 1.0 if self._ratio is None or elapsed_s > STALE_S else 1 - math.exp(-max(0.0, elapsed_s) / SMOOTH_S)
        self._ratio = now if self._ratio is None else self._ratio + weight * (now - self._ratio)
        self._at_s = at_s

    def ratio(self, at_s: float) -> float | None:
        """The smoothed share of the best cool speed; None where nothing was computed of late, or nothing to compare with."""
        return self._ratio if at_s - self._at_s <= STALE_S else None

    def _expect(self, kind: Kind) -> float | None:
        """The best speed of a kind of steps; of a depth that is new, what the nearest known one lets expect at least."""
        if (best := self._best.get(kind)) is not None:
            return best
        model, width, depth = kind
        known = [(abs(other[2] - depth), other[2], best) for other, best in self._best.items() if other[:2] == (model, width)]
        if not known:
            return None
        _, nearest, best = min(known)
        return best * DEPTH_COST ** max(0, depth - nearest)
