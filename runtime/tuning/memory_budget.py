"""How the memory is divided between models, Impetus itself and everybody else."""

from __future__ import annotations

from dataclasses import dataclass

from ...hw.profile import CapabilityProfile

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
"""Of the working set: Metal gives out no larger single buffer (`max_buffer_length`)."""


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
    total = profile.memory_bytes.value
    base, system, models = int(total * BASE_SHARE), int(total * SYSTEM_SHARE), int(total * MODELS_SHARE)
    working_set = profile.working_set_bytes
    if models_percent:
        models = int(total * models_percent / 100)
        buffer_bytes = None if working_set is None else int(working_set.value * BUFFER_SHARE)
        why = f"{models_percent:g}% of the memory, as the settings say"
        return MemoryBudget(total, base, max(0, total - base - models), models, buffer_bytes, why)
    if working_set is None:
        return MemoryBudget(total, base, system, models, None, f"{MODELS_SHARE:.0%} of the memory")
    buffer_bytes = int(working_set.value * BUFFER_SHARE)
    if working_set.estimated:
        why = f"{MODELS_SHARE:.0%} of the memory; the GPU's limit is not known"
        return MemoryBudget(total, base, system, min(models, working_set.value), buffer_bytes, why)
    system = min(system, MOST_SYSTEM_BYTES)
    left = total - base - system
    if working_set.value < left:
        return MemoryBudget(total, base, system, working_set.value, buffer_bytes, "the GPU's limit")
    return MemoryBudget(total, base, system, left, buffer_bytes, "what base and system leave of the GPU's limit")


def tell_size(size_bytes: int) -> str:
    """Says a size in words, as "9.6 GiB" or "380 MiB"."""
    return f"{size_bytes / GIB:.1f} GiB" if size_bytes >= GIB else f"{size_bytes >> 20} MiB"
