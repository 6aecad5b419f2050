"""Reads the little that psutil can tell of a system for which there is no probe of its own."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Sequence
from typing import Final

import psutil

from ..profile import CapabilityProfile, Reading
from ..sample import Sample
from .processes import CpuUsage, read_resident_bytes

log = logging.getLogger(__name__)

_MEMORY: Final = ("memory_total_bytes", "memory_used_bytes", "memory_available_bytes")


class PlainProbe:
    """Knows memory, processors and processes; everything else is unknown."""

    def __init__(self) -> None:
        self._cpu = CpuUsage()

    def read_profile(self) -> CapabilityProfile:
        """Reads the size of the machine."""
        logical = os.cpu_count()
        memory = _read_memory()
        return CapabilityProfile(
            host=platform.node() or "localhost",
            system=f"{platform.system() or 'Unknown'} {platform.release()}".rstrip(),
            architecture=platform.machine() or "unknown",
            logical_cpus=Reading(logical, "os.cpu_count") if logical else None,
            memory_bytes=Reading(memory[0], "psutil") if memory is not None else None,
        )

    def read_sample(self, pids: Sequence[int]) -> Sample:
        """Reads the load."""
        memory = _read_memory()
        return Sample(
            at_s=time.monotonic(),
            cpu_percent=self._cpu.read_percent(),
            memory_total_bytes=memory[0] if memory is not None else None,
            memory_used_bytes=memory[0] - memory[1] if memory is not None else None,
            memory_available_bytes=memory[1] if memory is not None else None,
            process_bytes=read_resident_bytes(pids),
            sources=dict.fromkeys(_MEMORY if memory is not None else (), "psutil"),
        )


def _read_memory() -> tuple[int, int] | None:
    """Reads total and available bytes; psutil raises RuntimeError where a kernel's answer is new to it."""
    try:
        memory = psutil.virtual_memory()
    except (psutil.Error, OSError, RuntimeError):
        log.debug("psutil cannot read the memory", exc_info=True)
        return None
    return memory.total, memory.available
