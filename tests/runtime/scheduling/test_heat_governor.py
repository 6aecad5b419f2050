from dataclasses import replace
from itertools import accumulate, pairwise

import pytest
from governor_traces import heating_air, play_heat, unplugged_laptop
from hypothesis import given, settings
from hypothesis import strategies as st

from impetus.hw.sample import Sample
from impetus.runtime.config import HeatConfig
from impetus.runtime.scheduling.decisions import Decisions
from impetus.runtime.scheduling.heat_governor import HeatGovernor

BACKGROUND = "nothing stands by or works in the background"
FEWER = "fewer answers at once"
PREFILL = "prompts are computed 60% of the time"
PACE = "answers are computed 85% of the time"
ADVICE = "a smaller quantization of coder-7b would run cooler and faster here"


def governor(config: HeatConfig | None = None, *, gpu_computes: bool = True) -> tuple[HeatGovernor, Decisions]:
    decisions = Decisions()
    made = HeatGovernor(decisions, config or HeatConfig())
    made.gpu_computes = gpu_computes
    return made, decisions


def test_an_air_that_heats_up_takes_one_step_after_the_other_and_goes_back() -> None:
    made, decisions = governor()
    changes = play_heat(made, decisions, heating_air(with_level=True))
    assert [(change.state, change.actions) for change in changes] == [
        ("warm", (BACKGROUND,)),
        ("throttled", (BACKGROUND, FEWER, PREFILL)),
        ("throttled", (BACKGROUND, FEWER, PREFILL, PACE)),
        ("throttled", (BACKGROUND, FEWER, PREFILL, PACE, ADVICE)),
        ("ok", ()),
    ]
    times = [change.at_s for change in changes]
    assert 80 < times[0] < 100
    assert 136 < times[1] < 145
    assert all(later - earlier >= 60 for earlier, later in pairwise(times[1:]))


def test_an_air_whose_level_stays_nominal_is_found_out_by_its_own_speed() -> None:
    made, decisions = governor()
    changes = play_heat(made, decisions, heating_air(with_level=False))
    assert [change.state for change in changes[:2]] == ["warm", "throttled"]
    assert changes[-1].state == "ok"
    text = next(decision.text for decision in decisions.newest(20) if decision.state == "throttled")
    assert "of its best speed at 1" in text  # at 10x °C


def test_a_cool_or_busy_machine_is_not_taken_for_a_hot_one() -> None:
    slow = [(Sample(float(at), temperature_c=60.0), 20.0 if at < 60 else 8.0) for at in range(200)]
    made, decisions = governor()
    assert play_heat(made, decisions, iter(slow)) == []
    # A processor without sensors may share its cores with a compiler.
    made, decisions = governor(gpu_computes=False)
    assert play_heat(made, decisions, ((replace(sample, temperature_c=None), speed) for sample, speed in slow)) == []
    made, decisions = governor(gpu_computes=True)
    assert play_heat(made, decisions, ((replace(sample, temperature_c=None), speed) for sample, speed in slow)) != []


def test_an_unplugged_laptop_saves_its_charge_and_does_not_blame_heat_for_it() -> None:
    made, decisions = governor()
    changes = play_heat(made, decisions, unplugged_laptop())
    assert [(change.at_s, change.state) for change in changes][:2] == [(63, "warm"), (543, "throttled")]
    assert changes[-1].state == "ok"
    assert not any(ADVICE in change.actions for change in changes)
    texts = [decision.text for decision in reversed(decisions.newest(20))]
    assert "ok → warm: on battery, 100 % left" in texts[0]
    assert "on battery, 20 % left" in texts[1]
    assert not any("best speed" in text for text in texts)


def test_critical_heat_refuses_long_prompts_and_each_action_can_be_turned_off() -> None:
    trace = [Sample(float(at), thermal_level="trapping") for at in range(10)]
    made, _ = governor()
    for sample in trace:
        made.observe(sample)
    assert (made.state, made.refuses_long_prompts, made.prefill_duty, made.decode_duty) == ("critical", True, 0.3, 0.5)
    off = HeatConfig(
        stop_background=False,
        lower_concurrency=False,
        rest_in_prefill=False,
        pace_decode=False,
        suggest_smaller=False,
        refuse_long_prompts=False,
    )
    made, decisions = governor(off)
    for sample in trace:
        made.observe(sample)
    assert (made.state, made.actions, decisions.counts["heat", "state"]) == ("critical", (), 1)
    assert (made.prefill_duty, made.decode_duty, made.lowers_concurrency, made.stops_background) == (1, 1, False, False)


def test_a_gpu_whose_clock_falls_under_load_is_throttled() -> None:
    made, decisions = governor()
    for second in range(40):
        mhz = 1400.0 if second < 20 else 700.0
        made.observe(Sample(float(second), gpu_percent=98.0, gpu_mhz=mhz, thermal_level="nominal"))
    assert made.state == "throttled"
    assert "700 of 1400 MHz" in decisions.newest(1)[0].text


@pytest.mark.parametrize(
    ("low_power", "level", "share"), [(False, "nominal", 1.0), (False, "heavy", 0.65), (True, "moderate", 0.63)]
)
def test_the_headroom_is_guessed_until_it_is_measured(low_power: bool, level: str, share: float) -> None:
    made, _ = governor()
    for second in range(30):
        made.observe(Sample(float(second), thermal_level=level, low_power_mode=low_power))
        assert made.headroom() == (pytest.approx(share), True)
    if share == 1:
        for second in range(30, 60):
            made.note_speed(("m", 1, 0), 10.0 if second < 45 else 5.0, float(second))
            made.observe(Sample(second + 0.5, thermal_level="nominal"))
        measured, guessed = made.headroom()
        assert 0.5 < measured < 0.8
        assert not guessed


READING = st.builds(
    Sample,
    at_s=st.floats(0.2, 12.0),
    thermal_level=st.sampled_from(["nominal", "moderate", "heavy", "trapping", "sleeping", None]),
    temperature_c=st.none() | st.floats(20, 110),
    gpu_mhz=st.none() | st.floats(300, 1600),
    gpu_percent=st.none() | st.floats(0, 100),
    on_battery=st.none() | st.booleans(),
    battery_percent=st.none() | st.floats(0, 100),
    low_power_mode=st.none() | st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(readings=st.lists(st.tuples(READING, st.none() | st.floats(1, 50), st.integers(1, 25)), min_size=1, max_size=40))
def test_no_trace_makes_it_waver_and_no_change_goes_unsaid(readings: list[tuple[Sample, float | None, int]]) -> None:
    made, decisions = governor()
    repeated = [(sample, speed) for sample, speed, count in readings for _ in range(count)]
    times = accumulate(sample.at_s for sample, _ in repeated)
    trace = [(replace(sample, at_s=at_s), speed) for (sample, speed), at_s in zip(repeated, times, strict=True)]
    changes = play_heat(made, decisions, iter(trace))
    assert len(changes) == decisions.counts["heat", "state"]
    for first, third in zip(changes, changes[2:], strict=False):
        assert third.at_s - first.at_s >= 60
