"""From a machine, a model and the settings to how the model is held in memory."""

from __future__ import annotations

import msgspec

from ...hw.profile import CapabilityProfile
from ..config import Config, EngineConfig
from ..frames import LoadOptions
from ..home import Home
from ..models.model import Model
from .computing import choose_computing
from .context import choose_context
from .footprint import PROCESS_BYTES, footprint
from .guessing import DraftModel, choose_guessing
from .load_plan import Choice, LoadPlan, has_gpu, step_target
from .memory_budget import divide_memory, tell_size
from .plan_sequences import CONVERTED, plan_sequences
from .prefix_room import choose_prefix
from .sequence_footprint import freed_bytes, vector_footprint

MOST_INPUT_TOKENS = 8192
"""Longer inputs of models that give vectors are served only where the settings ask for it."""
PICTURE_BYTES = 256 * 1024**2
"""Room to compute what a picture shows: attention over a thousand patches or more."""
WEIGHTS = (
    Choice("mmap", True, "weights are mapped: read once, shared by processes, and given back where memory is short"),
    Choice("mlock", False, "weights are not locked: the memory governor unloads models before the system has to swap"),
    Choice("wired limit", None, "no wired limit, which is MLX's: llama.cpp holds in the GPU's memory what it computes with"),
)
"""How llama.cpp holds what it reads."""
LIMIT_FACTOR = 1.25
LIMIT_SLACK_BYTES = 2 * 1024**3
"""For what no header tells: threads' stacks, images, adapters, grammars, the texts of many requests."""


def plan_load(
    model: Model,
    profile: CapabilityProfile | None,
    config: Config,
    *,
    home: Home,
    draft: DraftModel | None = None,
    engine_name: str = "llama",
    budget_bytes: int | None = None,
) -> LoadPlan:
    """Decides how a model is loaded; looks at the disk, so it blocks.

    Args:
        model: what is loaded.
        profile: the machine; None while it has not been read.
        config: the settings that hold.
        home: where computed prompts are kept.
        draft: what `engine.draft_model` stands for; None where it names nothing.
        engine_name: what computes it.
        budget_bytes: what it has to fit; None is the share of the memory that is for models.
    """
    engine = config.engine
    if model.header.format == "echo":
        context_length = engine.context_length or model.header.context_length
        return LoadPlan(LoadOptions(context_length=context_length, max_sequences=engine.max_sequences * 8), 0, ())
    options, why_computing = choose_computing(model.header, profile, engine)
    budget = budget_bytes
    if budget is None and (shares := divide_memory(profile, models_percent=config.memory.models_percent)) is not None:
        budget = shares.models_bytes
    if model.header.ability != "text":
        options = msgspec.structs.replace(options, converted_dir=str(home.cache_dir / CONVERTED))
        return _plan_vectors(model, profile, engine, engine_name, options, why_computing)
    guessing = choose_guessing(model, engine, draft, engine_name)
    if model.header.format != "gguf":
        return plan_sequences(model, profile, config, home, engine_name, (options, why_computing), budget, guessing)
    memory_bytes = profile.memory_bytes.value if profile is not None and profile.memory_bytes is not None else None
    prefix, why_prefix = choose_prefix(config.cache, home, memory_bytes)
    step_target_s, why_step = step_target(profile, engine)
    options = msgspec.structs.replace(
        options,
        prefix=prefix,
        normalise=config.cache.normalise,
        end_loops=engine.end_loops,
        tool_family=engine.tool_family,
        draft=guessing.by,
        draft_path=guessing.path,
        draft_tokens=engine.draft_tokens,
        step_target_s=step_target_s,
    )
    options, why_context = choose_context(model.header, options, engine, memory_bytes, budget)
    needed = footprint(model.header, options).total_bytes
    if guessing.model is not None:
        needed += _draft_bytes(guessing.model, options)
    why_pictures: tuple[Choice, ...] = ()
    if model.projector is not None:
        needed += model.projector.size_bytes + PICTURE_BYTES
        options = msgspec.structs.replace(options, projector_path=str(model.projector.path))
        why_pictures = (Choice("pictures", True, f"takes pictures, by {model.projector.path.name}"),)
    options = msgspec.structs.replace(options, memory_limit_bytes=_memory_limit(model, profile, options, needed))
    choices = (
        *why_computing,
        *why_context,
        _flash_attention(options),
        *WEIGHTS,
        Choice("step target", round(step_target_s * 1000), why_step),
        Choice("speculative", guessing.by, guessing.why),
        *why_prefix,
        *why_pictures,
        _limit(options),
    )
    return LoadPlan(options, needed, choices)


def _plan_vectors(
    model: Model,
    profile: CapabilityProfile | None,
    config: EngineConfig,
    engine_name: str,
    options: LoadOptions,
    why_computing: tuple[Choice, ...],
) -> LoadPlan:
    """Plans for a model that keeps nothing from one input to the next: its context is the longest input."""
    trained = model.header.context_length
    longest = min(config.context_length or MOST_INPUT_TOKENS, trained) if trained else None
    options = msgspec.structs.replace(options, context_length=longest)
    if engine_name == "mlx-embedding":
        options = msgspec.structs.replace(options, freed_bytes=freed_bytes(model.header, options))
    is_gguf = model.header.format == "gguf"
    needed = footprint(model.header, options) if is_gguf else vector_footprint(model.header, options, engine_name)
    limit_bytes = _memory_limit(model, profile, options, needed.total_bytes)
    options = msgspec.structs.replace(options, memory_limit_bytes=limit_bytes)
    why_longest = "inputs as long as the model allows" if longest is None else f"inputs of up to {longest} tokens"
    return LoadPlan(options, needed.total_bytes, (*why_computing, Choice("context", longest, why_longest), _limit(options)))


def _flash_attention(options: LoadOptions) -> Choice:
    if options.cache_type != "f16":
        return Choice("flash attention", "on", "flash attention, without which keys and values cannot be kept below 16 bits")
    return Choice("flash attention", "auto", "flash attention where the engine has it for this model's heads")


def _limit(options: LoadOptions) -> Choice:
    limit = options.memory_limit_bytes
    if limit is None:
        return Choice("memory limit", None, "no limit of memory: a GPU's driver reserves more addresses than it uses")
    return Choice(
        "memory limit", limit, f"the engine's process may allocate {tell_size(limit)}, where the system enforces that"
    )


def _draft_bytes(draft: Model, options: LoadOptions) -> int:
    """What a second model in the same process takes."""
    alone = footprint(draft.header, msgspec.structs.replace(options, cache_type="f16", draft="off"))
    return alone.total_bytes - PROCESS_BYTES


def _memory_limit(model: Model, profile: CapabilityProfile | None, options: LoadOptions, needed_bytes: int) -> int | None:
    """What a worker may allocate: well above what it is known to need, far below what a damaged file may make it ask for."""
    if has_gpu(profile):
        # A GPU's driver reserves addresses by the hundred gigabytes.
        return None
    memory_bytes = profile.memory_bytes.value if profile is not None and profile.memory_bytes is not None else None
    if model.header.kv_layout is None or options.context_length is None:
        return memory_bytes
    limit = int(needed_bytes * LIMIT_FACTOR) + options.prefix.ram_bytes + LIMIT_SLACK_BYTES
    return limit if memory_bytes is None else min(limit, memory_bytes)
