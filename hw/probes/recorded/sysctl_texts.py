"""What sysctl printed, in whichever way it was called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ...profile import CpuLevel
from .. import macos_parsing as parsing
from .evidence import Evidence, Rank
from .values import is_cut_brand, to_brand, to_memory

_KEY: Final = re.compile(r"[a-z_]+(?:\.\w+)+")
_KNOWN: Final = re.compile(r"(?:hw|kern|machdep|sysctl|vm|iogpu|debug\.iogpu)\.\w")
_INLINE: Final = re.compile(rf"(?<![\w.])({_KNOWN.pattern}[\w.]*)`?[ \t]*[:=][ \t]*`?([^;`\n]{{1,200}})")
_COMPLAINT: Final = re.compile(
    r"^\s*(?:\S*sysctl:|[\w/-]*sh: |.*(?:unknown oid|command not found|not permitted|[Nn]o such file|Permission denied))"
)
"""A line that a program or a shell writes where it has no answer."""
_MODEL: Final = re.compile(r"[A-Za-z][A-Za-z-]{1,30}[0-9]{1,3},[0-9]{1,3}|VirtualBox")
_BRAND: Final = re.compile(r"[A-Z][\w.()-]{2,40} \S.{0,120}")
_LEVEL_NAMES: Final = ("Super", "Performance", "Efficiency", "Standard")
_CPU_TYPES: Final = {16777228: "arm64", 16777223: "x86_64", 7: "x86_64"}
"""CPU_TYPE_ARM64, CPU_TYPE_X86_64 and CPU_TYPE_X86 of mach/machine.h."""


def find_keys(label: str, text: str) -> dict[str, str]:
    """Finds names and values: in `name: value` lines, behind `sysctl -n NAME…`, or where the label is itself a name."""
    complaints = [line for line in text.splitlines() if _COMPLAINT.match(line)]
    lines = [line.strip() for line in text.splitlines() if line.strip() and line not in complaints]
    answers = "\n".join(lines)
    # Somebody may have put several into one line: "hw.ncpu: 12; hw.model: Mac16,5."
    keys = {**{name: value.rstrip(" .") for name, value in _INLINE.findall(answers)}, **parsing.parse_sysctl(answers)}
    # A remark may follow; and where a value was set, the old one stands before the new one.
    known = {name: value.partition(" #")[0].rpartition(" -> ")[2].strip() for name, value in keys.items() if _KNOWN.match(name)}
    if known:
        return known
    words = label.strip().split()
    named = [word for word in words if _KEY.fullmatch(word) and _KNOWN.match(word)]
    # What sysctl does not know it names instead of answering.
    names = [name for name in named if not any(name in complaint for complaint in complaints)]
    bare = bool(words) and (any(word.endswith("sysctl") for word in words) or named == words)
    # Where a name is missing its line is missing too, and the others can no longer be told apart.
    return dict(zip(names, lines, strict=True)) if bare and len(names) == len(lines) else {}


def without_disguise(keys: Mapping[str, str], found: Evidence) -> dict[str, str]:
    """Takes out the name that a translated program sees: another call may have told the true one."""
    brand = " ".join(keys.get("machdep.cpu.brand_string", "").split())
    if not brand.startswith("VirtualApple"):
        return dict(keys)
    found.add("rosetta", True, "sysctl machdep.cpu.brand_string", Rank.REPORT)
    found.add("brand", brand, "sysctl machdep.cpu.brand_string", Rank.PROSE, estimated=True)
    found.add("disguise", brand, "sysctl machdep.cpu.brand_string", Rank.KERNEL)
    return {name: value for name, value in keys.items() if name != "machdep.cpu.brand_string"}


def read_keys(keys: Mapping[str, str], found: Evidence) -> None:
    """Notes what sysctl's keys say."""
    _read_machine(keys, found)
    _read_cores(keys, found)
    _read_load(keys, found)


