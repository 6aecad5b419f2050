"""What Linux shows of a machine, Apple's above all: /proc, the device tree, lscpu and the like."""

from __future__ import annotations

import re
from typing import Final

from ...chips import CHIPS, name_of_parts, name_of_soc
from ...profile import CpuLevel
from .. import linux_parsing as parsing
from .evidence import Evidence, Rank

_LINUX: Final = re.compile(
    r"\bLinux\b|linuxkit|OSType: linux|^MemTotal:|^CPU implementer|^processor\s*:|/proc/|apple,t[0-9]{4}", re.MULTILINE
)
_LINUX_LABEL: Final = re.compile(r"(?:^|[\s'\"])(?:/proc/|/sys/|lscpu\b)")
_FAST: Final = ("Firestorm", "Avalanche", "Everest")
_FRUGAL: Final = ("Icestorm", "Blizzard", "Sawtooth")
_GENERATIONS: Final = {"Firestorm": "M1", "Avalanche": "M2", "Everest": "M3"}
_COMPUTER: Final = re.compile(r"Apple ((?:MacBook (?:Air|Pro)|Mac mini|Mac Studio|Mac Pro|iMac))(?: \([^()\n]{2,60}\))?")


def read_linux(label: str, text: str, found: Evidence) -> None:
    """Notes what is Linux' own."""
    core_names = re.findall(rf"\b({'|'.join((*_FAST, *_FRUGAL))})\b", text)
    if _LINUX.search(text) is None and not core_names and _LINUX_LABEL.search(label) is None:
        return
    if "Darwin" not in text:
        found.add("os", "Linux", label or "text", Rank.REPORT)
    _read_cpuinfo(text, found)
    memory = parsing.parse_memory_info(text)
    found.add("memory_bytes", memory.get("MemTotal"), "/proc/meminfo", Rank.DRIVER)
    limit = text.strip()
    if label.endswith(("memory.max", "memory.limit_in_bytes")) and re.fullmatch(r"[0-9]{1,15}", limit):
        found.add("memory_limit_bytes", int(limit), "control group", Rank.KERNEL)
    if "SwapTotal" in memory and "SwapFree" in memory:
        found.add("swap_used_bytes", max(0, memory["SwapTotal"] - memory["SwapFree"]), "/proc/meminfo", Rank.KERNEL)
    found.add("memory_pressure", parsing.parse_pressure(text), "/proc/pressure/memory", Rank.KERNEL)
    cpus = re.search(r"^\s*CPU(?:s|\(s\)):\s*([0-9]{1,4})\s*$", text, re.MULTILINE)
    found.add("logical_cpus", int(cpus[1]) if cpus is not None else None, label or "text", Rank.REPORT)
    # Docker's own kernel runs in virtual machines alone.
    inside = "linuxkit" in text or re.search(r"^\s*Hypervisor vendor:\s*\S", text, re.MULTILINE) is not None
    found.add("virtual", inside or None, label or "text", Rank.REPORT)
    _read_tree(text, found)
    _read_core_names(text, found)
    if re.search(r"\b(?:aarch64|arm64)\b", text) is not None or core_names:
        found.add("architecture", "arm64", label or "text", Rank.REPORT)
    elif "x86_64" in text:
        found.add("architecture", "x86_64", label or "text", Rank.REPORT)


def _read_cpuinfo(text: str, found: Evidence) -> None:
    cpu = parsing.parse_cpu_info(text)
    found.add("logical_cpus", cpu.logical_cpus, "/proc/cpuinfo", Rank.KERNEL)
    found.add("brand", cpu.name if cpu.logical_cpus is not None else None, "/proc/cpuinfo model name", Rank.KERNEL)
    found.add("virtual", cpu.hypervisor, "/proc/cpuinfo", Rank.KERNEL)
    found.add("architecture", "x86_64" if cpu.x86_64 else None, "/proc/cpuinfo flags", Rank.KERNEL)
    if cpu.apple_parts and len(cpu.apple_parts) == cpu.logical_cpus:
        found.add("levels", parsing.to_apple_levels(cpu.apple_parts), "/proc/cpuinfo CPU part", Rank.KERNEL)
        soc = parsing.APPLE_PARTS.get(cpu.apple_parts[0])
        brand = name_of_parts(soc, len(cpu.apple_parts)) if soc is not None else None
        found.add("brand", brand, "/proc/cpuinfo CPU part", Rank.KERNEL, estimated=True)
        found.add("architecture", "arm64", "/proc/cpuinfo", Rank.KERNEL)


def _read_tree(text: str, found: Evidence) -> None:
    for soc in re.findall(r"apple,(t[0-9]{4})\b", text):
        found.add("brand", name_of_soc(soc), "device tree", Rank.KERNEL)
    computer = _COMPUTER.fullmatch(text.strip("\0 \n"))
    if computer is not None:
        found.add("model", computer[0], "device tree", Rank.REPORT)
        found.add("model_name", computer[1], "device tree", Rank.REPORT)


def _read_core_names(text: str, found: Evidence) -> None:
    """Notes "4x Firestorm" of cpuinfo, or "Firestorm-M1-Pro" of lscpu, whose name holds the chip's."""
    named = re.search(rf"\b(?:{'|'.join((*_FAST, *_FRUGAL))})-(M[0-9])(?:-(Pro|Max|Ultra))?\b", text)
    if named is not None:
        found.add("brand", f"Apple {named[1]}" + (f" {named[2]}" if named[2] else ""), "lscpu", Rank.REPORT)
    counts: dict[str, int] = {}
    for count, name in re.findall(rf"\b([0-9]{{1,3}})x ({'|'.join((*_FAST, *_FRUGAL))})\b", text):
        counts.setdefault(name, int(count))
    fast = next(((name, counts[name]) for name in _FAST if name in counts), None)
    frugal = next((counts[name] for name in _FRUGAL if name in counts), None)
    if fast is None or not frugal:
        return
    levels = (CpuLevel("Performance", fast[1]), CpuLevel("Efficiency", frugal))
    found.add("levels", levels, "names of the cores", Rank.TOOL)
    prefix = f"Apple {_GENERATIONS[fast[0]]}"
    chips = {
        brand for brand, chip in CHIPS.items() if brand.startswith(prefix) and any(each.levels == levels for each in chip.bins)
    }
    if len(chips) == 1:
        found.add("brand", chips.pop(), "names of the cores", Rank.TOOL, estimated=True)
