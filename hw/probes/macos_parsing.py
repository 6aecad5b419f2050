"""From the text that macOS' own programs print to values. Pure, and total: any text at all gives a value or None."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from ..macs import is_virtual_model
from ..profile import CpuLevel, Reading
from ..sample import MemoryPressure, ThermalLevel

_SYSCTL_LINE: Final = re.compile(r"([A-Za-z_][\w.]*)[ \t]*[:=](.*)")
_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")
_UNITS: Final = {"K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_MOST_LEVELS: Final = 16

THERMAL_WORDS: Final[Mapping[str, ThermalLevel]] = {
    "nominal": "nominal",
    "moderate": "moderate",
    "fair": "moderate",
    "heavy": "heavy",
    "serious": "trapping",
    "trapping": "trapping",
    "critical": "sleeping",
    "sleeping": "sleeping",
}
"""powermetrics' words, and those of NSProcessInfo.thermalState, whose "fair" is moderate or heavy."""

_WARN_FREE_PERCENT: Final = 15
_CRITICAL_FREE_PERCENT: Final = 5


def parse_sysctl(text: str) -> dict[str, str]:
    """Reads `name: value` lines, however many spaces stand between."""
    matches = (_SYSCTL_LINE.fullmatch(line.strip()) for line in text.splitlines())
    return {match[1]: match[2].strip() for match in matches if match is not None}


def parse_integer(text: str | None) -> int | None:
    """Reads a decimal number; None for anything else."""
    return int(text) if text is not None and _INTEGER.fullmatch(text.strip()) else None


def parse_flag(text: str | None) -> bool | None:
    """Reads 0 or 1."""
    return {"0": False, "1": True}.get(text.strip()) if text is not None else None


def parse_cpu_levels(keys: Mapping[str, str]) -> tuple[CpuLevel, ...]:
    """Reads the kinds of cores, fastest first; as many as there are, by the names the system gives them.

    macOS 12 gives none: there the first level is called Performance, the last one Efficiency. Where some of the levels
    are missing none is given, as those that are left would be taken for the whole.
    """
    stated = parse_integer(keys.get("hw.nperflevels"))
    counts: list[int] = []
    for level in range(min(stated, _MOST_LEVELS) if stated is not None else _MOST_LEVELS):
        cores = _cores_of_level(keys, level)
        if cores is None or cores <= 0:
            break
        counts.append(cores)
    if not _is_whole(counts, stated, parse_integer(keys.get("hw.ncpu"))):
        return ()
    return tuple(
        CpuLevel(keys.get(f"hw.perflevel{level}.name") or _default_level_name(level, len(counts)), cores)
        for level, cores in enumerate(counts)
    )


def _cores_of_level(keys: Mapping[str, str], level: int) -> int | None:
    """Reads how many cores a level has; only Intel's, which are all of one level, have more threads than cores."""
    names = ["physicalcpu", "physicalcpu_max"]
    if any(key.startswith("hw.perflevel1.") for key in keys):
        names += ["logicalcpu", "logicalcpu_max"]
    counts = (parse_integer(keys.get(f"hw.perflevel{level}.{name}")) for name in names)
    return next((count for count in counts if count is not None), None)


def _is_whole(counts: Sequence[int], stated: int | None, cores: int | None) -> bool:
    # A count of processors that lost its last digits contradicts nothing.
    agrees = cores is None or cores == sum(counts) or str(sum(counts)).startswith(str(cores))
    return agrees and (len(counts) == stated if stated is not None else len(counts) > 1)


def _default_level_name(level: int, levels: int) -> str:
    if levels == 1:
        return "Standard"
    if level == 0:
        return "Performance"
    return "Efficiency" if level == levels - 1 else f"Level {level}"


