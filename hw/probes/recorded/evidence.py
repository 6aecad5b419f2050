"""Gathers what a recording says, and keeps of each fact the best witness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from ...profile import CpuLevel, Reading
from ..native.smc import hottest

MOST_CORES: Final = 4096
LEAST_MEMORY_BYTES: Final = 1 << 28
MOST_MEMORY_BYTES: Final = 1 << 46

Value = str | int | float | bool | tuple[CpuLevel, ...]


class Rank(IntEnum):
    """How near to the kernel a witness stands; of two, the nearer is believed."""

    PROSE = 0
    LABEL = 1
    """What somebody wrote above a text."""
    TOOL = 2
    REPORT = 3
    """system_profiler."""
    DRIVER = 4
    """ioreg, MLX, Metal."""
    KERNEL = 5


@dataclass(frozen=True, slots=True)
class _Witness:
    value: Value
    source: str
    rank: Rank
    estimated: bool


class Evidence:
    """The facts found so far, by name; of equal witnesses the first is believed, and for what changes the last."""

    def __init__(self) -> None:
        self._facts: dict[str, _Witness] = {}

    def add(
        self, name: str, value: Value | None, source: str, rank: Rank, *, estimated: bool = False, changes: bool = False
    ) -> None:
        """Notes a fact; None and empty ones are no facts, and a number that no machine can have is none either."""
        if value is None or value in ("", ()) or not _is_sane(name, value):
            return
        known = self._facts.get(name)
        better = known is None or (not estimated, rank) > (not known.estimated, known.rank)
        equal = known is not None and (estimated, rank) == (known.estimated, known.rank)
        if better or (changes and equal):
            self._facts[name] = _Witness(value, source, rank, estimated)

    def __contains__(self, name: str) -> bool:
        return name in self._facts

    def __len__(self) -> int:
        return len(self._facts)

    def text(self, name: str) -> Reading[str] | None:
        """Gives a fact that is text."""
        fact = self._facts.get(name)
        return Reading(fact.value, fact.source, fact.estimated) if fact is not None and isinstance(fact.value, str) else None

    def integer(self, name: str) -> Reading[int] | None:
        """Gives a fact that is a whole number."""
        fact = self._facts.get(name)
        if fact is None or isinstance(fact.value, bool) or not isinstance(fact.value, int):
            return None
        return Reading(fact.value, fact.source, fact.estimated)

    def number(self, name: str) -> Reading[float] | None:
        """Gives a fact that is a number."""
        fact = self._facts.get(name)
        if fact is None or isinstance(fact.value, bool) or not isinstance(fact.value, int | float):
            return None
        return Reading(float(fact.value), fact.source, fact.estimated)

    def flag(self, name: str) -> Reading[bool] | None:
        """Gives a fact that is true or false."""
        fact = self._facts.get(name)
        return Reading(fact.value, fact.source, fact.estimated) if fact is not None and isinstance(fact.value, bool) else None

    def levels(self, name: str) -> Reading[tuple[CpuLevel, ...]] | None:
        """Gives a fact that is kinds of cores."""
        fact = self._facts.get(name)
        if fact is None or not isinstance(fact.value, tuple):
            return None
        return Reading(fact.value, fact.source, fact.estimated)


_COUNTS: Final[Sequence[str]] = ("logical_cpus", "cpu_cores", "gpu_cores")
_SIZES: Final[Sequence[str]] = ("memory_bytes", "memory_limit_bytes", "working_set_bytes", "max_buffer_bytes")
_NEVER_ZERO: Final[Sequence[str]] = ("gpu_mhz", "power_w", "gpu_power_w", "chip_power_w", "memory_used_bytes")
"""A power or clock of 0 is one that could not be read: no chip that answers draws nothing."""
_HEATS: Final[Sequence[str]] = ("temperature_c", "cpu_temp_avg", "gpu_temp_avg")
_PERCENTS: Final[Sequence[str]] = ("gpu_percent", "battery_percent", "free_percent")


def _is_sane(name: str, value: Value) -> bool:
    if isinstance(value, tuple):
        return all(0 < level.cores <= MOST_CORES for level in value)
    if isinstance(value, bool | str):
        return True
    if name in _COUNTS:
        return 0 < value <= MOST_CORES
    if name in _SIZES:
        return LEAST_MEMORY_BYTES <= value <= MOST_MEMORY_BYTES
    if name in _PERCENTS:
        return 0 <= value <= 100
    if name in _HEATS:
        return hottest([value]) is not None
    return (value > 0 if name in _NEVER_ZERO else value >= 0) and value < 1 << 62
