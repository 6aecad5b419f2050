import os
from collections.abc import Iterator

import pytest

from impetus.runtime.engines.frame_reader import FrameReader
from impetus.runtime.frames import Accepted, Delta, Done, FromEngine, Step
from impetus.runtime.worker.pipe import FRAME_S, Outlet


class Ends:
    """An outlet and what came out of it."""

    def __init__(self) -> None:
        self.source, self.target = os.pipe()
        os.set_blocking(self.source, False)
        self.outlet = Outlet(self.target)
        self._reader = FrameReader()

    def step(self, text: str, at_s: float, *, more: bool = True) -> None:
        self.outlet.send_step(Step([Delta(1, text)], tokens=1), now_s=at_s, more=more)

    def came(self) -> list[FromEngine]:
        try:
            return self._reader.feed(os.read(self.source, 1 << 16))
        except BlockingIOError:
            return []


@pytest.fixture
def ends() -> Iterator[Ends]:
    one = Ends()
    yield one
    os.close(one.source)
    os.close(one.target)


def texts(step: FromEngine) -> list[str]:
    assert isinstance(step, Step)
    assert step.tokens == len(step.deltas)
    return [delta.text for delta in step.deltas]


def test_quick_tokens_travel_together_and_in_order(ends: Ends) -> None:
    ends.step("a", 10.0)
    assert [texts(frame) for frame in ends.came()] == [["a"]]
    for at, text in enumerate("bcd", 1):
        assert ends.came() == []
        ends.step(text, 10.0 + 0.3 * at * FRAME_S)
    # The next one would come too late for this frame.
    assert [texts(frame) for frame in ends.came()] == [["b", "c", "d"]]


def test_slow_tokens_never_wait(ends: Ends) -> None:
    for at in range(3):
        ends.step("a", 10.0 + at * 0.6 * FRAME_S)
        assert len(ends.came()) == 1


def test_nothing_waits_where_no_step_follows(ends: Ends) -> None:
    ends.step("a", 10.0)
    ends.step("b", 10.0 + FRAME_S / 4)
    ends.step("c", 10.0 + FRAME_S / 2, more=False)
    assert [texts(frame) for frame in ends.came()] == [["a"], ["b", "c"]]


def test_an_end_takes_what_was_held_with_it(ends: Ends) -> None:
    ends.step("a", 10.0)
    ends.step("b", 10.0 + FRAME_S / 4)
    done = Done(1, "stop", 1, 3, 0, 0.1, 0.1)
    ends.outlet.send_step(Step([Delta(1, "c")], [done], 1), now_s=10.0 + FRAME_S / 2, more=True)
    _, last = ends.came()
    assert texts(last) == ["b", "c"]
    assert isinstance(last, Step)
    assert last.done == [done]


def test_other_frames_never_overtake(ends: Ends) -> None:
    ends.step("a", 10.0)
    ends.step("b", 10.0 + FRAME_S / 4)
    ends.outlet.send(Accepted(2, 5))
    _, held, accepted = ends.came()
    assert texts(held) == ["b"]
    assert accepted == Accepted(2, 5)
    ends.outlet.flush()
    assert ends.came() == []