def parse_architecture(keys: Mapping[str, str]) -> str | None:
    """Tells the machine's architecture, which under Rosetta is not the one that a program believes in."""
    brand = keys.get("machdep.cpu.brand_string", "")
    if keys.get("hw.optional.arm64") == "1" or parse_flag(keys.get("sysctl.proc_translated")):
        return "arm64"
    if brand.startswith(("Apple", "VirtualApple")):
        return "arm64"
    others = brand.startswith(("Intel", "Genuine Intel", "AMD"))
    return "x86_64" if others or keys.get("machdep.cpu.vendor") in {"GenuineIntel", "AuthenticAMD"} else None


def parse_virtual(keys: Mapping[str, str], reported_model: str | None = None) -> Reading[bool] | None:
    """Tells whether the machine is a virtual one; the model is taken from elsewhere where no key tells it."""
    stated = parse_flag(keys.get("kern.hv_vmm_present"))
    if stated:
        return Reading(True, "sysctl kern.hv_vmm_present")
    if is_virtual_model(keys.get("hw.model") or reported_model or ""):
        return Reading(True, "model")
    if keys.get("machdep.cpu.brand_string", "").rstrip().endswith("(Virtual)"):
        return Reading(True, "sysctl machdep.cpu.brand_string")
    if "VMM" in keys.get("machdep.cpu.features", "").split():
        return Reading(True, "sysctl machdep.cpu.features")
    return Reading(stated, "sysctl kern.hv_vmm_present") if stated is not None else None


def parse_wired_limit(keys: Mapping[str, str]) -> Reading[int] | None:
    """Reads how many bytes the GPU may hold, where somebody set it; 0 means that the system decides."""
    limit_mb = parse_integer(keys.get("iogpu.wired_limit_mb"))
    return Reading(limit_mb << 20, "sysctl iogpu.wired_limit_mb") if limit_mb else None


def parse_swap_used(value: str | None) -> int | None:
    """Reads the bytes in use out of vm.swapusage's value, as `total = 9216.00M  used = 7843.19M  free = …`."""
    match = re.search(r"\bused\s*=\s*([0-9]{1,12}(?:[.,][0-9]{1,6})?)([KMGT])", value or "")
    return round(float(match[1].replace(",", ".")) * _UNITS[match[2]]) if match is not None else None


def parse_pressure_level(value: str | None) -> MemoryPressure | None:
    """Names kern.memorystatus_vm_pressure_level; there is no level 3."""
    levels: dict[int | None, MemoryPressure] = {1: "normal", 2: "warn", 4: "critical"}
    return levels.get(parse_integer(value))


def parse_free_percent(text: str) -> int | None:
    """Reads the free percentage that `memory_pressure -Q` prints."""
    match = re.search(r"memory free percentage:\s*([0-9]{1,3})%", text)
    return int(match[1]) if match is not None and int(match[1]) <= 100 else None


def to_pressure(free_percent: float) -> MemoryPressure:
    """Judges pressure by the free percentage, where the kernel's own level is out of reach; the limits are ours."""
    if free_percent < _CRITICAL_FREE_PERCENT:
        return "critical"
    return "warn" if free_percent < _WARN_FREE_PERCENT else "normal"


def parse_memory_used(text: str) -> int | None:
    """Reads the bytes in use out of `vm_stat`: anonymous memory that cannot be purged, wired memory and the compressor.

    The page size stands in the text and may be another than the machine's own.
    """
    page = re.search(r"page size of ([0-9]{1,7}) bytes", text)
    anonymous = _parse_pages(text, "Anonymous pages")
    purgeable = _parse_pages(text, "Pages purgeable")
    wired = _parse_pages(text, "Pages wired down")
    compressor = _parse_pages(text, "Pages occupied by compressor")
    if page is None or anonymous is None or purgeable is None or wired is None or compressor is None:
        return None
    return (max(0, anonymous - purgeable) + wired + compressor) * int(page[1])


def _parse_pages(text: str, name: str) -> int | None:
    # The full stop ends the number: one that was cut off in the middle is no number.
    match = re.search(rf"^{name}:\s*([0-9]{{1,15}})\.", text, re.MULTILINE)
    return int(match[1]) if match is not None else None