def _read_machine(keys: Mapping[str, str], found: Evidence) -> None:
    brand = " ".join(keys.get("machdep.cpu.brand_string", "").split())
    # All names of Intel's processors that were in Macs end with the clock.
    cut = is_cut_brand(brand) or (brand.startswith(("Intel(R) Core(TM)", "Intel(R) Xeon(R)")) and not brand.endswith("Hz"))
    whole = brand if _BRAND.fullmatch(brand) and not cut else None
    found.add("brand", whole, "sysctl machdep.cpu.brand_string", Rank.KERNEL)
    model = keys.get("hw.model", "")
    found.add("model", model if _MODEL.fullmatch(model) else None, "sysctl hw.model", Rank.KERNEL)
    # BSDs other than macOS name the processor here.
    found.add("brand", to_brand(model), "sysctl hw.model", Rank.KERNEL)
    found.add("memory_bytes", to_memory(parsing.parse_integer(keys.get("hw.memsize"))), "sysctl hw.memsize", Rank.KERNEL)
    system = keys.get("kern.ostype")
    found.add("os", system if system != "Darwin" else None, "sysctl kern.ostype", Rank.KERNEL)
    version = keys.get("kern.osproductversion", "")
    found.add("macos", to_version(version), "sysctl kern.osproductversion", Rank.KERNEL)
    translated = parsing.parse_flag(keys.get("sysctl.proc_translated"))
    found.add("rosetta", translated, "sysctl sysctl.proc_translated", Rank.KERNEL)
    found.add("architecture", parsing.parse_architecture(keys), "sysctl", Rank.KERNEL)
    architecture = _CPU_TYPES.get(parsing.parse_integer(keys.get("hw.cputype")) or 0)
    # A translated program is told the architecture that it believes in.
    found.add("architecture", architecture if "rosetta" not in found else None, "sysctl hw.cputype", Rank.DRIVER)
    virtual = parsing.parse_virtual(keys)
    if virtual is not None:
        # A kernel that denies to be in one weighs less than a program that says so.
        found.add("virtual", virtual.value, virtual.source, Rank.KERNEL if virtual.value else Rank.REPORT)


def _read_cores(keys: Mapping[str, str], found: Evidence) -> None:
    levels = tuple(CpuLevel(_complete(level.name), level.cores) for level in parsing.parse_cpu_levels(keys))
    found.add("levels", levels, "sysctl hw.perflevel", Rank.KERNEL)
    if levels:
        named = all(keys.get(f"hw.perflevel{level}.name") for level in range(len(levels)))
        found.add("levels_named", named, "sysctl", Rank.KERNEL)
    for name in ("hw.logicalcpu", "hw.ncpu", "machdep.cpu.thread_count", "hw.logicalcpu_max"):
        found.add("logical_cpus", parsing.parse_integer(keys.get(name)), f"sysctl {name}", Rank.KERNEL)
    # Apple's cores have one thread each, so there a count of cores is one of processors; Intel's have two.
    for name in ("hw.physicalcpu", "machdep.cpu.core_count", "hw.physicalcpu_max"):
        found.add("cpu_cores", parsing.parse_integer(keys.get(name)), f"sysctl {name}", Rank.KERNEL)
    if levels:
        found.add("cpu_cores", sum(level.cores for level in levels), "sysctl hw.perflevel", Rank.KERNEL)


def _complete(name: str) -> str:
    """Completes a level's name that was cut."""
    return next((whole for whole in _LEVEL_NAMES if len(name) > 1 and whole.startswith(name)), name)


def _read_load(keys: Mapping[str, str], found: Evidence) -> None:
    add = found.add
    limit = parsing.parse_wired_limit(keys)
    if limit is not None:
        add("working_set_bytes", limit.value, limit.source, Rank.KERNEL)
    swap = parsing.parse_swap_used(keys.get("vm.swapusage"))
    add("swap_used_bytes", swap, "sysctl vm.swapusage", Rank.KERNEL, changes=True)
    name = "kern.memorystatus_vm_pressure_level"
    add("memory_pressure", parsing.parse_pressure_level(keys.get(name)), f"sysctl {name}", Rank.KERNEL, changes=True)
    free = parsing.parse_integer(keys.get("kern.memorystatus_level"))
    add("free_percent", free, "sysctl kern.memorystatus_level", Rank.KERNEL, changes=True)


def to_version(text: str) -> str | None:
    """Takes a version of macOS; 10.16 is what macOS 11 and later tell programs that are older than they are."""
    match = re.fullmatch(r"[0-9]{1,2}(?:\.[0-9]{1,3}){1,2}", text.strip())
    return match[0] if match is not None and not match[0].startswith("10.16") else None
