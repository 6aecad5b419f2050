"""Facts of the machine that a person states; they win over what is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from .profile import CapabilityProfile, CpuLevel, Reading

STATED: Final = "impetus.toml [hardware.override]"
FIELDS: Final[Mapping[str, str]] = {
    "model": "model",
    "brand": "chip",
    "generation": "generation",
    "tier": "tier",
    "ncpu": "logical_cpus",
    "gpu_cores": "gpu_cores",
    "memory_bytes": "memory_bytes",
    "bandwidth_gbs": "memory_bandwidth_gbs",
    "working_set_bytes": "working_set_bytes",
    "max_buffer_bytes": "max_buffer_bytes",
    "fanless": "fanless",
    "virtual": "virtual_machine",
    "rosetta": "rosetta",
}
"""The names that `impetus hardware --json` prints, and a profile's own."""


@dataclass(frozen=True, slots=True)
class Override:
    """What is stated, by the names of CapabilityProfile."""

    facts: Mapping[str, Reading[str | int | float | bool]]
    levels: tuple[CpuLevel, ...] = ()
    system: str | None = None

    def apply(self, profile: CapabilityProfile) -> CapabilityProfile:
        """Puts what is stated in the place of what was read."""
        stated: dict[str, object] = dict(self.facts)
        if "logical_cpus" in stated:
            stated["usable_cpus"] = stated["logical_cpus"]
        if self.levels:
            stated |= {"cpu_levels": self.levels, "cpu_levels_source": STATED, "cpu_levels_estimated": False}
        if self.system is not None:
            stated["system"] = self.system
        return replace(profile, **stated) if stated else profile


def to_override(stated: Mapping[str, object]) -> Override:
    """Takes facts by the names that `impetus hardware --json` prints; None, and names that it does not print, state nothing."""
    facts = {
        ours: Reading(value, STATED)
        for name, ours in FIELDS.items()
        if isinstance(value := stated.get(name), str | int | float)
    }
    levels = cast("Sequence[tuple[str, int]]", stated.get("levels") or ())
    macos = stated.get("macos")
    return Override(
        facts, tuple(CpuLevel(name, cores) for name, cores in levels), f"macOS {macos}" if isinstance(macos, str) else None
    )
