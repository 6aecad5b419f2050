from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pytest
from governor_traces import GIB, play_memory, pressed_studio
from hypothesis import given, settings
from hypothesis import strategies as st

from impetus.hw.probes.linux import LinuxProbe
from impetus.hw.sample import Sample
from impetus.runtime.config import MemoryConfig
from impetus.runtime.scheduling.decisions import Decisions
from impetus.runtime.scheduling.memory_governor import MemoryGovernor


def governor(config: MemoryConfig | None = None) -> tuple[MemoryGovernor, Decisions]:
    decisions = Decisions()
    return MemoryGovernor(decisions, config or MemoryConfig()), decisions


def test_a_studio_under_pressure_shrinks_unloads_and_recovers() -> None:
    made, decisions = governor()
    changes = play_memory(made, decisions, pressed_studio())
    assert [(change.at_s, change.state) for change in changes] == [
        (62, "warn"),
        (122, "critical"),
        (210, "warn"),
        (270, "normal"),
    ]
    assert changes[0].actions == (
        "computed prompts in memory keep 25% of their room",
        "nothing stands by or works in the background",
    )
    assert changes[1].actions == (
        "computed prompts in memory keep 0% of their room",
        "nothing stands by or works in the background",
        "models that nobody uses are unloaded",
        "new long prompts are told to come later",
    )
    assert changes[-1].actions == ()
    assert [decision.kind for decision in decisions.newest(10)] == ["state"] * 4
    assert "critical → warn" in decisions.newest(2)[1].text
    assert made.cache_share == 1


def test_actions_can_be_turned_off_and_the_state_is_told_all_the_same() -> None:
    off = MemoryConfig(stop_background=False, shrink_caches=False, unload_idle=False, refuse_long_prompts=False)
    made, decisions = governor(off)
    changes = play_memory(made, decisions, iter([Sample(float(at), memory_pressure="critical") for at in range(5)]))
    assert [(change.state, change.actions) for change in changes] == [("critical", ())]
    assert (made.cache_share, made.stops_background, made.unloads_idle, made.refuses_long_prompts) == (1, False, False, False)


@pytest.mark.parametrize(("available", "state"), [(0.2, "normal"), (0.04, "warn"), (0.01, "critical")])
def test_where_the_system_says_nothing_what_is_available_does(available: float, state: str) -> None:
    made, _ = governor()
    for second in range(5):
        made.observe(Sample(float(second), memory_total_bytes=16 * GIB, memory_available_bytes=int(available * 16 * GIB)))
    assert made.state == state


def test_a_machine_that_begins_to_swap_is_short_of_memory() -> None:
    made, decisions = governor()
    sample = Sample(0.0, memory_total_bytes=16 * GIB, memory_available_bytes=4 * GIB, memory_pressure="normal")
    for second in range(30):
        swap = 2 * GIB + max(0, second - 15) * 64 * 1024**2
        made.observe(replace(sample, at_s=float(second), swap_used_bytes=swap))
    assert made.state == "warn"
    assert "went to swap" in decisions.newest(1)[0].text


def test_what_cannot_be_read_changes_nothing() -> None:
    made, decisions = governor()
    for second in range(5):
        made.observe(Sample(float(second), memory_pressure="warn"))
    for second in range(5, 300):
        made.observe(Sample(float(second)))
    assert (made.state, len(decisions.newest(9))) == ("warn", 1)


READING = st.builds(
    Sample,
    at_s=st.floats(0.2, 20.0),
    memory_total_bytes=st.just(16 * GIB),
    memory_available_bytes=st.none() | st.integers(0, 16 * GIB),
    memory_pressure=st.sampled_from(["normal", "warn", "critical", None]),
    swap_used_bytes=st.none() | st.integers(0, 8 * GIB),
)


@settings(max_examples=150, deadline=None)
@given(readings=st.lists(st.tuples(READING, st.integers(1, 15)), min_size=1, max_size=40))
def test_no_trace_makes_it_waver_and_no_change_goes_unsaid(readings: list[tuple[Sample, int]]) -> None:
    made, decisions = governor()
    repeated = [sample for sample, count in readings for _ in range(count)]
    times = accumulate(sample.at_s for sample in repeated)
    trace = [replace(sample, at_s=at_s) for sample, at_s in zip(repeated, times, strict=True)]
    changes = play_memory(made, decisions, iter(trace))
    assert len(changes) == decisions.counts["memory", "state"]
    for first, third in zip(changes, changes[2:], strict=False):
        assert third.at_s - first.at_s >= 60


def test_stalls_that_the_kernel_counts_shrink_caches_within_five_seconds(tmp_path: Path) -> None:
    """The files of /proc as a program that takes the memory makes them, read by the probe once a second."""
    proc = tmp_path / "proc"
    (proc / "pressure").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 16000000 kB\nMemFree: 4000000 kB\nMemAvailable: 6000000 kB\n")
    probe = LinuxProbe(tmp_path)
    made, decisions = governor()
    states: list[str] = []
    for second in range(150):
        some, full = (22.5, 8.1) if 20 <= second < 40 else (12.0, 0.4) if second < 60 else (0.0, 0.0)
        if second < 20:
            some = full = 0.0
        lines = (f"{name} avg10={value:.2f} avg60=0.00 avg300=0.00 total=0" for name, value in (("some", some), ("full", full)))
        (proc / "pressure" / "memory").write_text("\n".join(lines))
        made.observe(replace(probe.read_sample(()), at_s=float(second)))
        states.append(made.state)
    assert states[19] == "normal"
    assert states.index("critical") <= 25
    assert states[-1] == "normal"
    assert [decision.state for decision in reversed(decisions.newest(9))] == ["critical", "warn", "normal"]
