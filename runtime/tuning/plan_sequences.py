"""Plans for the engines whose context memory grows with what it holds: MLX, torch, ONNX Runtime and Core ML."""

from __future__ import annotations

import sys
from typing import Literal

import msgspec

from ...hw.profile import CapabilityProfile
from ..config import Config, EngineConfig
from ..formats.header import Header
from ..frames import LoadOptions
from ..home import Home
from ..models.model import Model
from .context import CONTEXTS_KEPT, KV_SHARE, LEAST_CONTEXT, MOST_CONTEXT_BY_ITSELF
from .guessing import Guessing
from .load_plan import Choice, LoadPlan, step_target
from .prefix_room import choose_prefix
from .sequence_footprint import MLX_CPU_BATCH_TOKENS, PLAIN_TYPES, freed_bytes, sequence_footprint

CONVERTED = "converted"


def plan_sequences(
    model: Model,
    profile: CapabilityProfile | None,
    config: Config,
    home: Home,
    engine_name: str,
    computing: tuple[LoadOptions, tuple[Choice, ...]],
    budget: int | None,
    guessing: Guessing,
) -> LoadPlan:
    """Decides how such an engine holds a model within so many bytes; looks at the disk, so it blocks."""
    engine = config.engine
    header = model.header
    options, why_computing = _batch(computing, engine, engine_name)
    memory_bytes = profile.memory_bytes.value if profile is not None and profile.memory_bytes is not None else None
    prefix, why_prefix = choose_prefix(config.cache, home, memory_bytes)
    step_target_s, why_step = step_target(profile, engine)
    options = msgspec.structs.replace(
        options,
        prefix=prefix,
        normalise=config.cache.normalise,
        end_loops=engine.end_loops,
        tool_family=engine.tool_family,
        step_target_s=step_target_s,
        cache_type="f16" if engine.kv_type == "auto" or engine_name != "mlx" else engine.kv_type,
        converted_dir=str(home.cache_dir / CONVERTED),
        onnx_provider=engine.onnx_provider,
        draft=guessing.by,
        draft_path=guessing.path,
        draft_tokens=engine.draft_tokens,
        memory_limit_bytes=memory_bytes,
    )
    length, why_context = _context(header, engine)
    options = msgspec.structs.replace(options, context_length=length, cache_tokens=length)
    options, why_weights = _weights(header, options, engine, engine_name, budget)
    if budget is not None and length is not None:
        options, shortened = _shorten(header, options, engine, engine_name, budget)
        if shortened:
            why_context = f"context {options.context_length} of {header.context_length}: more would not fit"
        options = _more_cells(header, options, engine_name, budget, memory_bytes or 0)
    if engine_name == "mlx":
        options = msgspec.structs.replace(options, freed_bytes=freed_bytes(header, options))
    needed = sequence_footprint(header, options, engine_name)
    needed_bytes = needed.total_bytes + (0 if guessing.model is None else _draft_bytes(guessing.model, options, engine_name))
    cells = options.cache_tokens or options.context_length or 0
    choices = (
        *why_computing,
        Choice("context", options.context_length, why_context),
        _precision(options, engine, engine_name),
        Choice("KV cells", options.cache_tokens, "memory for contexts is taken as they grow, up to so many tokens"),
        Choice("concurrent sequences", options.max_sequences, f"{options.max_sequences} answers at once, as the settings say"),
        *((Choice("weights", f"{options.weight_bits} bits", why_weights),) if why_weights else ()),
        *_held(profile, engine_name),
        Choice("step target", round(step_target_s * 1000), why_step),
        Choice("speculative", guessing.by, guessing.why),
        *why_prefix,
    )
    return LoadPlan(options, needed_bytes, choices, needed.kv_bytes // cells if cells else 0)


def _batch(
    computing: tuple[LoadOptions, tuple[Choice, ...]], engine: EngineConfig, engine_name: str
) -> tuple[LoadOptions, tuple[Choice, ...]]:
    """Lets steps of prompts be smaller where larger ones gain nothing."""
    options, choices = computing
    if engine_name != "mlx" or sys.platform == "darwin" or engine.batch_tokens:
        return computing
    few = min(options.batch_tokens, MLX_CPU_BATCH_TOKENS)
    why = f"{few} tokens of prompts in a step: MLX's CPU takes as long for each of more"
    options = msgspec.structs.replace(options, batch_tokens=few, micro_batch_tokens=few)
    named = {"batch": Choice("batch", few, why), "micro-batch": Choice("micro-batch", few, f"{few} tokens of it at a time")}
    return options, tuple(named.get(choice.name, choice) for choice in choices)


def _draft_bytes(draft: Model, options: LoadOptions, engine_name: str) -> int:
    """What a second model in the same process takes, as it comes, with a memory for contexts of its own."""
    own = msgspec.structs.replace(options, weight_bits=None, cache_type="f16", cache_tokens=options.context_length)
    needs = sequence_footprint(draft.header, own, engine_name)
    return needs.weights_bytes + needs.kv_bytes


def _precision(options: LoadOptions, engine: EngineConfig, engine_name: str) -> Choice:
    if engine_name != "mlx" and engine.kv_type not in ("auto", "f16"):
        return Choice("KV precision", "f16", f"keys and values as computed: this engine does not keep them in {engine.kv_type}")
    why = "as the settings say" if engine.kv_type != "auto" else "as they are computed"
    return Choice("KV precision", options.cache_type, f"keys and values in {options.cache_type}, {why}")


def _held(profile: CapabilityProfile | None, engine_name: str) -> tuple[Choice, ...]:
    """Says how the engine holds weights and keeps them in memory."""
    if engine_name != "mlx":
        return (
            Choice("flash attention", "auto", "attention is the engine's own choice"),
            Choice("mmap", None, "how weights are read is the engine's own choice"),
        )
    working_set = profile.working_set_bytes.value if profile is not None and profile.working_set_bytes is not None else None
    return (
        Choice("flash attention", "on", "MLX computes attention in one kernel"),
        Choice("mmap", False, "weights are read into the GPU's memory"),
        Choice("wired limit", working_set, "as much as the GPU may hold stays wired, so that the system does not page it out"),
    )


def _context(header: Header, engine: EngineConfig) -> tuple[int | None, str]:
    trained = header.context_length
    if engine.context_length:
        length = min(engine.context_length, trained) if trained else engine.context_length
        return length, f"context {length}, as the settings say"
    if not trained:
        return None, "context left to the engine: the model does not state one"
    length = min(trained, MOST_CONTEXT_BY_ITSELF)
    return length, f"context {length} of {trained}"


def _weights(
    header: Header, options: LoadOptions, engine: EngineConfig, engine_name: str, budget: int | None
) -> tuple[LoadOptions, str]:
    """Decides whether weights are quantized: where they would not fit beside a short context, or the settings say so."""
    if engine_name != "mlx" or header.format == "mlx" or header.quantization not in PLAIN_TYPES or engine.quantize == "off":
        return options, ""
    if engine.quantize != "auto":
        asked: Literal[4, 8] = 8 if engine.quantize == "8bit" else 4
        return msgspec.structs.replace(options, weight_bits=asked), f"weights in {asked} bits, as the settings say"
    if budget is None:
        return options, ""
    least = msgspec.structs.replace(options, cache_tokens=min(options.cache_tokens or LEAST_CONTEXT, LEAST_CONTEXT))
    for bits in (None, 8, 4):
        tried = msgspec.structs.replace(least, weight_bits=bits)
        if sequence_footprint(header, tried, engine_name).total_bytes <= budget:
            break
    if bits is None:
        return options, ""
    return msgspec.structs.replace(options, weight_bits=bits), f"weights in {bits} bits: they would not fit otherwise"


def _shorten(
    header: Header, options: LoadOptions, engine: EngineConfig, engine_name: str, budget: int
) -> tuple[LoadOptions, bool]:
    """Shortens the context until the model fits, unless the settings name it."""
    length = options.context_length or LEAST_CONTEXT
    if engine.context_length:
        return options, False
    while length > LEAST_CONTEXT:
        tried = msgspec.structs.replace(options, context_length=length, cache_tokens=length)
        if sequence_footprint(header, tried, engine_name).total_bytes <= budget:
            break
        length = max(LEAST_CONTEXT, length * 3 // 4)
    return msgspec.structs.replace(options, context_length=length, cache_tokens=length), length != options.context_length


def _more_cells(header: Header, options: LoadOptions, engine_name: str, budget: int, memory_bytes: int) -> LoadOptions:
    """Lets more than one context be in memory, as far as there is room; what is not used takes none."""
    one = options.context_length or LEAST_CONTEXT
    for contexts in range(CONTEXTS_KEPT, 1, -1):
        tried = msgspec.structs.replace(options, cache_tokens=contexts * one)
        needs = sequence_footprint(header, tried, engine_name)
        if needs.total_bytes <= budget and needs.kv_bytes <= memory_bytes * KV_SHARE:
            return tried
    return options
