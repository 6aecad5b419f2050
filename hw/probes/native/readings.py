"""Everything that macOS' own libraries tell, each reading with its source; what one of them does not tell is left out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from ...profile import Reading, to_reading
from ...sample import ThermalLevel
from ...thermal import worst
from .. import macos_parsing as parsing
from . import sysctl
from .core_foundation import CoreFoundation
from .energy import to_gpu_activity, to_power
from .hid import HidSensors
from .io_report import IoReport
from .memory import HostMemory
from .process_info import Objects, ProcessInfo, ThermalPressure, read_gpu_limits
from .registry import Registry
from .smc import Smc, SmcReading

log = logging.getLogger(__name__)

Value = TypeVar("Value")
SampleValue = int | float | bool | str

_SMC: Final = "AppleSMC"


class NativeReadings:
    """Opens what there is once; each look costs some milliseconds, and belongs in a thread. Nothing here raises."""

    def __init__(self) -> None:
        self._failures: set[str] = set()
        self._read_raw = sysctl.open_sysctl()
        self._foundation = CoreFoundation()
        self._registry = Registry(self._foundation)
        self._memory = HostMemory()
        self._pressure = ThermalPressure()
        self._objects = Objects()
        self._process = self._guard(lambda: ProcessInfo(self._objects))
        self._report = self._guard(lambda: IoReport(self._foundation))
        self._clocks = self._guard(self._registry.read_gpu_clocks) or ()
        connection = self._guard(lambda: self._registry.connect(_SMC))
        self._smc = Smc(lambda wanted: self._registry.exchange(connection, wanted)) if connection is not None else None
        self._hid: HidSensors | None = None

    def read_sysctl(self, names: Sequence[str]) -> Mapping[str, str]:
        """Reads kernel values by their names; those that are missing are left out."""
        read = self._read_raw
        return (self._guard(lambda: sysctl.read_keys(read, names)) or {}) if read is not None else {}

    def read_facts(self) -> dict[str, Reading[int | bool]]:
        """Reads what the machine is, beyond what sysctl tells; by the names of CapabilityProfile."""
        cores = self._guard(self._registry.read_gpu_cores)
        limits = self._guard(lambda: read_gpu_limits(self._objects)) or (None, None)
        smc = self._smc
        fans = self._guard(smc.read_fan_count) if smc is not None else None
        facts: dict[str, Reading[int | bool] | None] = {
            "gpu_cores": to_reading(cores, "IORegistry gpu-core-count"),
            "working_set_bytes": to_reading(limits[0], "Metal recommendedMaxWorkingSetSize"),
            "max_buffer_bytes": to_reading(limits[1], "Metal maxBufferLength"),
            "fanless": to_reading(fans == 0 if fans is not None else None, "SMC FNum"),
        }
        return {name: reading for name, reading in facts.items() if reading is not None}

    def read_load(self) -> dict[str, Reading[SampleValue]]:
        """Reads how hard the machine works; by the names of Sample."""
        found: dict[str, Reading[SampleValue] | None] = {}
        self._read_memory(found)
        self._read_heat(found)
        self._read_gpu(found)
        low_power = self._guard(self._process.read_low_power) if self._process is not None else None
        found["low_power_mode"] = to_reading(low_power, "NSProcessInfo isLowPowerModeEnabled")
        return {name: reading for name, reading in found.items() if reading is not None}

    def _read_memory(self, found: dict[str, Reading[SampleValue] | None]) -> None:
        keys = self.read_sysctl(("hw.memsize", "kern.memorystatus_vm_pressure_level"))
        found["memory_total_bytes"] = to_reading(parsing.parse_integer(keys.get("hw.memsize")) or None, "sysctl hw.memsize")
        level = parsing.parse_pressure_level(keys.get("kern.memorystatus_vm_pressure_level"))
        found["memory_pressure"] = to_reading(level, "sysctl kern.memorystatus_vm_pressure_level")
        found["memory_used_bytes"] = to_reading(self._guard(self._memory.read_used_bytes), "host_statistics64")
        raw = self._read_raw("vm.swapusage") if self._read_raw is not None else None
        found["swap_used_bytes"] = to_reading(sysctl.to_swap_used(raw) if raw is not None else None, "sysctl vm.swapusage")

    def _read_heat(self, found: dict[str, Reading[SampleValue] | None]) -> None:
        level = self._guard(self._pressure.read_level)
        state = self._guard(self._process.read_thermal_state) if self._process is not None else None
        found["thermal_level"] = to_thermal(level, state)
        smc = self._smc
        sensors = (self._guard(smc.read) if smc is not None else None) or SmcReading()
        heat = to_reading(sensors.temperature_c, "SMC")
        found["temperature_c"] = heat or to_reading(self._read_hid_heat(), "IOHID")
        found["fan_rpm"] = to_reading(sensors.fan_rpm, "SMC F0Ac")
        found["power_w"] = to_reading(sensors.system_w, "SMC PSTR")

    def _read_hid_heat(self) -> float | None:
        if self._hid is None and self._foundation.available:
            self._hid = self._guard(lambda: HidSensors(self._foundation))
        return self._guard(self._hid.read_chip_heat) if self._hid is not None else None

    def _read_gpu(self, found: dict[str, Reading[SampleValue] | None]) -> None:
        load = self._guard(self._registry.read_gpu_load)
        counters, states, seconds = (self._guard(self._report.read) if self._report is not None else None) or ([], [], 0.0)
        power = to_power(counters, seconds)
        busy, mhz = to_gpu_activity(states, self._clocks)
        by_driver = to_reading(load.busy_percent if load is not None else None, "IORegistry Device Utilization %")
        found["gpu_percent"] = by_driver or to_reading(busy, "IOReport GPUPH")
        found["gpu_memory_bytes"] = to_reading(
            load.memory_bytes if load is not None else None, "IORegistry In use system memory"
        )
        found["gpu_mhz"] = to_reading(mhz, "IOReport GPUPH")
        found["gpu_power_w"] = to_reading(power.gpu_w, "IOReport Energy Model")
        found["power_w"] = found.get("power_w") or to_reading(power.chip_w, "IOReport Energy Model")

    def _guard(self, read: Callable[[], Value]) -> Value | None:
        """Reads; a library that behaves otherwise than it is known to costs its reading, and a line in the log."""
        try:
            return read()
        except Exception:
            name = getattr(read, "__qualname__", repr(read))
            if name not in self._failures:
                self._failures.add(name)
                log.warning("%s cannot be read", name, exc_info=True)
            return None


def to_thermal(level: ThermalLevel | None, state: ThermalLevel | None) -> Reading[SampleValue] | None:
    """Puts pressure and state together: the pressure tells more, but the hotter of the two holds."""
    if level is None:
        return Reading(state, "NSProcessInfo thermalState", estimated=state == "moderate") if state is not None else None
    hotter = worst([level, state]) if state != "moderate" else level
    return Reading(hotter or level, "notify(3)" if hotter == level else "NSProcessInfo thermalState")
