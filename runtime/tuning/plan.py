"""From a machine, a model and the settings to how the model is held in memory."""

from __future__ import annotations

from dataclasses import dataclass

from ...hw.profile import CapabilityProfile
from ..config import EngineConfig
from ..frames import LoadOptions
from ..models.model import Model
from .footprint import footprint

MODELS_SHARE = 0.60
"""The share of the memory that models may take together."""
LEAST_CONTEXT = 2048
MOST_CONTEXT_BY_ITSELF = 65536
"""A longer context is served only where the settings ask for it: its cache would take memory that few requests use."""


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """How one model is loaded here, and why so."""

    options: LoadOptions
    needed_bytes: int
    """Weights, cache and scratch space together, as estimated."""
    reasons: tuple[str, ...]
    """A line per decision, for people."""


def plan_load(model: Model, profile: CapabilityProfile | None, config: EngineConfig) -> LoadPlan:
    """Decides how a model is loaded."""
    if model.header.format == "echo":
        return LoadPlan(LoadOptions(max_sequences=config.max_sequences * 8), 0, ())
    threads, why_threads = _threads(profile, config)
    context_length, why_context = _context(model, profile, config)
    options = LoadOptions(
        context_length=context_length,
        threads=threads,
        threads_batch=config.prefill_threads or threads,
        batch_tokens=config.batch_tokens,
        max_sequences=config.max_sequences,
        gpu_layers=config.gpu_layers,
    )
    needed = footprint(model.header, context_length or LEAST_CONTEXT)
    return LoadPlan(options, needed.total_bytes, (why_threads, why_context))


def _threads(profile: CapabilityProfile | None, config: EngineConfig) -> tuple[int | None, str]:
    if config.threads:
        return config.threads, f"{config.threads} threads, as the settings say"
    if profile is None or profile.usable_cpus is None:
        return None, "threads left to the engine: the number of cores is unknown"
    usable = profile.usable_cpus.value
    if len(profile.cpu_levels) > 1:
        # The slowest level would hold up every step, as all threads wait for the last one.
        fast = sum(level.cores for level in profile.cpu_levels[:-1])
        return min(fast, usable), f"{min(fast, usable)} threads, one for each fast core"
    return usable, f"{usable} threads, one for each usable core"


def _context(model: Model, profile: CapabilityProfile | None, config: EngineConfig) -> tuple[int | None, str]:
    trained = model.header.context_length
    if config.context_length:
        length = min(config.context_length, trained) if trained else config.context_length
        return length, f"context {length}, as the settings say" + (" and the model allows" if length == trained else "")
    if trained is None:
        return None, "context left to the engine: the model does not state one"
    length = min(trained, MOST_CONTEXT_BY_ITSELF)
    if profile is None or profile.memory_bytes is None:
        return length, f"context {length}: the memory is unknown, so it is not bounded by it"
    budget = int(profile.memory_bytes.value * MODELS_SHARE)
    while length > LEAST_CONTEXT and footprint(model.header, length).total_bytes > budget:
        length = max(LEAST_CONTEXT, length // 2)
    return length, f"context {length} of {trained}, which fits {MODELS_SHARE:.0%} of the memory"
