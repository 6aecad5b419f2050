"""From what a probe reads, and what the table of chips knows, to the profile of the machine."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

from . import chips
from .probes.probe import Probe
from .profile import CapabilityProfile, Reading

log = logging.getLogger(__name__)

TABLE: Final = "table of chips"
RELATIVE: Final = "newest known chip of this tier"
_WORKING_SET_SHARE: Final = 0.70
"""Of the memory; the system's own limit was seen between 0.67 and 0.91 of it, growing with the memory."""


class HardwareDetector:
    """Finds out what the machine is; blocks for as long as its probe does."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    def detect(self) -> CapabilityProfile:
        """Reads the machine and adds what its chip's name implies; what was read always wins over what is implied."""
        profile = self._probe.read_profile()
        if profile.chip is None:
            return profile
        virtual = profile.virtual_machine is not None and profile.virtual_machine.value
        facts = chips.lookup(
            profile.chip.value,
            gpu_cores=profile.gpu_cores.value if profile.gpu_cores is not None else None,
            # A virtual machine has some of its host's cores and memory: they tell nothing of the chip.
            cpu_cores=_cpu_cores(profile) if not virtual else None,
            memory_bytes=profile.memory_bytes.value if profile.memory_bytes is not None and not virtual else None,
        )
        if facts is None:
            return profile
        if not facts.known:
            log.warning("%s is not in the table of chips; assuming a newer relative of what is: %s", facts.name.name, profile)
        profile = _with_name(profile, facts.name)
        return profile if virtual or facts.name.virtual else _with_table(profile, facts)


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
    return replace(
        profile,
        cpu_levels=profile.cpu_levels or facts.levels or (),
        logical_cpus=profile.logical_cpus or cores,
        usable_cpus=profile.usable_cpus or cores,
        gpu_cores=profile.gpu_cores or gpu_cores,
        memory_bandwidth_gbs=profile.memory_bandwidth_gbs or bandwidth,
        working_set_bytes=profile.working_set_bytes or _assumed_working_set(profile),
        fanless=profile.fanless or _fanless(profile, facts.name),
    )


def _assumed_working_set(profile: CapabilityProfile) -> Reading[int] | None:
    if profile.memory_bytes is None or not profile.system.startswith("macOS"):
        return None
    return Reading(int(profile.memory_bytes.value * _WORKING_SET_SHARE), "share of the memory", estimated=True)


def _fanless(profile: CapabilityProfile, name: chips.ChipName) -> Reading[bool] | None:
    listed = chips.is_fanless(profile.model.value) if profile.model is not None else None
    if listed is not None:
        return Reading(listed, "table of models")
    # No Mac with more than a base chip was ever sold without a fan.
    return Reading(False, "tier of the chip", estimated=True) if name.tier in {"Pro", "Max", "Ultra"} else None


def _cpu_cores(profile: CapabilityProfile) -> int | None:
    """Counts the cores; Apple's have one thread each."""
    if profile.cpu_levels:
        return sum(level.cores for level in profile.cpu_levels)
    return profile.logical_cpus.value if profile.logical_cpus is not None else None
