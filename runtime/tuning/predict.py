"""Predicts how fast a model will be on a machine, what it takes and how long a context fits, before anything is loaded.

What a run measured is better: `measured.py` keeps that, and it replaces a prediction wherever both are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from ...hw.chips import parse_brand
from ...hw.profile import CapabilityProfile
from ..formats.header import Header
from ..frames import LoadOptions
from ..models.model import Speed
from .context import LEAST_CONTEXT
from .footprint import CACHE_GRAIN, TYPICAL_KV_BYTES_PER_TOKEN, footprint
from .memory_budget import divide_memory
from .predict_speed import NEWEST, EngineKind, Machine, WeightKind, Work, decode_ms, prefill_ms
from .sequence_footprint import PLAIN_TYPES, sequence_footprint

_SPREAD: Final = (0.80, 1.25)
"""Nine of ten published speeds lie in this range around their prediction."""
_WIDE_SPREAD: Final = (0.65, 1.40)
"""For machines some of whose facts are assumed."""
_BEFORE_MATRIX_UNITS: Final = 4
"""The generation whose speed of prompts later ones have where the engine was built without their matrix units."""
_A_CHIPS_BEHIND: Final = 14
"""A18 has the cores of M4."""
_START_S: Final = (0.5, 3.0)
_DISK_GBS: Final = {"Base": (1.5, 3.5)}
_DISK_GBS_LARGER: Final = (3.0, 6.5)
"""What Macs' disks read at least and at most; an assumption, as nothing tells it."""
_TYPICAL_HEAD: Final = 128
_ENGINES: Final[Mapping[str, EngineKind]] = {"llama": "llama.cpp", "mlx": "mlx"}


@dataclass(frozen=True, slots=True)
class Prediction:
    """What is to be expected of one model on one machine; None is what cannot be told."""

    context: int
    """Tokens that the figures are for."""
    decode: Speed | None
    """With a context that long before it."""
    prefill: Speed | None
    """Of a prompt that long, none of it computed before."""
    memory_bytes: int
    """With one context that long."""
    budget_bytes: int | None
    """What models may take together here."""
    longest_context: int | None
    """The longest that fits into it; 0 where none does."""
    load_s: tuple[float, float] | None
    """At least and at most, from files that are not in memory."""
    reasons: tuple[str, ...] = ()
    """What was assumed, or why something cannot be told; for people."""

    @property
    def fits(self) -> bool | None:
        """Whether model and context fit."""
        return None if self.budget_bytes is None else self.memory_bytes <= self.budget_bytes


def predict(
    profile: CapabilityProfile | None,
    header: Header,
    context: int,
    *,
    engine_name: str = "llama",
    headroom: float = 1.0,
    models_percent: float = 0.0,
) -> Prediction:
    """Predicts for one model.

    Args:
        profile: the machine; None while it has not been read.
        header: the model, as its files say, or as its config.json and the files' sizes do.
        context: tokens before the next one.
        engine_name: what computes it.
        headroom: what heat and low-power mode leave of the speed, 0 to 1.
        models_percent: what the settings give to models; 0 leaves it to the machine.
    """
    decode, prefill, reasons = predict_speeds(profile, header, context, engine_name=engine_name, headroom=headroom)
    held = LoadOptions(max_sequences=1)
    divided = divide_memory(profile, models_percent=models_percent)
    budget = None if divided is None else divided.models_bytes
    return Prediction(
        context=context,
        decode=decode,
        prefill=prefill,
        memory_bytes=_memory(header, held, context, engine_name),
        budget_bytes=budget,
        longest_context=None if budget is None else _longest(header, held, engine_name, budget),
        load_s=_load_s(profile, header),
        reasons=reasons,
    )


def predict_speeds(
    profile: CapabilityProfile | None, header: Header, context: int, *, engine_name: str = "llama", headroom: float = 1.0
) -> tuple[Speed | None, Speed | None, tuple[str, ...]]:
    """Predicts decode and prefill, and says what was assumed or why there is no prediction; arguments as of `predict`."""
    machine, reasons = to_machine(profile)
    work = to_work(header, engine_name)
    if work is None and header.ability != "text":
        reasons = (*reasons, "speeds are predicted only for models that write text")
    elif work is None:
        reasons = (*reasons, "the model does not say how many of its weights a token takes")
    if machine is None or work is None:
        return None, None, reasons
    spread = _WIDE_SPREAD if reasons else _SPREAD
    decode = _speed(1000 * headroom / decode_ms(machine, work, context), spread)
    return decode, _prefill(machine, work, max(1, context), headroom, spread), reasons


