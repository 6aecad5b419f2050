"""Ring buffer of readings, thinned for a chart's width."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from itertools import pairwise
from threading import Lock


class Series:
    """The newest readings of one signal; safe to fill in one thread and to draw in another."""

    def __init__(self, capacity: int = 3600) -> None:
        self._capacity = capacity
        self._times = array("d", bytes(8 * capacity))
        self._values = array("d", bytes(8 * capacity))
        self._count = 0
        self._lock = Lock()

    def __len__(self) -> int:
        return min(self._count, self._capacity)

    @property
    def capacity(self) -> int:
        """The most readings that are kept."""
        return self._capacity

    @property
    def latest(self) -> float | None:
        """The newest reading, or None where there is none or it was not readable."""
        with self._lock:
            return _known(self._values[(self._count - 1) % self._capacity]) if self._count else None

    def append(self, at_s: float, value: float | None) -> None:
        """Adds a reading taken at time.monotonic() `at_s`; the oldest one makes place."""
        with self._lock:
            place = self._count % self._capacity
            self._times[place] = at_s
            self._values[place] = math.nan if value is None else value
            self._count += 1

    def points(self, width: int, *, window_s: float | None = None) -> Sequence[float | None]:
        """Thins the readings to at most `width` points, oldest first.

        A point is the mean of its readings, None where all of them were unknown. Readings keep their company as new ones
        come in, so that a chart shifts instead of trembling.

        Args:
            width: the most points a chart can show.
            window_s: how far back from the newest reading to go; None for all.
        """
        with self._lock:
            end = self._count
            start = self._start(window_s)
            ring = self._values
            values = [ring[place % self._capacity] for place in range(start, end)]
        if width <= 0 or not values:
            return ()
        per_point = math.ceil(len(values) / width)
        if per_point == 1:
            return [_known(value) for value in values]
        first_edge = per_point - start % per_point
        edges = [0, *range(first_edge, len(values), per_point), len(values)]
        points = [_mean(values[left:right]) for left, right in pairwise(edges)]
        return points[-width:]

    def _start(self, window_s: float | None) -> int:
        """Finds the sequence number of the oldest reading in the window; the lock is held."""
        oldest = max(0, self._count - self._capacity)
        if window_s is None or not self._count:
            return oldest
        since_s = self._times[(self._count - 1) % self._capacity] - window_s
        low, high = oldest, self._count
        while low < high:
            middle = (low + high) // 2
            if self._times[middle % self._capacity] < since_s:
                low = middle + 1
            else:
                high = middle
        return low


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else None
