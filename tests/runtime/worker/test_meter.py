import pytest

from impetus.runtime.worker.backends.backend import Drafted, Occupancy, StepOutcome
from impetus.runtime.worker.meter import Meter


def test_a_report_tells_of_the_steps_since_the_last_one() -> None:
    meter = Meter(now_s=10.0)
    meter.count(StepOutcome(prefill_tokens=100, compute_s=0.4), tokens=0, duration_s=0.5)
    meter.count(StepOutcome(compute_s=0.29), tokens=8, duration_s=0.3)
    assert not meter.due(10.9)
    assert meter.due(11.0)
    stats = meter.report(12.0, running=3, waiting=1, occupancy=Occupancy(50, 200))
    assert (stats.running, stats.waiting, stats.kv_used_tokens, stats.kv_size_tokens) == (3, 1, 50, 200)
    assert stats.step_ms == pytest.approx(400)
    assert stats.overhead_percent == pytest.approx(100 * 0.11 / 0.8)
    assert stats.prefill_tps == pytest.approx(200)
    assert stats.decode_tps == pytest.approx(4)


def test_without_a_step_nothing_is_known() -> None:
    meter = Meter(now_s=0.0)
    meter.count(StepOutcome(prefill_tokens=1, compute_s=1), tokens=1, duration_s=1)
    meter.report(1.0, running=1, waiting=0, occupancy=Occupancy(0, 1))
    stats = meter.report(2.0, running=0, waiting=0, occupancy=Occupancy(0, 1))
    assert (stats.prefill_tps, stats.decode_tps, stats.step_ms) == (None, None, 0)


def test_the_first_report_after_an_idle_time_comes_soon() -> None:
    meter = Meter(now_s=0.0)
    meter.restart(100.0)
    assert not meter.due(100.1)
    assert meter.due(100.3)
    meter.report(100.3, running=1, waiting=0, occupancy=Occupancy(0, 1))
    assert not meter.due(100.6)


def test_only_steps_that_answer_and_do_nothing_else_tell_of_the_machine() -> None:
    meter = Meter(now_s=0.0)
    meter.count(StepOutcome(compute_s=9.0), tokens=2, duration_s=9.0)  # another width
    for compute_s in (0.1, 0.2, 0.3):
        meter.count(StepOutcome(compute_s=compute_s), tokens=3, duration_s=0.5)
    meter.count(StepOutcome(prefill_tokens=8, compute_s=7.0), tokens=3, duration_s=7.0)
    meter.count(StepOutcome(drafted=[Drafted(1, 4, 2)], compute_s=7.0), tokens=3, duration_s=7.0)
    meter.count(StepOutcome(aside_tokens=100, compute_s=7.0), tokens=3, duration_s=7.0)
    stats = meter.report(1.0, running=3, waiting=0, occupancy=Occupancy(0, 1, prefix_bytes=5))
    assert (stats.plain_step_ms, stats.plain_width, stats.prefix_bytes) == (pytest.approx(200), 3, 5)
    meter.count(StepOutcome(compute_s=0.1), tokens=3, duration_s=0.1)
    assert meter.report(2.0, running=3, waiting=0, occupancy=Occupancy(0, 1)).plain_step_ms is None
