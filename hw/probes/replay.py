"""Replays readings of a machine from a file: for demonstrations and tests.

A recording is one JSON object::

    {"note": "where the figures come from",
     "profile": {"host": "…", "system": "macOS 15.5", "architecture": "arm64", "chip": "Apple M4 Max",
                 "cpu_levels": [["Performance", 12], ["Efficiency", 4]], "memory_bytes": 137438953472},
     "samples": [{"cpu_percent": 12.5, "watched_bytes": [180000000, 5200000000]}]}

A profile holds what the machine said of itself, by the names of CapabilityProfile; a sample the fields of Sample.
What is left out is unknown. `watched_bytes` goes to the watched processes in their order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ..profile import CapabilityProfile, CpuLevel, Reading, to_reading
from ..sample import MemoryPressure, Sample, ThermalLevel

Value = TypeVar("Value")


class RecordedProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a machine said of itself; None is unknown."""

    host: str
    system: str
    architecture: str
    model: str | None = None
    chip: str | None = None
    cpu_levels: tuple[tuple[str, int], ...] = ()
    logical_cpus: int | None = None
    usable_cpus: int | None = None
    gpu_cores: int | None = None
    memory_bytes: int | None = None
    memory_bandwidth_gbs: float | None = None
    working_set_bytes: int | None = None
    max_buffer_bytes: int | None = None
    fanless: bool | None = None
    virtual_machine: bool | None = None
    rosetta: bool | None = None


class RecordedSample(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One reading; None is unknown."""

    cpu_percent: float | None = None
    gpu_percent: float | None = None
    gpu_mhz: float | None = None
    gpu_memory_bytes: int | None = None
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    memory_available_bytes: int | None = None
    swap_used_bytes: int | None = None
    memory_pressure: MemoryPressure | None = None
    thermal_level: ThermalLevel | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    gpu_power_w: float | None = None
    fan_rpm: float | None = None
    on_battery: bool | None = None
    battery_percent: float | None = None
    low_power_mode: bool | None = None
    watched_bytes: tuple[int, ...] = ()
    """Resident memory of the watched processes, in the order they are asked for."""


class Recording(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A machine and some of its moments."""

    profile: RecordedProfile
    samples: tuple[RecordedSample, ...]
    note: str = ""
    """Where the figures come from."""


class ReplayProbe:
    """Plays a recording over and over, one sample at each reading."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Reads the recording.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is no recording.
        """
        try:
            recording = msgspec.json.decode(path.read_bytes(), type=Recording)
        except msgspec.MsgspecError as error:
            raise ValueError(f"{path} is no recording: {error}") from error
        self._clock = clock
        self._source = f"recording {path.stem}"
        self._profile = _to_profile(recording.profile, self._source)
        self._samples = cycle(recording.samples or (RecordedSample(),))

    def read_profile(self) -> CapabilityProfile:
        """Gives the recorded machine."""
        return self._profile

    def read_sample(self, pids: Sequence[int]) -> Sample:
        """Gives the next recorded moment, as if it were this one."""
        return _to_sample(next(self._samples), self._clock(), pids, self._source)


def _to_profile(recorded: RecordedProfile, source: str) -> CapabilityProfile:
    def reading(value: Value | None) -> Reading[Value] | None:
        return to_reading(value, source)

    return CapabilityProfile(
        host=recorded.host,
        system=recorded.system,
        architecture=recorded.architecture,
        model=reading(recorded.model),
        chip=reading(recorded.chip),
        cpu_levels=tuple(CpuLevel(name, cores) for name, cores in recorded.cpu_levels),
        cpu_levels_source=source if recorded.cpu_levels else None,
        logical_cpus=reading(recorded.logical_cpus),
        usable_cpus=reading(recorded.usable_cpus if recorded.usable_cpus is not None else recorded.logical_cpus),
        gpu_cores=reading(recorded.gpu_cores),
        memory_bytes=reading(recorded.memory_bytes),
        memory_bandwidth_gbs=reading(recorded.memory_bandwidth_gbs),
        working_set_bytes=reading(recorded.working_set_bytes),
        max_buffer_bytes=reading(recorded.max_buffer_bytes),
        fanless=reading(recorded.fanless),
        virtual_machine=reading(recorded.virtual_machine),
        rosetta=reading(recorded.rosetta),
    )


def _to_sample(recorded: RecordedSample, at_s: float, pids: Sequence[int], source: str) -> Sample:
    names = [name for name in RecordedSample.__struct_fields__ if name != "watched_bytes"]
    known: dict[str, Any] = {name: value for name in names if (value := getattr(recorded, name)) is not None}
    return Sample(
        at_s=at_s,
        process_bytes=dict(zip(pids, recorded.watched_bytes, strict=False)),
        sources=dict.fromkeys(known, source),
        **known,
    )
