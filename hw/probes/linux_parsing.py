"""From the text of /proc to values. Pure, and total: any text at all gives a value or None."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ..profile import CpuLevel
from ..sample import MemoryPressure

_APPLE_IMPLEMENTER: Final = "0x61"
_MOST_CPUS: Final = 4096

_WARN_SOME_PERCENT: Final = 10.0
_CRITICAL_FULL_PERCENT: Final = 5.0
_WARN_AVAILABLE_PERCENT: Final = 10.0
_CRITICAL_AVAILABLE_PERCENT: Final = 5.0

APPLE_PARTS: Final[Mapping[int, str]] = {
    0x22: "t8103",
    0x23: "t8103",
    0x24: "t6000",
    0x25: "t6000",
    0x28: "t6001",
    0x29: "t6001",
    0x32: "t8112",
    0x33: "t8112",
    0x34: "t6020",
    0x35: "t6020",
    0x38: "t6021",
    0x39: "t6021",
}
"""Silicon by a core's part number (Linux: arch/arm64/include/asm/cputype.h); an Ultra has the Max's parts."""


@dataclass(frozen=True, slots=True)
class CpuInfo:
    """What /proc/cpuinfo says."""

    name: str | None
    """The brand, as x86 processors state it."""
    logical_cpus: int | None
    hypervisor: bool | None
    """None off x86, where the file does not tell unless a core is none that Apple ever made."""
    apple_parts: tuple[int, ...]
    """Part number of each core; empty for other makers, and in Apple's virtual machines, whose cores have none."""
    x86_64: bool
    """True where the processor is an x86 one with 64 bits."""


def parse_cpu_info(text: str) -> CpuInfo:
    """Reads /proc/cpuinfo of x86 and ARM."""
    name = None
    hypervisor = None
    processors = 0
    implementer = ""
    x86_64 = False
    parts: list[int] = []
    for line in text.splitlines():
        key, colon, value = (part.strip() for part in line.partition(":"))
        if not colon:
            continue
        if key == "processor" and value.isascii() and value.isdecimal():
            processors += 1
        elif key == "model name" and value:
            name = name or " ".join(value.split())
        elif key == "flags":
            hypervisor = "hypervisor" in value.split()
            x86_64 = "lm" in value.split()
        elif key == "CPU implementer":
            implementer = value.lower()
        elif key == "CPU part" and implementer == _APPLE_IMPLEMENTER and re.fullmatch(r"0x[0-9a-fA-F]{1,4}", value):
            parts.append(int(value, 16))
    if parts and not all(parts):
        return CpuInfo(name, processors or None, True, (), x86_64)
    return CpuInfo(name, processors or None, hypervisor, tuple(parts), x86_64)


def to_apple_levels(parts: Sequence[int]) -> tuple[CpuLevel, ...]:
    """Counts Apple's cores: fast ones have odd part numbers, frugal ones even."""
    fast = sum(part % 2 for part in parts)
    levels = (CpuLevel("Performance", fast), CpuLevel("Efficiency", len(parts) - fast))
    return tuple(level for level in levels if level.cores)


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """Reads a list such as `0-3,8`; empty for what is none."""
    cpus: list[int] = []
    for part in text.strip().split(","):
        match = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", part)
        if match is None:
            return ()
        cpus.extend(range(int(match[1]), min(int(match[2] or match[1]), _MOST_CPUS) + 1))
    return tuple(cpus)


def parse_memory_info(text: str) -> dict[str, int]:
    """Reads /proc/meminfo to bytes by name."""
    matches = (re.fullmatch(r"(\w+(?:\(\w+\))?):\s*([0-9]{1,16}) kB", line.strip()) for line in text.splitlines())
    return {match[1]: int(match[2]) * 1024 for match in matches if match is not None}


def to_available(memory: Mapping[str, int]) -> int | None:
    """Gives what programs can still get; kernels before 3.14 do not state it."""
    if "MemAvailable" in memory:
        return memory["MemAvailable"]
    if "MemFree" not in memory or "Cached" not in memory:
        return None
    return max(0, memory["MemFree"] + memory.get("Buffers", 0) + memory["Cached"] - memory.get("Shmem", 0))


def parse_pressure(text: str) -> MemoryPressure | None:
    """Judges pressure stall information (https://docs.kernel.org/accounting/psi.html); the limits are ours.

    Of the last ten seconds, some tasks waiting for a tenth is a warning; all of them waiting for a twentieth is critical.
    """
    some = _parse_average(text, "some")
    full = _parse_average(text, "full")
    if some is None or full is None:
        return None
    if full > _CRITICAL_FULL_PERCENT:
        return "critical"
    return "warn" if some > _WARN_SOME_PERCENT else "normal"


def _parse_average(text: str, kind: str) -> float | None:
    match = re.search(rf"^{kind} avg10=([0-9]{{1,3}}\.[0-9]{{1,4}}) ", text, re.MULTILINE)
    return float(match[1]) if match is not None else None


def to_pressure(available_bytes: int, total_bytes: int) -> MemoryPressure | None:
    """Judges by what is still available, where the kernel keeps no stall information; the limits are ours."""
    if total_bytes <= 0:
        return None
    percent = 100.0 * available_bytes / total_bytes
    if percent < _CRITICAL_AVAILABLE_PERCENT:
        return "critical"
    return "warn" if percent < _WARN_AVAILABLE_PERCENT else "normal"


def parse_cpu_times(text: str, cpus: Collection[int]) -> tuple[float, float] | None:
    """Sums the busy and the total time of some processors out of /proc/stat, in the kernel's ticks."""
    busy = total = 0.0
    for line in text.splitlines():
        match = re.fullmatch(r"cpu([0-9]{1,4})((?: [0-9]{1,20}){4,10})", line.strip())
        if match is None or int(match[1]) not in cpus:
            continue
        # user, nice, system, idle, iowait, irq, softirq, steal; a guest's time is in the user's already.
        ticks = [int(part) for part in match[2].split()[:8]]
        total += sum(ticks)
        busy += sum(ticks) - sum(ticks[3:5])
    return (busy, total) if total else None