@dataclass(frozen=True, slots=True)
class GpuState:
    """What the IORegistry holds of the GPU."""

    cores: int | None
    busy_percent: float | None
    memory_bytes: int | None
    """In use, by every program."""
    chip: str | None
    """As the driver names it; "Apple Paravirtual device" in a virtual machine."""


def parse_gpu(text: str) -> GpuState:
    """Reads `ioreg -c IOAccelerator` or `-c AGXAccelerator`; the first accelerator counts."""
    cores = _parse_property(text, "gpu-core-count")
    busy = _parse_property(text, "Device Utilization %")
    chip = re.search(r'"model"\s*=\s*"([^"\n]{1,80})"', text)
    return GpuState(
        cores or None,
        float(busy) if busy is not None and busy <= 100 else None,
        _parse_property(text, "In use system memory"),
        chip[1] if chip is not None else None,
    )


def _parse_property(text: str, name: str) -> int | None:
    # The quotes make the name exact: `"In use system memory (driver)"` often comes first. What follows ends the number.
    match = re.search(rf'"{re.escape(name)}"\s*=\s*([0-9]{{1,19}})(?=[,}}\s])', text)
    return int(match[1]) if match is not None else None


@dataclass(frozen=True, slots=True)
class PowerSource:
    """Where the current comes from."""

    on_battery: bool | None
    battery_percent: float | None
    """None on a desktop."""


def parse_power_source(text: str) -> PowerSource:
    """Reads `pmset -g batt`."""
    source = re.search(r"Now drawing from '(AC|Battery|UPS) Power'", text)
    charge = re.search(r"InternalBattery[^\n]*?\s([0-9]{1,3})%", text)
    percent = float(charge[1]) if charge is not None and int(charge[1]) <= 100 else None
    return PowerSource(source[1] != "AC" if source is not None else None, percent)


def parse_low_power(text: str) -> bool | None:
    """Reads `pmset -g`: `lowpowermode 0|1`, or `powermode 0|1|2` for automatic, low and high; macOS 26 often has neither."""
    match = re.search(r"^\s*(?:lowpowermode|powermode)\s+([0-9])\s*$", text, re.MULTILINE)
    return match[1] == "1" if match is not None else None


class _Hardware(msgspec.Struct):
    chip_type: str | None = None
    machine_model: str | None = None
    physical_memory: str | None = None


class _HardwareReport(msgspec.Struct):
    items: list[_Hardware] = msgspec.field(default_factory=list["_Hardware"], name="SPHardwareDataType")


class _Display(msgspec.Struct):
    sppci_cores: str | int | None = None
    sppci_model: str | None = None
    sppci_device_type: str | None = None


class _DisplaysReport(msgspec.Struct):
    items: list[_Display] = msgspec.field(default_factory=list["_Display"], name="SPDisplaysDataType")


@dataclass(frozen=True, slots=True)
class HardwareReport:
    """What system_profiler says; its count of processors changes its meaning with each macOS, so it is not here."""

    chip: str | None = None
    model: str | None = None
    memory_bytes: int | None = None
    gpu_cores: int | None = None


def parse_hardware_report(text: str) -> HardwareReport:
    """Reads `system_profiler SPHardwareDataType -json`."""
    try:
        items = msgspec.json.decode(text, type=_HardwareReport).items
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return HardwareReport()
    if not items:
        return HardwareReport()
    memory = re.fullmatch(r"([0-9]{1,6}) ([GT])B", items[0].physical_memory or "")
    return HardwareReport(
        items[0].chip_type or None,
        items[0].machine_model or None,
        int(memory[1]) * _UNITS[memory[2]] if memory is not None else None,
    )


def parse_displays_report(text: str) -> HardwareReport:
    """Reads `system_profiler SPDisplaysDataType -json`, whose count of GPU cores is a string."""
    try:
        items = msgspec.json.decode(text, type=_DisplaysReport).items
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return HardwareReport()
    for item in items:
        cores = parse_integer(str(item.sppci_cores))
        if cores is not None and cores > 0:
            return HardwareReport(chip=item.sppci_model or None, gpu_cores=cores)
    return HardwareReport()
