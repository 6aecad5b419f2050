from __future__ import annotations

from types import SimpleNamespace

import pytest

from impetus.hw.sample import Sample
from impetus.runtime.tuning import calibrate as module
from impetus.runtime.tuning.calibrate import calibrate


class Clock:
    """Time that passes only while somebody sleeps or runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now_s))
        monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=self.sleep))

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def monitor(clock: Clock, cool_at_s: float) -> SimpleNamespace:
    class Monitor(SimpleNamespace):
        @property
        def latest(self) -> Sample:
            return Sample(at_s=clock.now_s, thermal_level="heavy" if clock.now_s < cool_at_s else "nominal")

    return Monitor()


async def test_a_machine_that_slows_down_is_told_from_its_burst(monkeypatch):
    clock, speeds = Clock(monkeypatch), iter([40.0, 39.0, 30.0, 29.0, 28.0, 28.0, 28.0, 27.0, 28.0])

    async def run() -> float:
        clock.now_s += 10
        return next(speeds)

    found = await calibrate(run, monitor(clock, 0), seconds=90)
    assert (found.burst_tps, found.sustained_tps, found.answers) == (40.0, 28.0, 9)
    assert found.ratio == pytest.approx(0.7)


@pytest.mark.parametrize(("cool_at_s", "began_s"), [(0, 30), (75, 75), (10_000, 210)])
async def test_it_waits_until_the_machine_is_cool_but_not_for_ever(monkeypatch, cool_at_s, began_s):
    clock, began = Clock(monkeypatch), []

    async def run() -> float:
        began.append(clock.now_s)
        clock.now_s += 100
        return 20.0

    await calibrate(run, monitor(clock, cool_at_s), seconds=60)
    assert began[0] == began_s


async def test_answers_too_short_to_tell_give_nothing(monkeypatch):
    clock = Clock(monkeypatch)

    async def run() -> None:
        return None

    assert await calibrate(run, monitor(clock, 0), seconds=10) is None
