"""The heat governor: what is done while the machine is hot or has to save power. A state machine over readings."""

from __future__ import annotations

from typing import Literal, NamedTuple

from ...hw.sample import Sample
from ...hw.thermal import assume_headroom, severity
from ..config import HeatConfig
from .decisions import Decisions, GovernorStatus
from .ladder import PER_S, Ladder
from .own_speed import Kind, OwnSpeed

HeatState = Literal["ok", "warm", "throttled", "critical"]

WARM, THROTTLED, PACED, ADVISED, CRITICAL = 1, 2, 3, 4, 5
"""Rungs above 0. Within `throttled` there are three: what does not help for a minute is followed by the next action."""
STATES: tuple[HeatState, ...] = ("ok", "warm", "throttled", "throttled", "throttled", "critical")
RISE_S = 3.0
FALL_S = 60.0
SLOW_RATIO, SLUGGISH_RATIO = 0.75, 0.90
"""Own speed against own best cool one, below which the machine counts as throttled, and as warm."""
SLOW_FOR_S = 20.0
HOT_C = 85.0
"""A chip that is cooler than this is slow for another reason than heat."""
SLOW_CLOCK, BUSY_PERCENT = 0.7, 80.0
"""The GPU's clock against the highest seen, and how busy it has to be for that to say anything."""
LOW_BATTERY_PERCENT = 20.0
PREFILL_DUTY = {THROTTLED: 0.6, PACED: 0.6, ADVISED: 0.6, CRITICAL: 0.3}
"""The share of the time that prompts are computed; the chip cools in the rest."""
DECODE_DUTY = {PACED: 0.85, ADVISED: 0.85, CRITICAL: 0.5}
"""The same of answers: 85 % of what the hot machine reaches is what it keeps up."""
_RUNGS = (0, WARM, THROTTLED, CRITICAL, CRITICAL)
"""By the severity of the system's level."""


class _Opinion(NamedTuple):
    """What one signal asks for."""

    rung: int
    why: str
    most: int = ADVISED
    """How far the actions of `throttled` may go for this reason."""


