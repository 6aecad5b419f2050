"""How busy the engine is, measured over the steps since the last report."""

from __future__ import annotations

from ..frames import Stats
from .backends.backend import Occupancy, StepOutcome

REPORT_EVERY_S = 1.0
PLAIN_STEPS = 3
"""So many plain steps of one width make a speed."""
FIRST_REPORT_S = 0.2
"""After an idle time, so that who watches sees soon that work began."""


class Meter:
    """Counts steps and makes the reports of them; times are of `time.monotonic`."""

    def __init__(self, now_s: float) -> None:
        self._reset(now_s)
        self._every_s = REPORT_EVERY_S

    def count(self, outcome: StepOutcome, tokens: int, duration_s: float) -> None:
        """Adds one step, with the tokens it gave and all the time it took."""
        self._steps += 1
        self._busy_s += duration_s
        self._compute_s += min(outcome.compute_s, duration_s)
        self._tokens += tokens
        if outcome.prefill_tokens:
            self._prefill_tokens += outcome.prefill_tokens
            self._prefill_s += duration_s
        self._prefill_tokens += outcome.aside_tokens
        self._prefill_s += outcome.aside_s
        if tokens and not (outcome.prefill_tokens or outcome.aside_tokens or outcome.drafted or outcome.lost):
            self._count_plain(tokens, outcome.compute_s)

    def due(self, now_s: float) -> bool:
        """Whether it is time for the next report."""
        return now_s - self._since_s >= self._every_s

    def report(self, now_s: float, *, running: int, waiting: int, occupancy: Occupancy) -> Stats:
        """Makes a report and begins to count anew."""
        steps, busy_s, elapsed_s = self._steps, self._busy_s, now_s - self._since_s
        stats = Stats(
            running=running,
            waiting=waiting,
            kv_used_tokens=occupancy.used_tokens,
            kv_size_tokens=occupancy.size_tokens,
            kv_kept_tokens=occupancy.kept_tokens,
            plain_step_ms=1000 * self._plain_s / self._plain_steps if self._plain_steps >= PLAIN_STEPS else None,
            plain_width=self._plain_width,
            prefix_bytes=occupancy.prefix_bytes,
            step_ms=1000 * busy_s / steps if steps else 0.0,
            overhead_percent=100 * (busy_s - self._compute_s) / busy_s if busy_s else 0.0,
            prefill_tps=self._prefill_tokens / self._prefill_s if self._prefill_tokens else None,
            decode_tps=self._tokens / elapsed_s if self._tokens and elapsed_s > 0 else None,
        )
        self._reset(now_s)
        self._every_s = REPORT_EVERY_S
        return stats

    def restart(self, now_s: float) -> None:
        """Forgets the idle time before the first step."""
        self._reset(now_s)
        self._every_s = FIRST_REPORT_S

    def _count_plain(self, width: int, compute_s: float) -> None:
        if width != self._plain_width:
            self._plain_width = width
            self._plain_steps = 0
            self._plain_s = 0.0
        self._plain_steps += 1
        self._plain_s += compute_s

    def _reset(self, now_s: float) -> None:
        self._since_s = now_s
        self._steps = 0
        self._busy_s = 0.0
        self._compute_s = 0.0
        self._tokens = 0
        self._prefill_tokens = 0
        self._prefill_s = 0.0
        self._plain_width = 0
        self._plain_steps = 0
        self._plain_s = 0.0
