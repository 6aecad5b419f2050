"""JSON, and what looks like it: names and values in their order, with the names they stand under."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from ...chips import GIB
from ...macs import is_virtual_model
from .. import macos_parsing as parsing
from ..macos_parsing import THERMAL_WORDS
from .evidence import Evidence, Rank, Value
from .sysctl_texts import to_version
from .values import is_model, parse_core_counts, parse_memory, read_processors, to_brand, to_memory

_PAIR: Final = re.compile(
    r"""["']([^"'\n]{1,80})["']\s*[:=]\s*
    (?:
        "((?:[^"\\\n]|\\.){0,400})"
        | '([^'\n]{0,400})'
        | (-?[0-9]{1,20}(?:\.[0-9]{1,12})?(?:[eE][-+]?[0-9]{1,2})?)
        | (true|false|True|False)
    )
    \s*(?=[,}\])\n]|$)""",
    re.VERBOSE,
)
_PLIST: Final = re.compile(
    r"<key>([^<]{1,80})</key>\s*(?:<(string|integer)>([^<]{0,400})</(?:string|integer)>|<(true|false)/>)"
)
_MOST_PAIRS: Final = 5000
_DEEPEST: Final = 40
_MACOS: Final = re.compile(r"macOS\s+(?:[A-Z][a-z]+\s+){0,2}([0-9]{1,2}(?:\.[0-9]{1,3}){1,2})\b")


@dataclass(frozen=True, slots=True)
class Pair:
    """A name, its value, and the names above it, outermost first; all names in lower case."""

    name: str
    value: str | float | bool
    above: tuple[str, ...] = ()


def find_pairs(text: str) -> list[Pair]:
    """Finds the pairs of JSON, or of what is left of it when it was cut, or of a Python dict."""
    if "<key>" in text:
        return list(_scan_plist(text))
    try:
        decoded: object = json.loads(text)
    except (ValueError, RecursionError):
        return list(_scan(text))
    return list(_walk(decoded, (), _Budget(_MOST_PAIRS)))


@dataclass(slots=True)
class _Budget:
    left: int


def _walk(value: object, above: tuple[str, ...], budget: _Budget) -> Iterator[Pair]:
    if budget.left <= 0 or len(above) > _DEEPEST:
        return
    if isinstance(value, Mapping):
        for name, inner in cast("Mapping[object, object]", value).items():
            yield from _walk(inner, (*above, str(name).lower()), budget)
    elif isinstance(value, list):
        for place, inner in enumerate(cast("list[object]", value)):
            # A number in a list is named by its place: macmon's `gpu_usage` is [MHz, share].
            plain = not isinstance(inner, Mapping | list)
            yield from _walk(inner, (*above, f"{above[-1]}[{place}]") if plain and above else above, budget)
    elif above and isinstance(value, str | int | float):
        budget.left -= 1
        yield Pair(above[-1], value, above[:-1])


def _scan(text: str) -> Iterator[Pair]:
    for count, match in enumerate(_PAIR.finditer(text)):
        if count >= _MOST_PAIRS:
            return
        name, double, single, number, word = match.groups()
        value = double if double is not None else single
        if value is not None:
            yield Pair(name.lower(), value)
        elif number is not None:
            yield Pair(name.lower(), float(number) if re.search(r"[.eE]", number) else int(number))
        else:
            yield Pair(name.lower(), word.lower() == "true")


def _scan_plist(text: str) -> Iterator[Pair]:
    """Reads a property list in XML without its nesting, whole or cut."""
    for count, match in enumerate(_PLIST.finditer(text)):
        if count >= _MOST_PAIRS:
            return
        name, kind, value, flag = match.groups()
        if flag is not None:
            yield Pair(name.lower(), flag == "true")
        elif kind == "string":
            yield Pair(name.lower(), value)
        elif re.fullmatch(r"-?[0-9]{1,20}", value.strip()):
            yield Pair(name.lower(), int(value))


def to_keys(pairs: Sequence[Pair]) -> dict[str, str]:
    """Picks what is named as sysctl names it."""
    return {pair.name: str(pair.value) for pair in pairs if re.match(r"(?:hw|kern|machdep|sysctl|vm|iogpu)\.", pair.name)}


_BRANDS: Final = frozenset(
    (
        "chip_type",
        "device_name",
        "sppci_model",
        "chip_name",
        "chip",
        "brand",
        "cpu_brand",
        "brand_string",
        "cpu_model",
        "cpu",
        "soc",
        "processor",
        "name",
        "_name",
    )
)
_SHORT_BRANDS: Final = frozenset(("chip", "chip_name", "chip_type", "soc"))
"""What is named so is a chip, though its maker be left out: "M4 Pro"."""
_MODELS: Final = frozenset(("machine_model", "modelcode", "mac_model", "model", "model_identifier", "hw_model", "model_id"))
_GPU_CORES: Final = frozenset(("sppci_cores", "gpu_cores", "gpu-core-count", "gpu_core_count", "num_gpu_cores"))
_MEMORY: Final = frozenset(("memory_size", "ram_total", "memory_total", "memsize", "total_memory_bytes", "memory_bytes"))
_WORKING_SET: Final = frozenset(
    (
        "max_recommended_working_set_size",
        "recommended_max_working_set_size",
        "recommendedmaxworkingsetsize",
        "max_working_set_size",
    )
)
_BUFFER: Final = frozenset(("max_buffer_length", "maxbufferlength"))
_SWAP: Final = frozenset(("swap_usage", "swap_used", "swap_used_bytes"))
_THERMAL: Final = frozenset(("thermal_pressure", "thermal_state", "thermalstate", "thermal_level", "thermal"))
_LOW_POWER: Final = frozenset(("low_power_mode", "lowpowermode", "islowpowermodeenabled", "low_power"))
_VERSIONS: Final = frozenset(
    ("operatingsystemversion", "product_version", "productversion", "macos_version", "os_version", "macos")
)


def read_pairs(pairs: Sequence[Pair], found: Evidence, source: str) -> None:
    """Notes what the pairs say, by the names that system_profiler, MLX, macmon and their like use."""
    for pair in pairs:
        _read_names(pair, found, source)
        _read_numbers(pair, found, source)
    _read_levels(pairs, found, source)


def _read_names(pair: Pair, found: Evidence, source: str) -> None:
    name, value = pair.name, pair.value
    if isinstance(value, bool):
        _read_flag(pair, value, found, source)
    if not isinstance(value, str):
        return
    if name in _BRANDS:
        short = name in _SHORT_BRANDS and not value.startswith("Apple ")
        found.add("brand", to_brand(f"Apple {value}" if short else value), source, Rank.REPORT)
        found.add("virtual", value.startswith("Apple Paravirtual") or None, source, Rank.DRIVER)
    elif name == "cpu_type":
        found.add("brand", value if "Intel" in value else to_brand(value), source, Rank.TOOL)
        found.add("architecture", "x86_64" if "Intel" in value else None, source, Rank.REPORT)
    elif name == "machine_name":
        found.add("model_name", value, source, Rank.REPORT)
    elif name == "physical_memory":
        found.add("memory_bytes", parse_memory(value), source, Rank.REPORT)
    elif name == "platform_cpu_htt":
        found.add("two_threads", value == "htt_enabled" or None, source, Rank.REPORT)
    elif name == "spmemorydatatype":
        found.add("memory_bytes", parse_memory(value), source, Rank.TOOL)
    if name in _MODELS and is_model(value):
        found.add("model", value, source, Rank.REPORT)
        found.add("virtual", is_virtual_model(value) or None, source, Rank.REPORT)
    if name in _VERSIONS:
        version = _MACOS.search(value)
        found.add("macos", to_version(version[1] if version is not None else value.partition(" (")[0]), source, Rank.REPORT)
    if name in _THERMAL:
        found.add("thermal_level", THERMAL_WORDS.get(value.lower()), source, Rank.TOOL, changes=True)
    if name == "translated" and value.lower() in {"true", "1"}:
        found.add("rosetta", True, source, Rank.TOOL)
    if name in _LOW_POWER:
        flag = {"yes": True, "no": False, "1": True, "0": False}.get(value.lower())
        found.add(_power_name(pair.above), flag, source, Rank.REPORT)
    if name == "current power source" and value.lower() in {"true", "yes"}:
        found.add("on_battery", "battery power" in pair.above, source, Rank.REPORT)
    if name in {"version", "kernel", "uname"} and "Darwin" in value:
        found.add("uname", value, source, Rank.REPORT)
    if name in {"architecture", "arch", "machine"} and value in {"arm64", "x86_64"}:
        found.add("architecture", value, source, Rank.TOOL)


def _read_flag(pair: Pair, value: bool, found: Evidence, source: str) -> None:
    if pair.name in _LOW_POWER:
        found.add(_power_name(pair.above), value, source, Rank.REPORT)
    elif pair.name in {"rosetta", "is_rosetta", "proc_translated"}:
        found.add("rosetta", value, source, Rank.TOOL)
    elif pair.name in {"apple_silicon", "is_apple_silicon"}:
        found.add("architecture", "arm64" if value else None, source, Rank.TOOL)
    elif pair.name in {"is_vm", "virtual", "is_virtual", "virtual_machine"}:
        found.add("virtual", value, source, Rank.TOOL)


def _power_name(above: Sequence[str]) -> str:
    """Names the setting of low-power mode: each source of power may have its own."""
    return "low_power_ac" if "ac power" in above else "low_power_battery" if "battery power" in above else "low_power"


def _read_numbers(pair: Pair, found: Evidence, source: str) -> None:
    name, above = pair.name, pair.above
    number = _number(pair.value)
    if name == "number_processors":
        read_processors(str(pair.value), found, source)
    if number is None:
        return
    whole = int(number) if number == int(number) else None
    exact: dict[str, Value | None] = {}
    if name in _GPU_CORES or (name == "cores" and "gpu" in above):
        exact["gpu_cores"] = whole
    elif name in {"cores", "core_count", "num_cores"} and "cpu" in above:
        exact["cpu_cores"] = whole
    elif (name in {"threads", "logical_cores"} and "cpu" in above) or name in {"ncpu", "logical_cpus", "cpu_count"}:
        exact["logical_cpus"] = whole
    elif name in _MEMORY or (name == "total" and above[-1:] in {("memory",), ("ram",)}):
        exact["memory_bytes"] = to_memory(whole)
    elif name in {"total_gb", "memory_gb", "ram_gb"}:
        exact["memory_bytes"] = whole * GIB if whole is not None else None
    elif name in _WORKING_SET:
        exact["working_set_bytes"] = whole
    elif name in _BUFFER:
        exact["max_buffer_bytes"] = whole
    elif name in {"iogpu.wired_limit_mb", "wired_limit_mb"}:
        exact["working_set_bytes"] = whole << 20 if whole else None
    for fact, value in exact.items():
        found.add(fact, value, source, Rank.DRIVER if fact in {"working_set_bytes", "max_buffer_bytes"} else Rank.REPORT)
    _read_load(name, number, above, found, source)


_LOADS: Final = {
    "gpu_usage[0]": ("gpu_mhz", 1.0),
    "gpu_freq_mhz": ("gpu_mhz", 1.0),
    "gpu_usage[1]": ("gpu_percent", 100.0),
    "gpu_active_ratio": ("gpu_percent", 100.0),
    "sys_power": ("power_w", 1.0),
    "gpu_power": ("gpu_power_w", 1.0),
    "all_power": ("chip_power_w", 1.0),
    "device utilization %": ("gpu_percent", 1.0),
    "mem_free_pct": ("free_percent", 1.0),
    "sppower_battery_state_of_charge": ("battery_percent", 1.0),
}


def _read_load(name: str, number: float, above: Sequence[str], found: Evidence, source: str) -> None:
    if name in _LOADS:
        fact, factor = _LOADS[name]
        found.add(fact, number * factor, source, Rank.TOOL, changes=True)
    elif name in _SWAP or (name in {"used", "usage"} and above[-1:] == ("swap",)):
        found.add("swap_used_bytes", int(number), source, Rank.TOOL, changes=True)
    elif name in {"ram_usage", "memory_used"}:
        found.add("memory_used_bytes", int(number), source, Rank.TOOL, changes=True)
    elif name in {"cpu_temp_avg", "gpu_temp_avg"}:
        found.add(name, number, source, Rank.TOOL, changes=True)
    elif name in _LOW_POWER and number in {0, 1}:
        found.add(_power_name(above), number == 1, source, Rank.REPORT)


def _read_levels(pairs: Sequence[Pair], found: Evidence, source: str) -> None:
    """Notes counts of fast and frugal cores, as macmon's `pcpu_cores` and `ecpu_cores`; the names come from the chip."""
    counts = {pair.name: parsing.parse_integer(str(pair.value)) for pair in pairs}
    for names in (
        ("scpu_cores", "pcpu_cores", "ecpu_cores"),
        ("super_cores", "performance_cores", "efficiency_cores"),
        ("s_core_count", "p_core_count", "e_core_count"),
    ):
        known = [count for name in names if (count := counts.get(name))]
        if len(known) > 1:
            found.add("level_counts", "/".join(str(count) for count in known), source, Rank.TOOL)
            found.add("cpu_cores", sum(known), source, Rank.TOOL)
    for name in ("cpu_cores_text", "total_number_of_cores"):
        text = next((pair.value for pair in pairs if pair.name == name and isinstance(pair.value, str)), None)
        if text is not None:
            parse_core_counts(text, found, source)


def _number(value: str | float | bool) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        value = value.strip()
        if re.fullmatch(r"-?[0-9]{1,20}(?:\.[0-9]{1,12})?", value) is None:
            return None
        return float(value) if "." in value else int(value)
    return value if abs(value) < 1e25 else None  # False for NaN, too
