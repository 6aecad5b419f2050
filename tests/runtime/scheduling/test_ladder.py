from hypothesis import given, settings
from hypothesis import strategies as st

from impetus.runtime.scheduling.ladder import MOST_CHANGES, PER_S, Ladder

WISHES = st.lists(st.tuples(st.floats(0.1, 30.0), st.integers(0, 5), st.integers(1, 40)), min_size=1, max_size=40)
"""How far readings are apart, what they want, and how many of them come in a row."""


@settings(max_examples=200, deadline=None)
@given(wishes=WISHES, rise_s=st.floats(0, 10), fall_s=st.floats(0, 90))
def test_no_minute_sees_more_than_two_changes(wishes: list[tuple[float, int, int]], rise_s: float, fall_s: float) -> None:
    ladder = Ladder(top=5, rise_s=rise_s, fall_s=fall_s)
    at_s = 0.0
    changes: list[float] = []
    for apart_s, wanted, count in wishes:
        for _ in range(count):
            at_s += apart_s
            before = ladder.rung
            assert ladder.observe(wanted, at_s) == (ladder.rung != before)
            if ladder.rung != before:
                changes.append(at_s)
    for first, last in zip(changes, changes[MOST_CHANGES:], strict=False):
        assert last - first >= PER_S


@settings(max_examples=100, deadline=None)
@given(wishes=WISHES, last=st.integers(0, 5))
def test_what_lasts_is_reached_whatever_came_before(wishes: list[tuple[float, int, int]], last: int) -> None:
    ladder = Ladder(top=5, rise_s=3, fall_s=30)
    at_s = 0.0
    for apart_s, wanted, count in wishes:
        for _ in range(count):
            at_s += apart_s
            ladder.observe(wanted, at_s)
    for _ in range(200):
        at_s += 1
        ladder.observe(last, at_s)
    assert ladder.rung == last


def test_a_peak_of_one_reading_changes_nothing() -> None:
    ladder = Ladder(top=2, rise_s=2, fall_s=30)
    assert [ladder.observe(wanted, at_s) for at_s, wanted in enumerate([0, 2, 0, 0, 1, 0, 2, 0])] == [False] * 8


def test_the_way_up_is_quick_and_may_skip_rungs_and_the_way_down_waits() -> None:
    ladder = Ladder(top=2, rise_s=2, fall_s=30)
    rungs: list[int] = []
    for second in range(200):
        ladder.observe(2 if 10 <= second < 50 else 0, float(second))
        rungs.append(ladder.rung)
    assert rungs[11:13] == [0, 2]
    assert rungs.index(0, 20) == 80  # 30 s after the last wish, and a minute after the change at 12


def test_readings_that_come_twice_or_late_count_once() -> None:
    ladder = Ladder(top=1, rise_s=2, fall_s=30)
    for at_s in (0.0, 1.0, 1.0, 0.5, 1.5):
        assert not ladder.observe(1, at_s)
    assert ladder.observe(1, 2.0)


def test_nothing_is_known_of_the_time_between_readings_that_are_far_apart() -> None:
    ladder = Ladder(top=1, rise_s=2, fall_s=30)
    ladder.observe(1, 0.0)
    assert not ladder.observe(1, 3600.0)
    assert not ladder.observe(1, 3601.0)
    assert ladder.observe(1, 3602.0)
