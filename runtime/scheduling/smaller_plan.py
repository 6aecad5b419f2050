"""A plan for less memory than usual, against the usual one."""

from __future__ import annotations

from ..tuning.load_plan import LoadPlan
from ..tuning.memory_budget import tell_size

LEAST_USEFUL_CONTEXT = 8192
"""A model is not loaded with less than this only because memory is short."""


def is_useful(smaller: LoadPlan, usual: LoadPlan) -> bool:
    """Whether a plan for less memory still serves; one without a shorter context changed nothing that helps."""
    length, before = smaller.options.context_length, usual.options.context_length
    if smaller.needed_bytes >= usual.needed_bytes:
        return False
    return length is None or before is None or length >= min(before, LEAST_USEFUL_CONTEXT)


def tell_sizes(plan: LoadPlan, usual: LoadPlan) -> str:
    """Says how two plans differ, as "a context of 8192 instead of 65536 tokens, keys and values in q8_0"."""
    options, before = plan.options, usual.options
    parts = [f"{tell_size(plan.needed_bytes)} instead of {tell_size(usual.needed_bytes)}"]
    if options.context_length != before.context_length:
        parts.append(f"a context of {options.context_length} instead of {before.context_length} tokens")
    if options.cache_type != before.cache_type:
        parts.append(f"keys and values in {options.cache_type}")
    return ", ".join(parts)
