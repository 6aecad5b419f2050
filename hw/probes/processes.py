"""What psutil tells of processes and processors on every system, made safe against its exceptions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

import psutil

log = logging.getLogger(__name__)

_IDLE: Final = ("idle", "iowait")
_COUNTED_ELSEWHERE: Final = ("guest", "guest_nice")
"""Linux counts a guest's time as the user's, too."""


def read_resident_bytes(pids: Sequence[int]) -> dict[int, int]:
    """Reads the resident memory of some processes; one that is gone, or belongs to somebody else, is left out."""
    resident: dict[int, int] = {}
    for pid in pids:
        try:
            rss = psutil.Process(pid).memory_info().rss
        except (psutil.Error, OSError, ValueError, OverflowError):
            continue
        # A process that ended but was not waited for still has its id, and no memory.
        if rss > 0:
            resident[pid] = rss
    return resident


class CpuUsage:
    """Turns the processors' ever-growing times into a percentage since the last look."""

    def __init__(self) -> None:
        self._busy_s = 0.0
        self._total_s = 0.0
        self._failed = False

    def read_percent(self) -> float | None:
        """Reads how busy all cores were since the last call; None at the first one."""
        try:
            times: dict[str, float] = psutil.cpu_times()._asdict()
        except (psutil.Error, OSError, RuntimeError, ValueError):
            if not self._failed:
                log.warning("The processors' times cannot be read", exc_info=True)
            self._failed = True
            return None
        total_s = sum(spent_s for kind, spent_s in times.items() if kind not in _COUNTED_ELSEWHERE)
        busy_s = total_s - sum(times.get(kind, 0.0) for kind in _IDLE)
        return self.advance(busy_s, total_s)

    def advance(self, busy_s: float, total_s: float) -> float | None:
        """Takes new sums, and gives the percentage between the last ones and these."""
        busy_delta, total_delta = busy_s - self._busy_s, total_s - self._total_s
        first = self._total_s == 0.0
        self._busy_s, self._total_s = busy_s, total_s
        if first or total_delta <= 0:
            return None
        return max(0.0, min(100.0, 100.0 * busy_delta / total_delta))


class _Battery(Protocol):
    percent: float | None
    power_plugged: bool | None


@dataclass(frozen=True, slots=True)
class Battery:
    """What psutil tells of the battery; None where there is none, or it does not tell."""

    on_battery: bool | None = None
    percent: float | None = None


def read_battery() -> Battery:
    """Reads the battery; a desktop has none."""
    try:
        battery = cast("_Battery | None", cast("Any", psutil).sensors_battery())
    except (psutil.Error, OSError, RuntimeError, AttributeError, ValueError):
        return Battery()
    if battery is None:
        return Battery()
    percent = float(battery.percent) if battery.percent is not None and 0 <= battery.percent <= 100 else None
    return Battery(not battery.power_plugged if battery.power_plugged is not None else None, percent)
