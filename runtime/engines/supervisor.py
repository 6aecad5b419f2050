"""When an engine that crashed may start again."""

from __future__ import annotations

import time
from collections.abc import Callable

FIRST_S = 0.2
LONGEST_S = 30.0
HEALTHY_AFTER_S = 60.0


class RestartBackoff:
    """Doubles the pause after each crash, and begins anew once an engine stayed up for long enough."""

    def __init__(
        self,
        *,
        first_s: float = FIRST_S,
        longest_s: float = LONGEST_S,
        healthy_after_s: float = HEALTHY_AFTER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._healthy_after_s = healthy_after_s
        self._clock = clock
        self._up_since_s: float | None = None
        self.crashes = 0
        """In a row, without a healthy time between."""

    def note_healthy(self) -> None:
        """Says that the engine is up from now on."""
        self._up_since_s = self._clock()

    def next_delay_s(self) -> float:
        """Counts a crash, and gives how long to wait before the next start."""
        if self._up_since_s is not None and self._clock() - self._up_since_s >= self._healthy_after_s:
            self.crashes = 0
        self._up_since_s = None
        # The exponent is bounded too: a float overflows after a thousand crashes.
        delay_s = min(self._longest_s, self._first_s * 2.0 ** min(self.crashes, 60))
        self.crashes += 1
        return delay_s
