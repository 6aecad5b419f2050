"""What the machine is, in words for the dashboard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from ..hw.profile import CapabilityProfile, Reading
from .format import size
from .widgets.facts import Fact

Value = TypeVar("Value")

UNKNOWN: Final = ("unknown", "dim")


def machine_details(profile: CapabilityProfile | None) -> tuple[Fact, ...]:
    """Gives all that is known of the machine, each fact with its source: label, text, tone."""
    if profile is None:
        return (("machine", "is being looked at", "dim"),)
    levels = " + ".join(f"{level.cores} {level.name}" for level in profile.cpu_levels)
    cores = Reading(levels, profile.cpu_levels_source or "", profile.cpu_levels_estimated) if levels else None
    return (
        ("machine", " · ".join((profile.host, profile.system, profile.architecture)), ""),
        _fact("model", profile.model, str),
        _fact("chip", profile.chip, str),
        _fact("cores", cores or profile.logical_cpus, str),
        _fact("GPU cores", profile.gpu_cores, str),
        _fact("memory", profile.memory_bytes, size),
        _fact("for the GPU", profile.working_set_bytes, size),
        _fact("bandwidth", profile.memory_bandwidth_gbs, lambda gbs: f"{gbs:g} GB/s"),
        _fact("fan", profile.fanless, lambda fanless: "none" if fanless else "yes"),
        _fact("virtual", profile.virtual_machine, _yes),
        _fact("Rosetta", profile.rosetta, _yes),
    )


def _fact(label: str, reading: Reading[Value] | None, show: Callable[[Value], str]) -> Fact:
    if reading is None:
        return label, *UNKNOWN
    estimated = ", estimated" if reading.estimated else ""
    return label, f"{show(reading.value)} ({reading.source}{estimated})", "warn" if reading.estimated else ""


def _yes(value: bool) -> str:
    return "yes" if value else "no"
