"""Brings the machine's readings to the governors, and what they decide to the engines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ...hw.monitor import Monitor
from ...hw.sample import Sample
from .governors import Governors
from .residency import Residency

IDLE_S = 5.0
"""A model that was used so lately is between two requests, not idle."""


class Governing:
    """Listens to the monitor from `open` to `close`."""

    def __init__(self, governors: Governors, residency: Residency, monitor: Monitor) -> None:
        self._governors = governors
        self._residency = residency
        self._monitor = monitor
        self._remove: Callable[[], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        """Begins to listen; called in the loop."""
        self._loop = asyncio.get_running_loop()
        self._remove = self._monitor.listen(self._take_in_thread)

    def close(self) -> None:
        """Ends listening."""
        self._loop = None
        if self._remove is not None:
            self._remove()

    def observe(self, sample: Sample) -> None:
        """Takes a reading, and sees to it that what the governors decide is done."""
        governors, residency = self._governors, self._residency
        if governors.observe(sample, residency.stats()):
            residency.limit(governors.limits, fewer=governors.heat.lowers_concurrency)
        if governors.memory.unloads_idle:
            residency.unload_idle(IDLE_S)

    def _take_in_thread(self, sample: Sample) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._take, sample)

    def _take(self, sample: Sample) -> None:
        if self._loop is not None:
            self.observe(sample)
