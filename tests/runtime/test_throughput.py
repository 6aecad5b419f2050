from hypothesis import given
from hypothesis import strategies as st

from impetus.runtime.throughput import Throughput


class Clock:
    def __init__(self) -> None:
        self.now = 1000.5

    def __call__(self) -> float:
        return self.now


def test_rates_are_tokens_of_complete_seconds_newest_last() -> None:
    clock = Clock()
    throughput = Throughput(window_s=5, clock=clock)
    throughput.note("a", 3)
    assert list(throughput.rates("a")) == [0, 0, 0, 0, 0]
    clock.now += 1
    throughput.note("a", 4)
    assert list(throughput.rates("a")) == [0, 0, 0, 0, 3]
    assert throughput.total() == 3
    clock.now += 2
    assert list(throughput.rates("a")) == [0, 0, 3, 4, 0]
    assert throughput.total() == 0


def test_what_is_older_than_the_window_is_forgotten() -> None:
    clock = Clock()
    throughput = Throughput(window_s=5, clock=clock)
    throughput.note("a", 3)
    clock.now += 1000
    assert list(throughput.rates("a")) == [0] * 5


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 9)), max_size=40))
def test_rates_agree_with_a_plain_count(steps: list[tuple[int, int]]) -> None:
    clock = Clock()
    throughput = Throughput(window_s=5, clock=clock)
    counted: dict[int, int] = {}
    for wait, tokens in steps:
        clock.now += wait
        throughput.note("a", tokens)
        counted[int(clock.now)] = counted.get(int(clock.now), 0) + tokens
    now = int(clock.now)
    assert list(throughput.rates("a")) == [counted.get(second, 0) for second in range(now - 5, now)]
