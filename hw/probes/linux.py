"""Reads a Linux machine from /proc and /sys, within what affinity and control groups leave of it."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from ..chips import name_of_parts, name_of_soc
from ..profile import CapabilityProfile, CpuLevel, Reading
from ..sample import Sample
from ..thermal import worst
from . import linux_parsing as parsing
from .cgroups import Cgroups
from .files import list_paths, read_integer, read_text
from .processes import CpuUsage, read_resident_bytes
from .sensors import PowerState, Sensors, read_power_state

_SLOW_S: Final = 10.0
"""How often the power supplies are read."""
_HYPERVISORS: Final = (
    "QEMU",
    "KVM",
    "VMware",
    "VirtualBox",
    "Parallels",
    "Apple Virtualization",
    "Amazon EC2",
    "Google Compute",
)


class LinuxProbe:
    """Reads what the kernel shows; `root` may be a copy of it."""

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        affinity: frozenset[int] | None = None,
        machine: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self._affinity = affinity if affinity is not None else _read_affinity()
        self._architecture = (machine or platform.machine()).replace("aarch64", "arm64")
        self._clock = clock
        self._cgroups = Cgroups(root)
        self._sensors = Sensors(root)
        self._cpu = CpuUsage()
        self._slow_at_s: float | None = None
        self._power = PowerState()

    def read_profile(self) -> CapabilityProfile:
        """Reads what the machine says of itself."""
        cpu = parsing.parse_cpu_info(self._text("proc/cpuinfo"))
        logical = Reading(cpu.logical_cpus, "/proc/cpuinfo") if cpu.logical_cpus is not None else None
        model = self._model()
        apple_levels = parsing.to_apple_levels(cpu.apple_parts)
        levels = apple_levels or self._levels()
        return CapabilityProfile(
            host=self._text("proc/sys/kernel/hostname") or platform.node() or "localhost",
            system=self._system(),
            architecture=self._architecture,
            model=model,
            chip=self._chip(cpu),
            cpu_levels=levels,
            cpu_levels_source="/proc/cpuinfo CPU part" if apple_levels else "/sys/devices/system/cpu" if levels else None,
            logical_cpus=logical,
            usable_cpus=self._usable_cpus(cpu.logical_cpus),
            memory_bytes=self._memory(),
            fanless=Reading(True, "device tree") if model is not None and model.value.startswith("Apple MacBook Air") else None,
            virtual_machine=self._virtual_machine(cpu.hypervisor),
        )

    def read_sample(self, pids: Sequence[int]) -> Sample:
        """Reads the load; a handful of small files."""
        at_s = self._clock()
        if self._slow_at_s is None or at_s - self._slow_at_s >= _SLOW_S:
            self._slow_at_s = at_s
            self._power = read_power_state(self._root)
        values = {**self._memory_load(), **self._heat_load(at_s), **self._power_source()}
        known: dict[str, Any] = {name: value for name, (value, _) in values.items() if value is not None}
        return Sample(
            at_s=at_s,
            cpu_percent=self._cpu_percent(at_s),
            process_bytes=read_resident_bytes(pids),
            sources={name: values[name][1] for name in known},
            estimated=tuple(name for name in ("memory_pressure", "thermal_level") if name in known),
            **known,
        )

    def _memory_load(self) -> dict[str, tuple[int | str | None, str]]:
        """Reads memory, swap and pressure, each with its source; within the group that limits us, if one does."""
        memory = parsing.parse_memory_info(self._text("proc/meminfo"))
        group = self._cgroups.find_memory_limit()
        total, available = memory.get("MemTotal"), parsing.to_available(memory)
        pressure, origin = self._text("proc/pressure/memory"), "/proc/meminfo MemTotal"
        if group is not None and total is not None and group.limit_bytes < total:
            total, origin = group.limit_bytes, "control group"
            used = group.read_used_bytes()
            left = max(0, total - used) if used is not None else None
            available = min((each for each in (available, left) if each is not None), default=None)
            pressure = group.read_pressure() or pressure
        swap_total, swap_free = memory.get("SwapTotal"), memory.get("SwapFree")
        swap = max(0, swap_total - swap_free) if swap_total is not None and swap_free is not None else None
        stalled = parsing.parse_pressure(pressure)
        judged = stalled or (parsing.to_pressure(available, total) if available is not None and total is not None else None)
        return {
            "memory_total_bytes": (total, origin),
            "memory_used_bytes": (
                max(0, total - available) if total is not None and available is not None else None,
                "/proc/meminfo",
            ),
            "memory_available_bytes": (available, "/proc/meminfo MemAvailable"),
            "swap_used_bytes": (swap, "/proc/meminfo"),
            "memory_pressure": (judged, "pressure stall information" if stalled is not None else "available memory"),
        }

    def _heat_load(self, at_s: float) -> dict[str, tuple[float | str | None, str]]:
        level, throttled = self._sensors.read_thermal_level(), self._sensors.read_throttled()
        return {
            # The processor's own count of throttling knows what no trip point tells.
            "thermal_level": (
                worst([level, "moderate" if throttled else None]),
                "throttling" if throttled else "thermal zones",
            ),
            "temperature_c": (self._sensors.read_temperature_c(), "hwmon, thermal zones"),
            "power_w": (self._sensors.read_power_w(at_s), "powercap, hwmon"),
            "fan_rpm": (self._sensors.read_fan_rpm(), "hwmon"),
        }

    def _power_source(self) -> dict[str, tuple[float | bool | None, str]]:
        return {
            "on_battery": (self._power.on_battery, "power_supply"),
            "battery_percent": (self._power.battery_percent, "power_supply"),
            "low_power_mode": (self._power.low_power_mode, "platform_profile"),
        }

    def _text(self, path: str) -> str:
        return read_text(self._root / path) or ""

    def _system(self) -> str:
        version = re.match(r"[0-9]+\.[0-9]+", self._text("proc/sys/kernel/osrelease"))
        return f"Linux {version[0]}" if version is not None else "Linux"

    def _model(self) -> Reading[str] | None:
        for path, source in (("proc/device-tree/model", "device tree"), ("sys/class/dmi/id/product_name", "DMI")):
            name = self._text(path)
            if name:
                return Reading(name, source)
        return None

    def _chip(self, cpu: parsing.CpuInfo) -> Reading[str] | None:
        """Names the processor; Apple's are named by the silicon's id, as the kernel has no brand for them."""
        compatible = (read_text(self._root / "proc/device-tree/compatible") or "").split("\0")
        socs = [name.removeprefix("apple,") for name in compatible if name.startswith("apple,")]
        by_tree = next((name for soc in socs if (name := name_of_soc(soc)) is not None), None)
        if by_tree is not None:
            return Reading(by_tree, "device tree")
        soc = parsing.APPLE_PARTS.get(cpu.apple_parts[0]) if cpu.apple_parts else None
        by_part = name_of_parts(soc, len(cpu.apple_parts)) if soc is not None else None
        if by_part is not None:
            return Reading(by_part, "/proc/cpuinfo CPU part", estimated=True)
        return Reading(cpu.name, "/proc/cpuinfo model name") if cpu.name is not None else None

    def _levels(self) -> tuple[CpuLevel, ...]:
        """Sorts the cores by what the kernel knows of their speed; threads of one core count once."""
        cores = self._cores()
        fast = set(parsing.parse_cpu_list(self._text("sys/devices/cpu_core/cpus")))
        slow = set(parsing.parse_cpu_list(self._text("sys/devices/cpu_atom/cpus")))
        if fast and slow:
            groups = [sum(1 for core in cores if core & kind) for kind in (fast, slow)]
        else:
            groups = self._by_capacity(cores)
        names = ("Performance", *("Middle",) * (len(groups) - 2), "Efficiency") if len(groups) > 1 else ("Standard",)
        return tuple(CpuLevel(name, count) for name, count in zip(names, groups, strict=False) if count)

    def _cores(self) -> set[frozenset[int]]:
        """Reads which processors are threads of the same core."""
        folders = list_paths(self._root / "sys/devices/system/cpu", "cpu[0-9]*/topology")
        lists = [read_text(folder / "core_cpus_list") or read_text(folder / "thread_siblings_list") for folder in folders]
        return {frozenset(cpus) for text in lists if (cpus := parsing.parse_cpu_list(text or ""))}

    def _by_capacity(self, cores: set[frozenset[int]]) -> list[int]:
        counts: dict[int, int] = {}
        for core in cores:
            capacity = read_integer(self._root / f"sys/devices/system/cpu/cpu{min(core)}/cpu_capacity") or 0
            counts[capacity] = counts.get(capacity, 0) + 1
        return [counts[capacity] for capacity in sorted(counts, reverse=True)]

    def _usable_cpus(self, logical: int | None) -> Reading[int] | None:
        allowed = len(self._affinity) or logical
        group = self._cgroups.find_cpu_limit()
        if group is not None and (allowed is None or group.limit < allowed):
            # Threads beyond a whole processor's time only wait for each other.
            return Reading(max(1, int(group.limit)), "control group")
        return Reading(allowed, "affinity") if allowed is not None else None

    def _memory(self) -> Reading[int] | None:
        total = parsing.parse_memory_info(self._text("proc/meminfo")).get("MemTotal")
        group = self._cgroups.find_memory_limit()
        if group is not None and (total is None or group.limit_bytes < total):
            return Reading(group.limit_bytes, "control group")
        return Reading(total, "/proc/meminfo MemTotal") if total is not None else None

    def _virtual_machine(self, hypervisor: bool | None) -> Reading[bool] | None:
        if hypervisor is not None:
            return Reading(hypervisor, "/proc/cpuinfo")
        names = [self._text(f"sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name")]
        if any(name.startswith(_HYPERVISORS) for name in names):
            return Reading(True, "DMI")
        return Reading(False, "device tree") if self._text("proc/device-tree/compatible").find("apple,") >= 0 else None

    def _cpu_percent(self, at_s: float) -> float | None:
        """Reads how much is used of what we may use: in a group with a quota that is the quota."""
        group = self._cgroups.find_cpu_limit()
        if group is not None and group.limit < len(self._affinity):
            used_s = group.read_used_s()
            if used_s is not None:
                return self._cpu.advance(used_s, at_s * group.limit)
        times = parsing.parse_cpu_times(self._text("proc/stat"), self._affinity)
        return self._cpu.advance(*times) if times is not None else None


def _read_affinity() -> frozenset[int]:
    try:
        return frozenset(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return frozenset()
