"""One reading of how hard the machine works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

MemoryPressure = Literal["normal", "warn", "critical"]
ThermalLevel = Literal["nominal", "moderate", "heavy", "trapping", "sleeping"]


@dataclass(frozen=True, slots=True)
class Sample:
    """The machine at one moment; None is what could not be read, never 0."""

    at_s: float
    """time.monotonic() of the reading."""
    cpu_percent: float | None = None
    """Of all usable cores together, 0..100."""
    gpu_percent: float | None = None
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    """By everybody; what the system could give back at once is not counted."""
    memory_available_bytes: int | None = None
    swap_used_bytes: int | None = None
    memory_pressure: MemoryPressure | None = None
    thermal_level: ThermalLevel | None = None
    temperature_c: float | None = None
    """The hottest sensor of the chip."""
    gpu_mhz: float | None = None
    gpu_memory_bytes: int | None = None
    """Memory the GPU holds, by every program; a part of memory_used_bytes."""
    power_w: float | None = None
    """Of the whole machine, or of its chip where that is all that can be read."""
    gpu_power_w: float | None = None
    fan_rpm: float | None = None
    on_battery: bool | None = None
    battery_percent: float | None = None
    low_power_mode: bool | None = None
    process_bytes: Mapping[int, int] = field(default_factory=dict[int, int])
    """Resident memory of the watched processes, by process id; one that is gone is left out."""
    sources: Mapping[str, str] = field(default_factory=dict[str, str])
    """Where the fields come from, by their names."""
    estimated: tuple[str, ...] = ()
    """Names of the fields that were derived or assumed, not read."""
