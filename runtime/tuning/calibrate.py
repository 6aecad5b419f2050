"""Tells a short burst from sustained work: how fast a model writes on a cool machine, and how fast once it is warm."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from ...hw.monitor import Monitor

COOL_S: Final = 30.0
"""After this pause back-to-back runs on hot Macs no longer slow each other down."""
MOST_COOL_S: Final = 180.0
_LOOK_S: Final = 1.0
_LAST_SHARE: Final = 3
"""The last third of a sustained run counts."""


class Sustained(msgspec.Struct, frozen=True):
    """What a burst and a sustained run measured."""

    burst_tps: float
    sustained_tps: float
    """Median of the last third."""
    seconds: float
    answers: int

    @property
    def ratio(self) -> float:
        """What is left of the burst's speed."""
        return self.sustained_tps / self.burst_tps


async def calibrate(run: Callable[[], Awaitable[float | None]], monitor: Monitor, *, seconds: float) -> Sustained | None:
    """Cools down, runs one burst, then runs for a while.

    Args:
        run: runs one answer and gives its tokens per second; None where it was too short to tell.
        monitor: says how hot the machine is.
        seconds: how long the sustained run takes at least; the pause before is as long at most.

    Returns:
        The figures, or None where no answer told its speed.
    """
    await cool_down(monitor, min(COOL_S, seconds))
    speeds: list[float] = []
    began_s = time.monotonic()
    while not speeds or time.monotonic() - began_s < seconds:
        tps = await run()
        if tps is None:
            return None
        speeds.append(tps)
    last = speeds[-max(1, len(speeds) // _LAST_SHARE) :]
    return Sustained(speeds[0], statistics.median(last), time.monotonic() - began_s, len(speeds))


async def cool_down(monitor: Monitor, pause_s: float) -> bool:
    """Pauses, and goes on pausing while the machine says that it is hot; False where that took too long."""
    await asyncio.sleep(pause_s)
    until_s = time.monotonic() + MOST_COOL_S
    while (sample := monitor.latest) is not None and sample.thermal_level not in (None, "nominal"):
        if time.monotonic() >= until_s:
            return False
        await asyncio.sleep(_LOOK_S)
    return True
