"""From what a probe reads, and what the table of chips knows, to the profile of the machine."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

from . import chips, macs
from .override import Override
from .probes.probe import Probe
from .profile import CapabilityProfile, Reading

log = logging.getLogger(__name__)

TABLE: Final = "table of chips"
RELATIVE: Final = "newest known chip of this tier"
_WORKING_SET_SHARE: Final = 0.70
"""Of the memory; the system's own limit was seen between 0.67 and 0.91 of it, growing with the memory."""


class HardwareDetector:
    """Finds out what the machine is; blocks for as long as its probe does."""

    def __init__(self, probe: Probe, override: Override | None = None) -> None:
        self._probe = probe
        self._override = override
        self._told_of: str | None = None
        """The unknown chip that the log tells of already."""

    def detect(self) -> CapabilityProfile:
        """Reads the machine and adds what its chip's name implies.

        What was read always wins over what is implied, and what a person states over both.
        """
        profile = self._probe.read_profile()
        if self._override is not None:
            profile = self._override.apply(profile)
        virtual = profile.virtual_machine is not None and profile.virtual_machine.value
        if profile.chip is None:
            return _with_fan(profile, None)
        facts = chips.lookup(
            profile.chip.value,
            gpu_cores=profile.gpu_cores.value if profile.gpu_cores is not None else None,
            # A virtual machine has some of its host's cores and memory: they tell nothing of the chip.
            cpu_cores=_cpu_cores(profile) if not virtual else None,
            memory_bytes=profile.memory_bytes.value if profile.memory_bytes is not None and not virtual else None,
        )
        if facts is None:
            return _with_fan(profile, None)
        if not facts.known:
            self._tell_of_unknown(facts.name.name, profile)
        profile = _with_name(profile, facts.name)
        return profile if virtual or facts.name.virtual else _with_table(profile, facts)

    def _tell_of_unknown(self, name: str, profile: CapabilityProfile) -> None:
        if name != self._told_of:
            self._told_of = name
            log.warning("%s is not in the table of chips; assuming a newer relative of what is: %s", name, profile)


def _with_name(profile: CapabilityProfile, name: chips.ChipName) -> CapabilityProfile:
    generation = Reading(name.generation, "name of the chip") if name.generation is not None else None
    return replace(
        profile,
        generation=profile.generation or generation,
        tier=profile.tier or Reading(name.tier, "name of the chip"),
        virtual_machine=Reading(True, "name of the chip") if name.virtual else profile.virtual_machine,
    )


def _with_table(profile: CapabilityProfile, facts: chips.ChipFacts) -> CapabilityProfile:
    """Adds what belongs to the silicon; the caller has ruled out a virtual machine."""
    bandwidth = None
    if facts.bandwidth_gbs is not None:
        bandwidth = Reading(facts.bandwidth_gbs, TABLE if facts.known else RELATIVE, estimated=facts.bandwidth_estimated)
    gpu_cores = Reading(facts.gpu_cores, TABLE, estimated=True) if facts.gpu_cores is not None else None
    cores = Reading(sum(level.cores for level in facts.levels), TABLE, estimated=True) if facts.levels is not None else None
    profile = replace(
        profile,
        logical_cpus=profile.logical_cpus or cores,
        usable_cpus=profile.usable_cpus or cores,
        gpu_cores=profile.gpu_cores or gpu_cores,
        memory_bandwidth_gbs=profile.memory_bandwidth_gbs or bandwidth,
        working_set_bytes=profile.working_set_bytes or _assumed_working_set(profile),
    )
    if not profile.cpu_levels and facts.levels is not None:
        profile = replace(profile, cpu_levels=facts.levels, cpu_levels_source=TABLE, cpu_levels_estimated=True)
    return _with_fan(profile, facts.name)


def _assumed_working_set(profile: CapabilityProfile) -> Reading[int] | None:
    if profile.memory_bytes is None or not profile.system.startswith("macOS"):
        return None
    return Reading(int(profile.memory_bytes.value * _WORKING_SET_SHARE), "share of the memory", estimated=True)


def _with_fan(profile: CapabilityProfile, name: chips.ChipName | None) -> CapabilityProfile:
    if profile.fanless is not None or (profile.virtual_machine is not None and profile.virtual_machine.value):
        return profile
    listed = macs.is_fanless(profile.model.value) if profile.model is not None else None
    if listed is not None:
        return replace(profile, fanless=Reading(listed, "table of models"))
    # No Mac with more than a base chip was ever sold without a fan.
    if name is not None and name.tier in {"Pro", "Max", "Ultra"}:
        return replace(profile, fanless=Reading(False, "tier of the chip", estimated=True))
    return profile


def _cpu_cores(profile: CapabilityProfile) -> int | None:
    """Counts the cores; Apple's have one thread each."""
    if profile.cpu_levels:
        return sum(level.cores for level in profile.cpu_levels)
    return profile.logical_cpus.value if profile.logical_cpus is not None else None
