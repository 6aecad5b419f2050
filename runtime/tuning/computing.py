"""With what a model is computed: threads, layers on the GPU, and how much of a prompt at a time."""

from __future__ import annotations

from ...hw.profile import CapabilityProfile
from ..config import EngineConfig
from ..formats.header import Header
from ..frames import LoadOptions
from .load_plan import Choice, computes_on_gpu, has_gpu

SLOW_LEVEL = "Efficiency"
CPU_BATCH_TOKENS = 512
TOKENS_PER_CORE = 32
"""A GPU's core is kept busy by about so many tokens of a prompt at a time."""
MOST_BATCH_TOKENS = 2048


def choose_computing(
    header: Header, profile: CapabilityProfile | None, config: EngineConfig
) -> tuple[LoadOptions, tuple[Choice, ...]]:
    """Decides threads, layers on the GPU, batch and micro-batch.

    Returns:
        Options with these filled in, and the reasons.
    """
    threads, why_threads = _threads(profile, config)
    prefill_threads = config.prefill_threads or threads
    batch, why_batch = _batch(profile, config)
    on_gpu = computes_on_gpu(profile, config)
    micro = batch if on_gpu else min(batch, CPU_BATCH_TOKENS)
    why_micro = f"{micro} tokens of it at a time{': all of them, to keep every core of the GPU busy' if on_gpu else ''}"
    options = LoadOptions(
        threads=threads,
        threads_batch=prefill_threads,
        batch_tokens=batch,
        micro_batch_tokens=micro,
        max_sequences=config.max_sequences,
        gpu_layers=config.gpu_layers,
    )
    why_prefill = "as the settings say" if config.prefill_threads else "prompts are computed by the same cores"
    return options, (
        Choice("threads", threads, why_threads),
        Choice("prefill threads", prefill_threads, why_prefill),
        _gpu_layers(header, profile, config),
        Choice("batch", batch, why_batch),
        Choice("micro-batch", micro, why_micro),
    )


def _threads(profile: CapabilityProfile | None, config: EngineConfig) -> tuple[int | None, str]:
    if config.threads:
        return config.threads, f"{config.threads} threads, as the settings say"
    if profile is None or profile.usable_cpus is None:
        return None, "threads left to the engine: the number of cores is unknown"
    usable = profile.usable_cpus.value
    # Efficiency cores would hold up every step, as all threads wait for the last one.
    fast = sum(level.cores for level in profile.cpu_levels if level.name != SLOW_LEVEL)
    if 0 < fast < sum(level.cores for level in profile.cpu_levels):
        return min(fast, usable), f"{min(fast, usable)} threads, one for each fast core"
    return usable, f"{usable} threads, one for each usable core"


def _gpu_layers(header: Header, profile: CapabilityProfile | None, config: EngineConfig) -> Choice:
    if not has_gpu(profile):
        return Choice("GPU layers", 0, "no layers on a GPU: there is none that engines compute on")
    layers = header.layers
    if config.gpu_layers < 0:
        return Choice("GPU layers", "all" if layers is None else layers, "all layers on the GPU, which shares the memory")
    return Choice("GPU layers", config.gpu_layers, f"{config.gpu_layers} layers on the GPU, as the settings say")


def _batch(profile: CapabilityProfile | None, config: EngineConfig) -> tuple[int, str]:
    if config.batch_tokens:
        return config.batch_tokens, f"{config.batch_tokens} tokens of prompts in a step, as the settings say"
    if not computes_on_gpu(profile, config):
        return CPU_BATCH_TOKENS, f"{CPU_BATCH_TOKENS} tokens of prompts in a step, which keep a CPU busy"
    if profile is None or profile.gpu_cores is None:
        return CPU_BATCH_TOKENS, f"{CPU_BATCH_TOKENS} tokens of prompts in a step, as the GPU's cores could not be counted"
    cores = profile.gpu_cores.value
    # A power of two: kernels have whole tiles then.
    batch = max(CPU_BATCH_TOKENS, min(MOST_BATCH_TOKENS, 1 << (cores * TOKENS_PER_CORE).bit_length() - 1))
    return batch, f"{batch} tokens of prompts in a step, for {cores} GPU cores"
