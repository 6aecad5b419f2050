"""Reads a Mac by the text of sysctl, ioreg, vm_stat, pmset, memory_pressure and system_profiler; needs no rights.

The level of thermal pressure is not among it: `pmset -g therm` says on Apple Silicon only that nothing was recorded,
even while the machine throttles.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..chips import parse_brand
from ..profile import CapabilityProfile, Reading, to_reading
from ..sample import Sample
from . import macos_parsing as parsing
from .commands import PatientRunner, Run, run_command
from .processes import CpuUsage, read_resident_bytes

SYSCTL: Final = "/usr/sbin/sysctl"
IOREG_GPU: Final = ("/usr/sbin/ioreg", "-r", "-d1", "-w0", "-c", "IOAccelerator")
IOREG_AGX: Final = ("/usr/sbin/ioreg", "-r", "-d1", "-w0", "-c", "AGXAccelerator")
VM_STAT: Final = ("/usr/bin/vm_stat",)
MEMORY_PRESSURE: Final = ("/usr/bin/memory_pressure", "-Q")
PMSET: Final = ("/usr/bin/pmset", "-g")
PMSET_BATTERY: Final = ("/usr/bin/pmset", "-g", "batt")
HARDWARE_REPORT: Final = ("/usr/sbin/system_profiler", "SPHardwareDataType", "-json")
DISPLAYS_REPORT: Final = ("/usr/sbin/system_profiler", "SPDisplaysDataType", "-json")
VERSION: Final = ("/usr/bin/sw_vers", "-productVersion")
NATIVE_BRAND: Final = ("/usr/bin/arch", "-arm64", SYSCTL, "-n", "machdep.cpu.brand_string")

_PROFILE_KEYS: Final = (
    "machdep.cpu.brand_string",
    "machdep.cpu.thread_count",
    "hw.model",
    "hw.memsize",
    "hw.ncpu",
    "hw.logicalcpu",
    "hw.optional.arm64",
    "hw.nperflevels",
    *(f"hw.perflevel{level}.{field}" for level in range(6) for field in ("name", "physicalcpu")),
    "kern.hv_vmm_present",
    "kern.hostname",
    "kern.osproductversion",
    "sysctl.proc_translated",
    "iogpu.wired_limit_mb",
)
_REPORT: Final = "system_profiler"
_PRESSURE_KEY: Final = "kern.memorystatus_vm_pressure_level"
_SAMPLE_KEYS: Final = ("hw.memsize", "vm.swapusage", _PRESSURE_KEY, "kern.memorystatus_level")
_TOLD_BY_SYSCTL: Final = frozenset({"memory_total_bytes", "swap_used_bytes", "memory_pressure"})
_TOLD_BY_IOREG: Final = frozenset({"gpu_percent", "gpu_memory_bytes"})
_TOLD_BY_BATTERY: Final = frozenset({"on_battery", "battery_percent"})
_SLOW_S: Final = 10.0
"""How often what changes rarely is read: the power source, low-power mode, and what a fallback costs."""


@dataclass(frozen=True, slots=True)
class _Gpu:
    cores: Reading[int] | None = None
    chip: Reading[str] | None = None


class MacosTextProbe:
    """Reads what a Mac's own programs print; static facts once, cheap ones at each sample, others every ten seconds."""

    def __init__(
        self,
        run: Run = run_command,
        clock: Callable[[], float] = time.monotonic,
        read_keys: Callable[[Sequence[str]], Mapping[str, str]] | None = None,
    ) -> None:
        """Prepares to read.

        Args:
            run: runs a program.
            clock: tells the time.
            read_keys: gives the kernel's values by their names; where it gives none, the program sysctl is asked.
        """
        self._run = PatientRunner(run, clock)
        self._read_keys = read_keys
        self._clock = clock
        self._cpu = CpuUsage()
        self._slow_at_s: float | None = None
        self._power = parsing.PowerSource(None, None)
        self._low_power: bool | None = None
        self._free_percent: int | None = None
        self._has_gpu_state = True

    def read_profile(self, without: Collection[str] = ()) -> CapabilityProfile:
        """Reads what the Mac says of itself; without the facts, by their names, that somebody else reads."""
        keys = self._sysctl(_PROFILE_KEYS)
        report = self._report(keys)
        rosetta = _flag(keys, "sysctl.proc_translated")
        virtual = parsing.parse_virtual(keys, report.model)
        gpu = _Gpu() if "gpu_cores" in without or (virtual is not None and virtual.value) else self._gpu()
        levels = parsing.parse_cpu_levels(keys)
        logical = _first_integer(keys, "hw.logicalcpu", "hw.ncpu", "machdep.cpu.thread_count")
        if logical is None and levels:
            logical = Reading(sum(level.cores for level in levels), "sysctl hw.perflevel")
        return CapabilityProfile(
            host=keys.get("kern.hostname") or platform.node() or "Mac",
            system=self._system(keys),
            architecture=parsing.parse_architecture(keys) or platform.machine(),
            model=_first_text(keys, "hw.model") or to_reading(report.model, _REPORT),
            chip=self._chip(keys, rosetta) or to_reading(report.chip, _REPORT) or gpu.chip,
            cpu_levels=levels,
            cpu_levels_source="sysctl hw.perflevel" if levels else None,
            logical_cpus=logical,
            usable_cpus=logical,
            gpu_cores=gpu.cores,
            memory_bytes=_first_integer(keys, "hw.memsize") or to_reading(report.memory_bytes, _REPORT),
            working_set_bytes=parsing.parse_wired_limit(keys),
            virtual_machine=virtual,
            rosetta=rosetta,
        )

    def read_sample(self, pids: Sequence[int], without: Collection[str] = ()) -> Sample:
        """Reads the load; three short programs at each call, in all well under a tenth of a second.

        Args:
            pids: the processes whose memory is read.
            without: the fields that somebody else reads; a program that would tell nothing else is not run.
        """
        keys: Mapping[str, str] = self._sysctl(_SAMPLE_KEYS) if _TOLD_BY_SYSCTL.difference(without) else {}
        self._read_slow(keys, without)
        total = parsing.parse_integer(keys.get("hw.memsize"))
        used = parsing.parse_memory_used(self._run(*VM_STAT) or "") if "memory_used_bytes" not in without else None
        gpu = self._gpu_state() if _TOLD_BY_IOREG.difference(without) else parsing.GpuState(None, None, None, None)
        stated = parsing.parse_pressure_level(keys.get(_PRESSURE_KEY))
        pressure = stated or (parsing.to_pressure(self._free_percent) if self._free_percent is not None else None)
        values = {
            "gpu_percent": (gpu.busy_percent, "ioreg Device Utilization %"),
            "gpu_memory_bytes": (gpu.memory_bytes, "ioreg In use system memory"),
            "memory_total_bytes": (total, "sysctl hw.memsize"),
            "memory_used_bytes": (used, "vm_stat"),
            "memory_available_bytes": (max(0, total - used) if total is not None and used is not None else None, "vm_stat"),
            "swap_used_bytes": (parsing.parse_swap_used(keys.get("vm.swapusage")), "sysctl vm.swapusage"),
            "memory_pressure": (pressure, f"sysctl {_PRESSURE_KEY}" if stated is not None else "free memory"),
            "on_battery": (self._power.on_battery, "pmset -g batt"),
            "battery_percent": (self._power.battery_percent, "pmset -g batt"),
            "low_power_mode": (self._low_power, "pmset -g"),
        }
        known: dict[str, Any] = {
            name: value for name, (value, _) in values.items() if value is not None and name not in without
        }
        return Sample(
            at_s=self._clock(),
            cpu_percent=self._cpu.read_percent(),
            process_bytes=read_resident_bytes(pids),
            sources={name: values[name][1] for name in known},
            estimated=("memory_pressure",) if "memory_pressure" in known and stated is None else (),
            **known,
        )

    def _sysctl(self, names: Sequence[str]) -> Mapping[str, str]:
        """Reads several keys at once; older programs do not know -i, and go on after an unknown key by themselves."""
        keys: Mapping[str, str] = self._read_keys(names) if self._read_keys is not None else {}
        keys = keys or parsing.parse_sysctl(self._run(SYSCTL, "-i", *names) or "")
        return keys or parsing.parse_sysctl(self._run(SYSCTL, *names) or "")

    def _report(self, keys: Mapping[str, str]) -> parsing.HardwareReport:
        if all(keys.get(name) for name in ("machdep.cpu.brand_string", "hw.model", "hw.memsize")):
            return parsing.HardwareReport()
        return parsing.parse_hardware_report(self._run(*HARDWARE_REPORT) or "")

    def _chip(self, keys: Mapping[str, str], rosetta: Reading[bool] | None) -> Reading[str] | None:
        if rosetta is not None and rosetta.value:
            native = " ".join((self._run(*NATIVE_BRAND) or "").split())
            if native:
                return Reading(native, "sysctl machdep.cpu.brand_string, run natively")
        brand = " ".join(keys.get("machdep.cpu.brand_string", "").split())
        return Reading(brand, "sysctl machdep.cpu.brand_string") if brand else None

    def _gpu(self) -> _Gpu:
        for command in (IOREG_GPU, IOREG_AGX):
            state = parsing.parse_gpu(self._run(*command) or "")
            if state.cores is not None:
                return _Gpu(Reading(state.cores, "ioreg gpu-core-count"), _named(state.chip, "ioreg model"))
        report = parsing.parse_displays_report(self._run(*DISPLAYS_REPORT) or "")
        return _Gpu(to_reading(report.gpu_cores, _REPORT), _named(report.chip, _REPORT))

    def _system(self, keys: Mapping[str, str]) -> str:
        version = keys.get("kern.osproductversion") or (self._run(*VERSION) or "").strip()
        return f"macOS {version}".rstrip()

    def _gpu_state(self) -> parsing.GpuState:
        """Reads the GPU's load; a machine without the counters is asked only every ten seconds."""
        if not self._has_gpu_state:
            return parsing.GpuState(None, None, None, None)
        state = parsing.parse_gpu(self._run(*IOREG_GPU) or "")
        self._has_gpu_state = state.busy_percent is not None or state.memory_bytes is not None
        return state

    def _read_slow(self, keys: Mapping[str, str], without: Collection[str]) -> None:
        now_s = self._clock()
        if self._slow_at_s is not None and now_s - self._slow_at_s < _SLOW_S:
            return
        self._slow_at_s = now_s
        self._has_gpu_state = True
        if _TOLD_BY_BATTERY.difference(without):
            self._power = parsing.parse_power_source(self._run(*PMSET_BATTERY) or "")
        if "low_power_mode" not in without:
            self._low_power = parsing.parse_low_power(self._run(*PMSET) or "")
        if "memory_pressure" not in without and _PRESSURE_KEY not in keys:
            free = parsing.parse_integer(keys.get("kern.memorystatus_level"))
            self._free_percent = free if free is not None else parsing.parse_free_percent(self._run(*MEMORY_PRESSURE) or "")


def _named(chip: str | None, source: str) -> Reading[str] | None:
    """Takes a GPU's name for the chip's, where it is one: both carry the same on Apple Silicon."""
    return Reading(chip, source) if chip is not None and parse_brand(chip) is not None else None


def _first_text(keys: Mapping[str, str], *names: str) -> Reading[str] | None:
    return next((Reading(keys[name], f"sysctl {name}") for name in names if keys.get(name)), None)


def _first_integer(keys: Mapping[str, str], *names: str) -> Reading[int] | None:
    """Reads the first key that holds a count; none of those asked for can truly be 0."""
    values = ((name, parsing.parse_integer(keys.get(name))) for name in names)
    return next((Reading(value, f"sysctl {name}") for name, value in values if value is not None and value > 0), None)


def _flag(keys: Mapping[str, str], name: str) -> Reading[bool] | None:
    return to_reading(parsing.parse_flag(keys.get(name)), f"sysctl {name}")
