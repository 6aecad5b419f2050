"""The memory governor: what is done while memory is short. A state machine over readings, without clock or machine."""

from __future__ import annotations

from collections import deque

from ...hw.sample import MemoryPressure, Sample
from ..config import MemoryConfig
from .decisions import Decisions, GovernorStatus
from .ladder import Ladder
from .memory_grant import MemoryState

STATES: tuple[MemoryState, ...] = ("normal", "warn", "critical")
RISE_S = 2.0
"""A peak of one reading is no pressure."""
FALL_S = 30.0
TIGHT_SHARE = 0.05
"""Where less of the memory is available, it is short, whatever the system says of pressure."""
EMPTY_SHARE = 0.02
SWAP_GROWTH_SHARE = 0.01
SWAP_WINDOW_S = 10.0
CACHE_SHARES: dict[MemoryState, float] = {"normal": 1.0, "warn": 0.25, "critical": 0.0}
"""How much of their room the computed prompts in memory keep."""
_RUNGS: dict[MemoryPressure, int] = {"normal": 0, "warn": 1, "critical": 2}


class MemoryGovernor:
    """Follows the pressure, and says what is to be done about it.

    Args:
        decisions: where its decisions go.
        config: which actions it may take.
    """

    def __init__(self, decisions: Decisions, config: MemoryConfig) -> None:
        self._decisions = decisions
        self._config = config
        self._ladder = Ladder(top=len(STATES) - 1, rise_s=RISE_S, fall_s=FALL_S)
        self._swap: deque[tuple[float, int]] = deque()
        self._why = "no reading yet"
        self._figures: tuple[str, ...] = ()

    @property
    def state(self) -> MemoryState:
        """How short memory is, as far as it lasts."""
        return STATES[self._ladder.rung]

    @property
    def cache_share(self) -> float:
        """How much of their room the computed prompts in memory keep, 0..1."""
        return CACHE_SHARES[self.state] if self._config.shrink_caches else 1.0

    @property
    def stops_background(self) -> bool:
        """Whether what could wait has to."""
        return self._config.stop_background and self._ladder.rung >= 1

    @property
    def unloads_idle(self) -> bool:
        """Whether models that nobody uses leave."""
        return self._config.unload_idle and self.state == "critical"

    @property
    def refuses_long_prompts(self) -> bool:
        """Whether long prompts are told to come later."""
        return self._config.refuse_long_prompts and self.state == "critical"

    @property
    def actions(self) -> tuple[str, ...]:
        """What it does now, in words."""
        share = self.cache_share
        taken = (
            (share < 1, f"computed prompts in memory keep {share:.0%} of their room"),
            (self.stops_background, "nothing stands by or works in the background"),
            (self.unloads_idle, "models that nobody uses are unloaded"),
            (self.refuses_long_prompts, "new long prompts are told to come later"),
        )
        return tuple(words for holds, words in taken if holds)

    @property
    def status(self) -> GovernorStatus:
        """What it does now, and why."""
        return GovernorStatus("memory", self.state, self._why, self.actions, self._figures)

    def observe(self, sample: Sample) -> bool:
        """Takes a reading; tells whether the state changed, which is a decision then."""
        wanted, why = self._want(sample)
        before = self.state
        changed = self._ladder.observe(wanted, sample.at_s)
        self._figures = _figures(sample)
        if changed or wanted == self._ladder.rung:
            self._why = why
        if changed:
            worse = STATES.index(self.state) > STATES.index(before)
            text = f"{before} → {self.state}: {why}; {'; '.join(self.actions) or 'everything as usual again'}"
            self._decisions.note("memory", "state", text, state=self.state, actions=self.actions, at_s=sample.at_s, worse=worse)
        return changed

    def _want(self, sample: Sample) -> tuple[int, str]:
        """The rung that a reading asks for, and why; the worst opinion counts. Without any it stays as it is."""
        opinions: list[tuple[int, str]] = []
        if sample.memory_pressure is not None:
            opinions.append((_RUNGS[sample.memory_pressure], f"the system says memory pressure is {sample.memory_pressure}"))
        total, available = sample.memory_total_bytes, sample.memory_available_bytes
        if total and available is not None:
            share = available / total
            rung = 2 if share < EMPTY_SHARE else 1 if share < TIGHT_SHARE else 0
            opinions.append((rung, f"{share:.0%} of the memory is available"))
        if total and (grown := self._swap_growth(sample)) is not None:
            rung = int(grown >= total * SWAP_GROWTH_SHARE)
            opinions.append((rung, f"{grown >> 20} MiB went to swap within {SWAP_WINDOW_S:.0f} s"))
        if not opinions:
            return self._ladder.rung, "the memory cannot be read"
        return max(opinions, key=lambda opinion: opinion[0])

    def _swap_growth(self, sample: Sample) -> int | None:
        if sample.swap_used_bytes is None:
            return None
        if self._swap and sample.at_s <= self._swap[-1][0]:
            return None
        self._swap.append((sample.at_s, sample.swap_used_bytes))
        while sample.at_s - self._swap[0][0] > SWAP_WINDOW_S:
            self._swap.popleft()
        return sample.swap_used_bytes - min(used for _, used in self._swap)


def _figures(sample: Sample) -> tuple[str, ...]:
    total, available = sample.memory_total_bytes, sample.memory_available_bytes
    figures: list[str] = []
    if total and available is not None:
        figures.append(f"{available / (1 << 30):.1f} of {total / (1 << 30):.1f} GiB available")
    if sample.memory_pressure is not None:
        figures.append(f"pressure {sample.memory_pressure}")
    return tuple(figures)
