"""From IOReport's counters between two looks to power and the GPU's clock. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

_JOULES: Final = {"mJ": 1e-3, "uJ": 1e-6, "nJ": 1e-9}
_NO_VALUE: Final = -(1 << 63)
"""What macOS 27 gives for a counter that it no longer keeps."""
_RESTING: Final = frozenset({"OFF", "IDLE", "DOWN"})
_MOST_WATTS: Final = 1000.0
"""No Mac draws more; what says so is a counter that jumped."""


@dataclass(frozen=True, slots=True)
class Counter:
    """A simple channel: what its number grew by."""

    group: str
    name: str
    unit: str
    value: int


@dataclass(frozen=True, slots=True)
class States:
    """A channel of states: for how long each was taken, in ticks."""

    group: str
    name: str
    residencies: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Power:
    """In watts; None is what no counter tells."""

    cpu_w: float | None = None
    gpu_w: float | None = None
    ane_w: float | None = None
    dram_w: float | None = None

    @property
    def chip_w(self) -> float | None:
        """All parts together; None where neither CPU nor GPU is told, as the rest alone is not the chip."""
        if self.cpu_w is None or self.gpu_w is None:
            return None
        return sum(part for part in (self.cpu_w, self.gpu_w, self.ane_w, self.dram_w) if part is not None)


def to_power(counters: Iterable[Counter], seconds: float) -> Power:
    """Sums the energy model's counters by part: an Ultra has them for each of its dies.

    `GPU0` and its like count once more what `GPU Energy` does, and the complexes' sums end with "CPU Energy". A part whose
    counters stand still is None: macOS 27, and an M5 Ultra, keep them at 0.
    """
    sums: dict[str, float] = {}
    for counter in counters:
        part = _part(counter.name) if counter.group == "Energy Model" else None
        watts = _watts(counter, seconds)
        if part is not None and watts is not None:
            sums[part] = sums.get(part, 0.0) + watts
    known = {part: watts for part, watts in sums.items() if 0 < watts <= _MOST_WATTS}
    return Power(known.get("cpu"), known.get("gpu"), known.get("ane"), known.get("dram"))


def _part(name: str) -> str | None:
    if name == "GPU Energy":
        return "gpu"
    if name.endswith("CPU Energy"):
        return "cpu"
    return "ane" if name.startswith("ANE") else "dram" if name.startswith("DRAM") else None


def _watts(counter: Counter, seconds: float) -> float | None:
    scale = _JOULES.get(counter.unit.strip())
    if scale is None or seconds <= 0 or counter.value == _NO_VALUE or counter.value < 0:
        return None
    return counter.value * scale / seconds


def to_gpu_activity(channels: Iterable[States], clocks_mhz: Sequence[float]) -> tuple[float | None, float | None]:
    """Takes the share of time that the GPU was on, in percent, and its mean clock in MHz while it was.

    Args:
        channels: those of the GPU's performance states; `GPUPH` is the one that counts.
        clocks_mhz: of the states from the slowest named one on, in the order of the states; empty where unknown.
    """
    states = next((each.residencies for each in channels if each.name == "GPUPH"), ())
    total = sum(ticks for _, ticks in states if ticks > 0)
    active = [max(0, ticks) for name, ticks in states if name.upper() not in _RESTING]
    if total <= 0:
        return None, None
    busy = sum(active)
    percent = 100.0 * busy / total
    # Only as many clocks as states are the clocks of these states.
    if busy == 0 or len(active) > len(clocks_mhz):
        return percent, None
    return percent, sum(ticks * mhz for ticks, mhz in zip(active, clocks_mhz, strict=False)) / busy
