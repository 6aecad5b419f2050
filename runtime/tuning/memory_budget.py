"""How the memory is divided between models, Impetus itself and everybody else."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...hw.profile import CapabilityProfile
from ..formats.header import Header
from ..frames import LoadOptions

GIB = 1024**3
BASE_SHARE = 0.10
"""For Impetus itself and as a reserve that no model may take."""
MODELS_SHARE = 0.60
"""What models may take together where the machine tells no better."""
SYSTEM_SHARE = 0.30
"""What is left to the system and other apps."""
MOST_SYSTEM_BYTES = 16 * GIB
"""A system does not need more for standing on a larger machine."""
BUFFER_SHARE = 0.75
"""Of the working set: Metal gives out no larger single buffer (`max_buffer_length`), where its own word is not known."""


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """The shares, in bytes; what is known before anybody's use is looked at."""

    total_bytes: int
    base_bytes: int
    system_bytes: int
    models_bytes: int
    """All models together, with their contexts."""
    buffer_bytes: int | None
    """No single tensor may be larger; None where nothing bounds it."""
    why: str
    """Where `models_bytes` comes from, for people."""


def divide_size(total_bytes: int, buffer_bytes: int | None = None) -> MemoryBudget:
    """Divides a memory of which nothing but its size is known: 10 % base, 60 % models, 30 % system."""
    base, system, models = (int(total_bytes * share) for share in (BASE_SHARE, SYSTEM_SHARE, MODELS_SHARE))
    return MemoryBudget(total_bytes, base, system, models, buffer_bytes, f"{MODELS_SHARE:.0%} of the memory")


def divide_memory(profile: CapabilityProfile | None, *, models_percent: float = 0.0) -> MemoryBudget | None:
    """Divides the memory: 10 % base, 60 % models, 30 % system, or by the GPU's limit where the machine tells it.

    A limit that was read replaces the 60 %, in either direction: the models get all of it that base and system leave, and the
    system keeps its 30 % up to 16 GiB only. None where the memory is unknown.

    Args:
        profile: the machine.
        models_percent: what the settings give to the models; 0 leaves it to the machine.
    """
    if profile is None or profile.memory_bytes is None:
        return None
    total, working_set = profile.memory_bytes.value, profile.working_set_bytes
    usual = divide_size(total, _largest_buffer(profile))
    if models_percent:
        models = int(total * models_percent / 100)
        why = f"{models_percent:g}% of the memory, as the settings say"
        return replace(usual, system_bytes=max(0, total - usual.base_bytes - models), models_bytes=models, why=why)
    if working_set is None:
        return usual
    if working_set.estimated:
        models = min(usual.models_bytes, working_set.value)
        return replace(usual, models_bytes=models, why=f"{usual.why}; the GPU's limit is not known")
    system = min(usual.system_bytes, MOST_SYSTEM_BYTES)
    left = total - usual.base_bytes - system
    if working_set.value < left:
        return replace(usual, system_bytes=system, models_bytes=working_set.value, why="the GPU's limit")
    why = "what base and system leave of the GPU's limit"
    return replace(usual, system_bytes=system, models_bytes=left, why=why)


def largest_tensor(header: Header, options: LoadOptions) -> int:
    """Estimates the largest single tensor of a loaded model in bytes: its table of tokens, or a layer's keys."""
    each = header.size_bytes / header.parameters if header.parameters else 2.0
    table = (header.vocabulary_size or 0) * (header.embedding_length or 0) * each
    cells = options.cache_tokens or options.context_length or 0
    keys = cells * (header.kv_bytes_per_token or 0) / 2 / (header.layers or 1)
    return int(max(table, keys))


def _largest_buffer(profile: CapabilityProfile) -> int | None:
    if profile.max_buffer_bytes is not None:
        return profile.max_buffer_bytes.value
    working_set = profile.working_set_bytes
    return None if working_set is None or profile.gpu_cores is None else int(working_set.value * BUFFER_SHARE)


def tell_size(size_bytes: int) -> str:
    """Says a size in words, as "9.6 GiB" or "380 MiB"."""
    return f"{size_bytes / GIB:.1f} GiB" if size_bytes >= GIB else f"{size_bytes >> 20} MiB"
