"""Both governors, and what follows from them for engines and prompts."""

from __future__ import annotations

from collections.abc import Mapping

from ...hw.sample import Sample
from ..config import Config
from ..frames import Limits, Stats
from ..tuning.memory_budget import tell_size
from .decisions import Decisions, GovernorName, GovernorStatus
from .heat_governor import HeatGovernor
from .memory_governor import TIGHT_SHARE, MemoryGovernor
from .own_speed import depth_of

LONG_PROMPT_S = 10.0
LONG_PROMPT_TOKENS = 4096
"""Where no speed is known."""
SMALL_SHARE = 0.005
"""Contexts that grow by less of the memory than this are never refused."""
RETRY_AFTER_S = 30.0


class Governors:
    """Takes readings and engines' reports, and says what is to be done; it knows no engine and no clock."""

    def __init__(self, config: Config) -> None:
        self.decisions = Decisions()
        self.memory = MemoryGovernor(self.decisions, config.memory)
        self.heat = HeatGovernor(self.decisions, config.heat)
        self._long_prompt_tokens = config.scheduler.long_prompt_tokens
        self._prefill_tps: dict[str, float] = {}
        self._seen: dict[str, Stats] = {}
        self._sample: Sample | None = None
        self._promised: dict[object, int] = {}
        """Bytes that contexts under way will still grow by."""

    @property
    def limits(self) -> Limits:
        """What engines are told."""
        heat = self.heat
        return Limits(
            prefill_duty=heat.prefill_duty,
            decode_duty=heat.decode_duty,
            cache_share=self.memory.cache_share,
            background=not self.stops_background,
        )

    @property
    def stops_background(self) -> bool:
        """Whether what could wait has to."""
        return self.memory.stops_background or self.heat.stops_background

    @property
    def refusing(self) -> GovernorName | None:
        """Who tells long prompts to come later; None where they are welcome."""
        return "memory" if self.memory.refuses_long_prompts else "heat" if self.heat.refuses_long_prompts else None

    def statuses(self) -> tuple[GovernorStatus, ...]:
        """What each does now, and why."""
        return self.memory.status, self.heat.status

    def observe(self, sample: Sample, stats: Mapping[str, Stats]) -> bool:
        """Takes a reading and what the engines last said; tells whether anything changed."""
        self._sample = sample
        # Models that compute at the same time share the machine: their speeds do not tell how hot it is.
        alone = sum(report.running > 0 for report in stats.values()) <= 1
        for model, report in stats.items():
            if report is not self._seen.get(model):
                self._take_report(model, report, sample.at_s, alone=alone)
        self._seen = dict(stats)
        # Both look, whatever the first one says.
        changes = (self.memory.observe(sample), self.heat.observe(sample))
        return any(changes)

    def long_prompt(self, model: str) -> int:
        """From how many tokens that are not computed yet a prompt is a long one."""
        if self._long_prompt_tokens:
            return self._long_prompt_tokens
        tps = self._prefill_tps.get(model)
        return LONG_PROMPT_TOKENS if tps is None else max(1, round(LONG_PROMPT_S * tps))

    def judge_prompt(self, model: str, computed_tokens: int) -> str | None:
        """Says why a prompt has to come later, by how much of it is still to be computed; None lets it in."""
        who, most = self.refusing, self.long_prompt(model)
        if who is None or computed_tokens <= most:
            return None
        why = "memory is very short" if who == "memory" else "the machine is too hot"
        text = f"a prompt for {model} has to wait: {computed_tokens} tokens would be computed, more than {most}, and {why}"
        state = self.memory.state if who == "memory" else self.heat.state
        self.decisions.note(who, "turn_away", text, state=state)
        return f"{why[0].upper()}{why[1:]}, and {computed_tokens} tokens of this prompt are not computed yet; try again later."

    def promise_growth(self, asker: object, model: str, growth_bytes: int) -> str | None:
        """Sets aside what a prompt's context will grow by, until `settle`; says why not where it would not fit."""
        total = self._sample.memory_total_bytes if self._sample is not None else None
        available = self._sample.memory_available_bytes if self._sample is not None else None
        if not total or available is None or growth_bytes < total * SMALL_SHARE:
            return None
        promised, floor = sum(self._promised.values()), int(total * TIGHT_SHARE)
        if available - promised - growth_bytes >= floor:
            self._promised[asker] = growth_bytes
            return None
        text = (
            f"its context would grow by {tell_size(growth_bytes)}; {tell_size(available)} are available, "
            f"{tell_size(promised)} of them promised to others, and {tell_size(floor)} stay free"
        )
        self.decisions.note("memory", "turn_away", f"a prompt for {model} has to wait: {text}", state=self.memory.state)
        return f"There is no memory for this prompt now: {text}."

    def settle(self, asker: object) -> None:
        """Takes note that a context has grown, or never will."""
        self._promised.pop(asker, None)

    def _take_report(self, model: str, report: Stats, at_s: float, *, alone: bool) -> None:
        if report.prefill_tps:
            self._prefill_tps[model] = report.prefill_tps
        if report.plain_step_ms and alone:
            kind = (model, report.plain_width, depth_of(report.kv_used_tokens))
            self.heat.note_speed(kind, 1000 / report.plain_step_ms, at_s)
