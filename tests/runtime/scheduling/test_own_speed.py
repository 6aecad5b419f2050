import pytest

from impetus.runtime.scheduling.own_speed import STALE_S, OwnSpeed, depth_of


def run(speed: OwnSpeed, steps_per_s: float, begin_s: int, seconds: int, *, depth: int = 0, cool: bool = True) -> float:
    for second in range(begin_s, begin_s + seconds):
        speed.note(("m", 1, depth), steps_per_s, float(second), cool=cool)
    return float(begin_s + seconds - 1)


def test_what_was_best_on_a_cool_machine_is_the_measure() -> None:
    speed = OwnSpeed()
    assert speed.ratio(run(speed, 20, 0, 9)) is None
    assert speed.ratio(run(speed, 20, 9, 5)) == pytest.approx(1)
    assert speed.ratio(run(speed, 10, 14, 90, cool=False)) == pytest.approx(0.5, abs=0.01)
    # A hot window never lowers or raises the measure.
    assert speed.ratio(run(speed, 30, 104, 90, cool=False)) == pytest.approx(1.5, abs=0.01)


def test_one_outlier_is_no_best_speed() -> None:
    speed = OwnSpeed()
    run(speed, 20, 0, 15)
    speed.note(("m", 1, 0), 200.0, 15.0, cool=True)
    assert speed.ratio(run(speed, 20, 16, 90)) == pytest.approx(1, abs=0.01)


def test_what_was_long_ago_says_nothing() -> None:
    speed = OwnSpeed()
    last_s = run(speed, 20, 0, 20)
    assert speed.ratio(last_s + STALE_S) is not None
    assert speed.ratio(last_s + STALE_S + 1) is None
    assert speed.ratio(run(speed, 10, 100, 1, cool=False)) == pytest.approx(0.5)


def test_a_depth_that_is_new_is_measured_by_the_nearest_and_other_models_are_not() -> None:
    speed = OwnSpeed()
    run(speed, 20, 0, 20, depth=2)
    assert speed.ratio(run(speed, 10, 20, 90, depth=4, cool=False)) == pytest.approx(10 / (20 * 0.93**2), abs=0.01)
    assert speed.ratio(run(speed, 20, 110, 90, depth=1, cool=False)) == pytest.approx(1, abs=0.01)
    fresh = OwnSpeed()
    run(fresh, 20, 0, 20)
    fresh.note(("other", 1, 0), 1.0, 20.0, cool=False)
    fresh.note(("m", 2, 0), 1.0, 20.0, cool=False)
    assert fresh.ratio(20.0) == pytest.approx(1)


def test_depths_come_in_classes_of_twice_the_tokens() -> None:
    assert [depth_of(tokens) for tokens in (0, 1023, 1024, 2048, 4096, 8191, 8192)] == [0, 0, 1, 2, 3, 3, 4]
