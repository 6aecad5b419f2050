"""How much context a model serves, how precisely it is kept, and for how many conversations there is room."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..config import EngineConfig
from ..formats.header import Header
from ..frames import CacheType, LoadOptions
from .footprint import CACHE_GRAIN, can_quantize, footprint
from .load_plan import Choice

LEAST_CONTEXT = 2048
MOST_STRETCH = 8
"""Farther than this no text comes out that makes sense."""
FIRST_SHARES = {2: 0.6, 4: 0.6, MOST_STRETCH: 0.75}
"""How much of a context that is stretched so far the prompt may take that it is stretched for; prompts grow with each turn."""
MOST_CONTEXT_BY_ITSELF = 65536
"""A longer context is served only where the settings ask for it: its cache would take memory that few requests use."""
CONTEXTS_KEPT = 4
"""So many whole contexts fit into the context memory where there is room, for several agents and for ended prompts."""
KV_SHARE = 1 / 8
"""Of the memory, for keys and values beyond one context; llama.cpp writes to all of it at the start, so none of it is free."""
LEAST_SPARE_BYTES = 256 * 1024**2
"""What lies beyond one context takes no more than the weights do, or than this: writing to it takes its part of each load."""
KEPT_SEQUENCES = 32
"""How many ended sequences may stay in the context memory; they cost nothing there but cells."""
KEPT_STATES = 4
"""The same where each has a state or a window of its own."""
LEAST_SEQUENCES = 4
_TYPES: tuple[CacheType, ...] = ("f16", "q8_0", "q4_0")


def choose_context(
    header: Header, options: LoadOptions, config: EngineConfig, memory_bytes: int | None, budget: int | None
) -> tuple[LoadOptions, tuple[Choice, ...]]:
    """Fills in context length, type, cells and slots.

    Args:
        header: the model's.
        options: what is decided already.
        config: what the settings want.
        memory_bytes: the machine's memory; None is unknown.
        budget: how much of it models may take together; None is unknown.

    Returns:
        The whole options, and a reason for each decision.
    """
    options, why_sequences = _choose_slots(header, options, memory_bytes)
    types, why_types = _types(header, config)
    wanted, why_wanted = _wanted(header, config)
    if wanted is None:
        choices = (Choice("context", None, why_wanted), _precision(types[0], why_types), why_sequences)
        return msgspec.structs.replace(options, cache_type=types[0]), choices
    length, cache_type = wanted, types[0]
    if budget is None:
        why = f"context {length}: the memory is unknown, so it is not bounded by it"
    else:
        for cache_type in types:
            length = _longest(header, _with(options, wanted, cache_type), budget)
            if length >= wanted:
                break
        why = f"context {length} of {header.context_length}, which fits the share of the memory that is for models"
    if config.context_length:
        length, why = wanted, why_wanted
    options = _with(options, length, cache_type)
    if header.context_length and length > header.context_length:
        options = msgspec.structs.replace(options, stretch=length / header.context_length)
    if cache_type != "f16" and config.kv_type == "auto":
        why_types = f"keys and values in {cache_type}: at 16 bits the context would not fit"
    cells, why_cells = _cells(header, options, memory_bytes, budget)
    choices = (
        Choice("context", length, why),
        _precision(cache_type, why_types),
        Choice("KV cells", cells, why_cells),
        why_sequences,
    )
    return msgspec.structs.replace(options, cache_tokens=cells), choices


def stretched_length(header: Header, prompt_tokens: int, most: int) -> int | None:
    """Chooses the context for a prompt that is longer than the model was trained for.

    Args:
        header: the model's.
        prompt_tokens: how long the prompt is.
        most: no context is longer; 0 leaves that to the model.

    Returns:
        The least doubling of the trained context that leaves room for an answer and the next turns; None where there is none.
    """
    trained = header.context_length
    if not trained or not header.rope_plain:
        return None
    longest = min(most or MOST_STRETCH * trained, MOST_STRETCH * trained)
    for times, share in FIRST_SHARES.items():
        length = min(times * trained, longest)
        if prompt_tokens <= length * share:
            return length
    return None


def _precision(cache_type: CacheType, why: str) -> Choice:
    return Choice("KV precision", cache_type, why or "keys and values at 16 bits, as there is room")


def _wanted(header: Header, config: EngineConfig) -> tuple[int | None, str]:
    """The context that memory may shorten, unless the settings name it."""
    trained = header.context_length
    if config.context_length:
        length = min(config.context_length, trained) if trained else config.context_length
        if trained and config.context_length > trained and config.stretch == "yarn" and header.rope_plain:
            length = min(config.context_length, trained * MOST_STRETCH)
            return (
                length,
                f"context {length}, stretched {length / trained:.3g} times by YaRN beyond what the model was trained for",
            )
        return length, f"context {length}, as the settings say" + (" and the model allows" if length == trained else "")
    if not trained:
        return None, "context left to the engine: the model does not state one"
    return min(trained, MOST_CONTEXT_BY_ITSELF), ""


def _types(header: Header, config: EngineConfig) -> tuple[Sequence[CacheType], str]:
    """The types that keys and values may have, the best first, and why where that is not plain."""
    if config.kv_type == "f16":
        return ("f16",), "keys and values at 16 bits, as the settings say"
    if header.kv_layout is not None and not header.kv_layout.head_lengths:
        return ("f16",), "states at full precision: this model keeps no keys and values"
    if not can_quantize(header):
        if config.kv_type == "auto":
            return ("f16",), "keys and values at 16 bits: this model's heads cannot be kept in fewer"
        return ("f16",), f"keys and values at 16 bits, not in {config.kv_type}: this model's heads cannot be kept so"
    if config.kv_type == "auto":
        return _TYPES, ""
    return (config.kv_type,), f"keys and values in {config.kv_type}, as the settings say"


def _choose_slots(header: Header, options: LoadOptions, memory_bytes: int | None) -> tuple[LoadOptions, Choice]:
    """Decides for how many sequences there is room: where each has a state, they may take no more than the share."""
    layout, sequences = header.kv_layout, options.max_sequences
    why = f"{sequences} answers at once, as the settings say; they share one context memory"
    if layout is None or not (layout.state_bytes or layout.window):
        options = msgspec.structs.replace(options, slots=sequences + KEPT_SEQUENCES + 1)
        return options, Choice("concurrent sequences", sequences, why)
    kept = KEPT_STATES
    if layout.state_bytes and memory_bytes is not None:
        affordable = int(memory_bytes * KV_SHARE) // layout.state_bytes - kept - 1
        sequences = min(sequences, max(LEAST_SEQUENCES, affordable))
    if sequences < options.max_sequences:
        why = f"{sequences} answers at once, not {options.max_sequences}: each takes {layout.state_bytes >> 20} MiB"
    options = msgspec.structs.replace(options, max_sequences=sequences, slots=sequences + kept + 1)
    return options, Choice("concurrent sequences", sequences, why)


def _longest(header: Header, options: LoadOptions, budget: int) -> int:
    """The longest context that fits, in whole grains; at least `LEAST_CONTEXT`, or what is wanted if that is less."""
    wanted = options.context_length or LEAST_CONTEXT
    if footprint(header, options).total_bytes <= budget:
        return wanted
    low, high = min(LEAST_CONTEXT, wanted) // CACHE_GRAIN, wanted // CACHE_GRAIN
    while low < high:
        middle = (low + high + 1) // 2
        if footprint(header, _with(options, middle * CACHE_GRAIN, options.cache_type)).total_bytes <= budget:
            low = middle
        else:
            high = middle - 1
    return max(low * CACHE_GRAIN, min(LEAST_CONTEXT, wanted))


def _cells(header: Header, options: LoadOptions, memory_bytes: int | None, budget: int | None) -> tuple[int, str]:
    """Decides for how many tokens the context memory has cells: more than one context where memory allows."""
    one = options.context_length or LEAST_CONTEXT
    if header.rope_by_context:
        return one, f"cells for {one} tokens: with more, the engine would take this model for one of longer texts"
    if header.kv_layout is not None and not header.kv_layout.width:
        # Only states: how many tokens they stand for costs nothing.
        return one * (options.max_sequences if header.kv_layout.state_bytes else 1), "context takes no memory of its own"
    if memory_bytes is None or budget is None:
        return one, f"cells for {one} tokens, one context"
    most = min(CONTEXTS_KEPT, options.max_sequences) * one
    usual = footprint(header, msgspec.structs.replace(options, cache_tokens=one)).kv_bytes
    share = min(int(memory_bytes * KV_SHARE), usual + max(LEAST_SPARE_BYTES, header.size_bytes))
    cells = most
    while cells > one:
        needs = footprint(header, msgspec.structs.replace(options, cache_tokens=cells))
        if needs.kv_bytes <= share and needs.total_bytes <= budget:
            break
        cells = max(one, cells - max(CACHE_GRAIN, (most - one) // 16 // CACHE_GRAIN * CACHE_GRAIN))
    return cells, f"cells for {cells} tokens, {cells / one:.3g} whole contexts"


def _with(options: LoadOptions, length: int, cache_type: CacheType) -> LoadOptions:
    return msgspec.structs.replace(options, context_length=length, cache_tokens=None, cache_type=cache_type)
