import pytest

from impetus.runtime.worker.pace import LONGEST_REST_S, Pace


def test_a_step_is_followed_by_the_rest_that_its_duty_asks_for() -> None:
    pace = Pace(prefill_duty=0.5, decode_duty=0.8)
    pace.note_step(prefill=True, took_s=0.4, now_s=10.0)
    assert pace.wait_s(10.0) == pytest.approx(0.4)
    assert pace.wait_s(10.3) == pytest.approx(0.1)
    assert pace.wait_s(11.0) == 0
    pace.note_step(prefill=False, took_s=0.4, now_s=20.0)
    assert pace.wait_s(20.0) == pytest.approx(0.1)


def test_without_a_duty_nothing_rests_and_no_rest_is_endless() -> None:
    pace = Pace(prefill_duty=0.01, decode_duty=1.0)
    pace.note_step(prefill=False, took_s=5.0, now_s=1.0)
    assert pace.wait_s(1.0) == 0
    pace.note_step(prefill=True, took_s=5.0, now_s=1.0)
    assert pace.wait_s(1.0) == LONGEST_REST_S
