"""Rungs that are climbed quickly and left slowly, and never changed more than twice a minute."""

from __future__ import annotations

from collections import deque

MOST_CHANGES = 2
PER_S = 60.0
GAP_S = 10.0
"""After so long without a reading nothing is known of the time between."""


class Ladder:
    """Turns a wavering wish into a steady rung.

    A rung is climbed once at least as much was wanted for `rise_s` without a break, and left for a lower one once no more than
    that was wanted for `fall_s`. No minute sees more than two changes, and a way down begins only after a minute without one:
    the way up, on which the machine's safety depends, finds its place in that minute almost always.

    Args:
        top: the highest rung; the lowest is 0.
        rise_s: how long a higher rung must be wanted.
        fall_s: how long a lower one must be enough.
    """

    def __init__(self, *, top: int, rise_s: float, fall_s: float) -> None:
        self.rung = 0
        self.changed_s: float | None = None
        """When the rung last changed."""
        self._rise_s = rise_s
        self._fall_s = fall_s
        self._wanted_since: list[float | None] = [None] * (top + 1)
        """Since when at least this rung has been wanted."""
        self._enough_since: list[float | None] = [None] * (top + 1)
        """Since when no higher rung than this one has been wanted."""
        self._changes: deque[float] = deque(maxlen=MOST_CHANGES)
        self._seen_s: float | None = None

    def observe(self, wanted: int, at_s: float) -> bool:
        """Takes what is wanted at a time; tells whether the rung changed. Readings that come late or twice are ignored.

        Args:
            wanted: the rung that the reading asks for.
            at_s: time.monotonic() of the reading.
        """
        if self._seen_s is not None and at_s <= self._seen_s:
            return False
        fresh = self._seen_s is None or at_s - self._seen_s > GAP_S
        self._seen_s = at_s
        for rung in range(len(self._wanted_since)):
            self._wanted_since[rung] = _since(self._wanted_since[rung], at_s, holds=wanted >= rung, fresh=fresh)
            self._enough_since[rung] = _since(self._enough_since[rung], at_s, holds=wanted <= rung, fresh=fresh)
        rungs = range(len(self._wanted_since))
        higher = max(rung for rung in rungs if rung == 0 or _lasts(self._wanted_since[rung], at_s, self._rise_s))
        if higher > self.rung and self._may_rise(at_s):
            return self._move(higher, at_s)
        lower = min((rung for rung in rungs if _lasts(self._enough_since[rung], at_s, self._fall_s)), default=self.rung)
        if lower < self.rung and (self.changed_s is None or at_s - self.changed_s >= PER_S):
            return self._move(lower, at_s)
        return False

    def _may_rise(self, at_s: float) -> bool:
        return len(self._changes) < MOST_CHANGES or at_s - self._changes[0] >= PER_S

    def _move(self, rung: int, at_s: float) -> bool:
        self.rung = rung
        self.changed_s = at_s
        self._changes.append(at_s)
        return True


def _since(since_s: float | None, at_s: float, *, holds: bool, fresh: bool) -> float | None:
    if not holds:
        return None
    return at_s if since_s is None or fresh else since_s


def _lasts(since_s: float | None, at_s: float, for_s: float) -> bool:
    return since_s is not None and at_s - since_s >= for_s
