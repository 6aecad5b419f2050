"""The profile and one moment of a machine: flat for programs, a table with sources for people."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import Final, cast

import msgspec

from .chips import GIB, parse_brand
from .override import FIELDS, STATED
from .profile import CapabilityProfile, Reading
from .sample import MemoryPressure, Sample, ThermalLevel


class HardwareReport(msgspec.Struct, frozen=True):
    """What `impetus hardware --json` prints; null is unknown."""

    brand: str | None
    """The chip's name, with " (Virtual)" where the system says so."""
    generation: int | None
    """The number in "M4"; null for A chips, which are none of those generations, and off Apple Silicon."""
    tier: str | None
    """"Base", "Pro", "Max", "Ultra"; "A" for an A chip, as "A18 Pro", whose words count otherwise; null off Apple Silicon."""
    levels: list[tuple[str, int]] | None
    """Name and count of each kind of core, the fastest first."""
    ncpu: int | None
    gpu_cores: int | None
    memory_bytes: int | None
    bandwidth_gbs: float | None
    working_set_bytes: int | None
    macos: str | None
    """Its version; null on other systems."""
    virtual: bool | None
    rosetta: bool | None
    fanless: bool | None
    thermal_level: ThermalLevel | None
    memory_pressure: MemoryPressure | None
    swap_used_bytes: int | None
    low_power: bool | None
    estimated: list[str]
    """Names of the fields above that were derived or assumed, not read."""
    system: str
    architecture: str | None
    supported: bool | None
    """False on a Mac without Apple Silicon; null where the processor is unknown."""
    model: str | None
    max_buffer_bytes: int | None
    gpu_percent: float | None
    gpu_mhz: float | None
    gpu_memory_bytes: int | None
    gpu_power_w: float | None
    power_w: float | None
    temperature_c: float | None
    fan_rpm: float | None
    on_battery: bool | None
    battery_percent: float | None


_PROFILE_NAMES: Final = {ours: name for name, ours in FIELDS.items()}
_SAMPLE_NAMES: Final = {"low_power_mode": "low_power"}


def to_report(profile: CapabilityProfile, sample: Sample) -> HardwareReport:
    """Lays a profile and a sample flat."""
    profile = _with_family(profile)
    readings = {name: reading for ours, name in _PROFILE_NAMES.items() if (reading := _reading(profile, ours)) is not None}
    plain = {name: readings[name].value if name in readings else None for name in _PROFILE_NAMES.values()}
    estimated = [name for name, reading in readings.items() if reading.estimated and plain[name] is not None]
    if profile.cpu_levels and profile.cpu_levels_estimated:
        estimated.append("levels")
    estimated += [_SAMPLE_NAMES.get(name, name) for name in sample.estimated]
    known = set(HardwareReport.__struct_fields__)
    version = re.fullmatch(r"macOS ([0-9.]+)", profile.system)
    return msgspec.convert(
        {
            **{name: getattr(sample, name) for name in Sample.__dataclass_fields__ if name in known},
            **plain,
            "levels": [(level.name, level.cores) for level in profile.cpu_levels] or None,
            "macos": version[1] if version is not None else None,
            "low_power": sample.low_power_mode,
            "estimated": [name for name in estimated if name in known],
            "system": profile.system,
            "architecture": profile.architecture if profile.architecture != "unknown" else None,
            "supported": _is_supported(profile),
        },
        HardwareReport,
    )


def _with_family(profile: CapabilityProfile) -> CapabilityProfile:
    """Tells an A chip's family as its tier: that it is taken for a base chip concerns predictions alone."""
    chip = parse_brand(profile.chip.value) if profile.chip is not None else None
    if chip is None or chip.family == "M" or profile.tier is None or profile.tier.source == STATED:
        return profile
    return replace(profile, tier=Reading(chip.family, profile.tier.source))


def _is_supported(profile: CapabilityProfile) -> bool | None:
    if not profile.system.startswith("macOS"):
        return None if profile.system == "unknown" else True
    return None if profile.architecture == "unknown" else profile.architecture == "arm64"


def to_rows(profile: CapabilityProfile, sample: Sample) -> list[tuple[str, str, str]]:
    """Gives name, value and source of every fact; an unknown one has neither value nor source."""
    profile = _with_family(profile)
    rows = [("system", profile.system, ""), ("architecture", profile.architecture, "")]
    for each in fields(profile):
        if each.name == "cpu_levels":
            words = ", ".join(f"{level.cores} {level.name}" for level in profile.cpu_levels)
            rows.append(("cpu_levels", words or "unknown", _source(profile.cpu_levels_source, profile.cpu_levels_estimated)))
        elif each.name not in {"host", "system", "architecture", "cpu_levels_source", "cpu_levels_estimated"}:
            reading = _reading(profile, each.name)
            shown = _in_words(each.name, reading.value) if reading is not None else "unknown"
            rows.append((each.name, shown, _source(reading.source, reading.estimated) if reading is not None else ""))
    for name in Sample.__dataclass_fields__:
        if name not in {"at_s", "process_bytes", "sources", "estimated"}:
            value = getattr(sample, name)
            source = _source(sample.sources.get(name), name in sample.estimated) if value is not None else ""
            rows.append((name, _in_words(name, value) if value is not None else "unknown", source))
    return rows


def _reading(profile: CapabilityProfile, name: str) -> Reading[object] | None:
    value: object = getattr(profile, name)
    return cast("Reading[object]", value) if isinstance(value, Reading) else None


def _source(source: str | None, estimated: bool) -> str:
    return f"{source or ''}{' (estimated)' if estimated else ''}".strip()


def _in_words(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_bytes") and isinstance(value, int):
        return f"{value / GIB:.1f} GiB"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() else f"{value:.1f}"
    return str(value)