class HeatGovernor:
    """Follows heat and power, and says what is to be done about it.

    Args:
        decisions: where its decisions go.
        config: which actions it may take.
    """

    def __init__(self, decisions: Decisions, config: HeatConfig) -> None:
        self.gpu_computes = False
        """Whether models run on a GPU: a slow CPU may just be busy with other programs."""
        self._decisions = decisions
        self._config = config
        self._ladder = Ladder(top=CRITICAL, rise_s=RISE_S, fall_s=FALL_S)
        self._speed = OwnSpeed()
        self._sample: Sample | None = None
        self._slow_since: float | None = None
        self._best_mhz = 0.0
        self._model = ""
        """The one that computed last."""
        self._why = "no reading yet"

    @property
    def state(self) -> HeatState:
        """How hot it is, as far as it lasts."""
        return STATES[self._ladder.rung]

    @property
    def stops_background(self) -> bool:
        """Whether what could wait has to."""
        return self._config.stop_background and self._ladder.rung >= WARM

    @property
    def lowers_concurrency(self) -> bool:
        """Whether fewer answers than before are to run at once."""
        return self._config.lower_concurrency and self._ladder.rung >= THROTTLED

    @property
    def prefill_duty(self) -> float:
        """The share of the time that prompts are computed, 0..1."""
        return PREFILL_DUTY.get(self._ladder.rung, 1.0) if self._config.rest_in_prefill else 1.0

    @property
    def decode_duty(self) -> float:
        """The share of the time that answers are computed, 0..1."""
        return DECODE_DUTY.get(self._ladder.rung, 1.0) if self._config.pace_decode else 1.0

    @property
    def refuses_long_prompts(self) -> bool:
        """Whether long prompts are told to come later."""
        return self._config.refuse_long_prompts and self._ladder.rung >= CRITICAL

    @property
    def actions(self) -> tuple[str, ...]:
        """What it does now, in words, in the order it turns to them."""
        advises = self._config.suggest_smaller and self._ladder.rung >= ADVISED and self._model
        taken = (
            (self.stops_background, "nothing stands by or works in the background"),
            (self.lowers_concurrency, "fewer answers at once"),
            (self.prefill_duty < 1, f"prompts are computed {self.prefill_duty:.0%} of the time"),
            (self.decode_duty < 1, f"answers are computed {self.decode_duty:.0%} of the time"),
            (advises, f"a smaller quantization of {self._model} would run cooler and faster here"),
            (self.refuses_long_prompts, "new long prompts are told to come later"),
        )
        return tuple(words for holds, words in taken if holds)

    @property
    def status(self) -> GovernorStatus:
        """What it does now, and why."""
        return GovernorStatus("heat", self.state, self._why, self.actions, self._figures())

    def headroom(self) -> tuple[float, bool]:
        """How much of its best speed the machine has now, 0..1, and whether that is a guess and not measured."""
        sample = self._sample
        if sample is not None and (ratio := self._speed.ratio(sample.at_s)) is not None:
            return min(1.0, ratio), False
        if sample is None:
            return 1.0, True
        return assume_headroom(sample.thermal_level, low_power=sample.low_power_mode), True

    def note_speed(self, kind: Kind, steps_per_s: float, at_s: float) -> None:
        """Takes how quickly an engine computed plain steps over the last second."""
        self._model = kind[0]
        self._speed.note(kind, steps_per_s, at_s, cool=self._is_cool())

    def observe(self, sample: Sample) -> bool:
        """Takes a reading; tells whether the state or its actions changed, which is a decision then."""
        self._sample = sample
        opinion = self._judge(sample)
        wanted = self._follow_up(opinion, sample.at_s)
        before, before_rung = self.state, self._ladder.rung
        changed = self._ladder.observe(wanted, sample.at_s)
        if changed or wanted == self._ladder.rung:
            self._why = opinion.why
        if changed:
            worse = self._ladder.rung > before_rung
            move = f"{before} → {self.state}" if before != self.state else f"still {self.state}"
            text = f"{move}: {opinion.why}; {'; '.join(self.actions) or 'everything as usual again'}"
            self._decisions.note("heat", "state", text, state=self.state, actions=self.actions, at_s=sample.at_s, worse=worse)
        return changed

    def _judge(self, sample: Sample) -> _Opinion:
        """Finds the worst opinion on a reading; of equal ones the first, as what the system says tells people most."""
        opinions = [_Opinion(0, "cool, as far as is known")]
        if sample.thermal_level is not None:
            opinions.append(_Opinion(_RUNGS[severity(sample.thermal_level)], f"the system says heat is {sample.thermal_level}"))
        opinions.append(self._judge_clock(sample))
        opinions.append(self._judge_speed(sample))
        if sample.low_power_mode:
            opinions.append(_Opinion(WARM, "low-power mode is on"))
        if sample.on_battery:
            percent = sample.battery_percent
            low = percent is not None and percent <= LOW_BATTERY_PERCENT
            charge = "" if percent is None else f", {percent:.0f} % left"
            opinions.append(_Opinion(THROTTLED if low else WARM, f"on battery{charge}", PACED))
        return max(opinions, key=lambda opinion: opinion.rung)

    def _judge_clock(self, sample: Sample) -> _Opinion:
        if sample.gpu_mhz is None or sample.gpu_percent is None or sample.low_power_mode:
            return _Opinion(0, "")
        self._best_mhz = max(self._best_mhz, sample.gpu_mhz)
        if sample.gpu_percent < BUSY_PERCENT or sample.gpu_mhz >= SLOW_CLOCK * self._best_mhz:
            return _Opinion(0, "")
        return _Opinion(THROTTLED, f"the busy GPU runs at {sample.gpu_mhz:.0f} of {self._best_mhz:.0f} MHz")

    def _judge_speed(self, sample: Sample) -> _Opinion:
        """Own speed counts only where heat can be the reason: a machine that saves power, or is cool, is slow for another."""
        ratio = self._speed.ratio(sample.at_s)
        if ratio is None or not self._may_be_hot(sample) or sample.low_power_mode or ratio >= SLUGGISH_RATIO:
            self._slow_since = None
            return _Opinion(0, "")
        why = f"it computes at {ratio:.0%} of its best speed"
        if sample.temperature_c is not None:
            why += f" at {sample.temperature_c:.0f} °C"
        if ratio >= SLOW_RATIO:
            self._slow_since = None
            return _Opinion(WARM, why)
        if self._slow_since is None:
            self._slow_since = sample.at_s
        return _Opinion(THROTTLED if sample.at_s - self._slow_since >= SLOW_FOR_S else WARM, why)

    def _may_be_hot(self, sample: Sample) -> bool:
        if sample.thermal_level is not None and severity(sample.thermal_level) > 0:
            return True
        return self.gpu_computes if sample.temperature_c is None else sample.temperature_c >= HOT_C

    def _is_cool(self) -> bool:
        sample = self._sample
        if sample is None:
            return False
        level = sample.thermal_level
        # A hot sensor alone does not count: chips are built to run hot, and the first cool minute decides what is best.
        return (level is None or severity(level) == 0) and not sample.low_power_mode and self._ladder.rung <= WARM

    def _follow_up(self, opinion: _Opinion, at_s: float) -> int:
        """Within `throttled`, turns to the next action where a minute of those before did not help."""
        rung, changed_s = self._ladder.rung, self._ladder.changed_s
        if opinion.rung != THROTTLED or rung < THROTTLED:
            return opinion.rung
        lasts = changed_s is not None and at_s - changed_s >= PER_S
        return min(rung + int(lasts), opinion.most)

    def _figures(self) -> tuple[str, ...]:
        share, guessed = self.headroom()
        sample = self._sample
        figures = [f"{share:.0%} of its best speed{', estimated' if guessed else ''}"]
        if sample is not None and sample.temperature_c is not None:
            figures.append(f"{sample.temperature_c:.0f} °C")
        if sample is not None and sample.on_battery and sample.battery_percent is not None:
            figures.append(f"battery {sample.battery_percent:.0f} %")
        return tuple(figures)
