"""What a benchmark found, and how the machine was meanwhile."""

from __future__ import annotations

import msgspec

from ...hw.sample import MemoryPressure, Sample, ThermalLevel
from .calibrate import Sustained

_BUSY_PERCENT = 30.0
_SWAP_GROWN_BYTES = 256 * 1024**2


class MachineState(msgspec.Struct, frozen=True):
    """The machine at one moment; null is what could not be read."""

    cpu_percent: float | None = None
    """Of all usable cores together."""
    thermal_level: ThermalLevel | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    on_battery: bool | None = None
    low_power_mode: bool | None = None
    memory_pressure: MemoryPressure | None = None
    swap_used_bytes: int | None = None


class BenchPoint(msgspec.Struct, frozen=True):
    """One answer to a prompt of one length, none of it computed before."""

    prompt_tokens: int
    completion_tokens: int
    prefill_tps: float | None
    decode_tps: float | None
    """Null where the answer was a single token."""
    ttft_s: float


class BenchStreams(msgspec.Struct, frozen=True):
    """Several answers at once."""

    streams: int
    tokens: int
    """Of all answers."""
    total_tps: float
    """All tokens over the time until the last answer ended."""
    slowest_ttft_s: float
    wall_s: float


class BenchResult(msgspec.Struct, frozen=True):
    """One whole benchmark; null is unknown."""

    at_epoch_s: float
    model: str
    quantization: str | None
    size_bytes: int
    engine: str
    """Name and version."""
    machine: str | None
    chip: str | None
    system: str | None
    context_length: int | None
    load_s: float
    cold_ttft_s: float
    """Time to the first token of the first request."""
    warm_ttft_s: float
    """The same with the same prompt again."""
    points: list[BenchPoint]
    streams: list[BenchStreams]
    memory_bytes: int | None
    """The most that the engine's process was seen to hold."""
    joules_per_token: float | None
    """Of the whole machine, while the streams ran."""
    before: MachineState
    after: MachineState
    flags: list[str]
    """Why the figures may be off; none where nothing was seen."""
    sustained: Sustained | None = None
    """Null where it was not asked for, or answers were too short to tell."""
    id: int | None = None
    """Its number among those kept here."""


def to_state(sample: Sample | None) -> MachineState:
    """Takes the state from a reading."""
    if sample is None:
        return MachineState()
    return MachineState(
        sample.cpu_percent,
        sample.thermal_level,
        sample.temperature_c,
        sample.power_w,
        sample.on_battery,
        sample.low_power_mode,
        sample.memory_pressure,
        sample.swap_used_bytes,
    )


def find_flags(state: MachineState, before: MachineState | None = None) -> list[str]:
    """Says in words what speaks against measuring; with a state before, also what changed since."""
    flags: list[str] = []
    if state.thermal_level not in (None, "nominal"):
        flags.append(f"it is hot (thermal level {state.thermal_level})")
    if state.low_power_mode:
        flags.append("it saves power")
    if state.memory_pressure not in (None, "normal"):
        flags.append(f"memory is short ({state.memory_pressure})")
    if before is not None and state.swap_used_bytes is not None and before.swap_used_bytes is not None:
        grown = state.swap_used_bytes - before.swap_used_bytes
        if grown > _SWAP_GROWN_BYTES:
            flags.append(f"it swapped {grown / 1e9:.1f} GB meanwhile")
    return flags


def find_load(before: MachineState) -> list[str]:
    """Says in words whether others computed before the model was loaded; that is told, but keeps nobody from measuring."""
    if before.cpu_percent is None or before.cpu_percent < _BUSY_PERCENT:
        return []
    return [f"other programs kept {before.cpu_percent:.0f} % of the processor busy"]