def to_machine(profile: CapabilityProfile | None) -> tuple[Machine | None, tuple[str, ...]]:
    """Takes from a profile what decides the speed; None, with the reason, where that is not known."""
    if profile is None or profile.chip is None:
        return None, ("the chip is unknown",)
    name = parse_brand(profile.chip.value)
    if name is None:
        return None, (f"nobody measured {profile.chip.value} yet: speeds are told once a model has run here",)
    if profile.memory_bandwidth_gbs is None or profile.gpu_cores is None:
        return None, ("the GPU's cores or the memory's bandwidth are unknown",)
    generation = name.generation if name.generation is not None else max(1, name.number - _A_CHIPS_BEHIND)
    machine = Machine(generation, profile.gpu_cores.value, profile.memory_bandwidth_gbs.value, ultra=name.tier == "Ultra")
    reasons: list[str] = []
    if profile.memory_bandwidth_gbs.estimated:
        reasons.append(f"bandwidth assumed: {profile.memory_bandwidth_gbs.value:g} GB/s")
    if generation > NEWEST:
        reasons.append(f"taken for M{NEWEST}, the newest generation with published speeds")
    return machine, tuple(reasons)


def to_work(header: Header, engine_name: str = "llama") -> Work | None:
    """Takes from a header what a token asks of the machine; None where it does not say how many weights that is."""
    active = header.active
    if active is None or not active.parameters or header.format == "echo" or header.ability != "text":
        return None
    layers = header.layers or 32
    kv, window_kv, window, attending = _kept(header, layers)
    return Work(
        active_bytes=active.size_bytes,
        active_parameters=active.parameters,
        layers=layers,
        attending_layers=attending,
        kv_bytes_per_token=kv,
        attention_width=(header.heads or 32) * (header.head_dim or _TYPICAL_HEAD),
        window_kv_bytes_per_token=window_kv,
        window=window,
        mixture=active.mixture,
        weights=_weights(header.quantization),
        engine=_ENGINES.get(engine_name, "other"),
    )


def _speed(tps: float, spread: tuple[float, float]) -> Speed:
    return Speed(tps, tps * spread[0], tps * spread[1])


def _prefill(machine: Machine, work: Work, tokens: int, headroom: float, spread: tuple[float, float]) -> Speed:
    """From M5 on the range begins where an engine without the GPU's matrix units is: not every build uses them."""
    speed = _speed(1000 * headroom * tokens / prefill_ms(machine, work, tokens), spread)
    if machine.generation < NEWEST:
        return speed
    without = replace(machine, generation=_BEFORE_MATRIX_UNITS)
    return replace(speed, low_tps=1000 * headroom * tokens / prefill_ms(without, work, tokens) * spread[0])


def _kept(header: Header, layers: int) -> tuple[float, float, int | None, int]:
    """Bytes a token in layers that keep all and in those with a window, the window, and how many layers attend."""
    layout = header.kv_layout
    if layout is None:
        kept = TYPICAL_KV_BYTES_PER_TOKEN if header.kv_bytes_per_token is None else header.kv_bytes_per_token
        return kept, 0.0, None, layers
    attending = layers
    if layout.state_bytes and header.kv_heads and header.head_dim:
        attending = min(layers, (layout.width + layout.window_width) // (2 * header.kv_heads * header.head_dim))
    return 2.0 * layout.width, 2.0 * layout.window_width, layout.window, attending


def _weights(quantization: str | None) -> WeightKind:
    name = (quantization or "").upper()
    if name in PLAIN_TYPES:
        return "plain"
    return "super_blocks" if "_K" in name or name.startswith("IQ") else "blocks"


def _memory(header: Header, options: LoadOptions, context: int, engine_name: str) -> int:
    held = _with_context(options, context)
    if header.format in ("gguf", "echo"):
        return footprint(header, held).total_bytes
    return sequence_footprint(header, held, engine_name).total_bytes


def _longest(header: Header, options: LoadOptions, engine_name: str, budget: int) -> int:
    """The longest context that fits, in whole grains."""
    low, high = 0, (header.context_length or 131_072) // CACHE_GRAIN
    if _memory(header, options, LEAST_CONTEXT, engine_name) > budget:
        return 0
    while low < high:
        middle = (low + high + 1) // 2
        if _memory(header, options, middle * CACHE_GRAIN, engine_name) <= budget:
            low = middle
        else:
            high = middle - 1
    return low * CACHE_GRAIN


def _with_context(options: LoadOptions, context: int) -> LoadOptions:
    return msgspec.structs.replace(options, context_length=context, cache_tokens=context)


def _load_s(profile: CapabilityProfile | None, header: Header) -> tuple[float, float] | None:
    if profile is None or profile.tier is None or not header.size_bytes:
        return None
    slow, fast = _DISK_GBS.get(profile.tier.value, _DISK_GBS_LARGER)
    return _START_S[0] + header.size_bytes / fast / 1e9, _START_S[1] + header.size_bytes / slow / 1e9
