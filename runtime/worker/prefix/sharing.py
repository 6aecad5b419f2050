"""What a new prompt can take over from the sequences beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

LEAST_SHARED = 16
"""Fewer tokens are computed sooner than they are waited for."""


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    low, high = 0, min(len(one), len(other))
    # Comparing slices runs in C: a search by halves beats a loop over the tokens by far.
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def distinct_tokens(sequences: Iterable[list[int]]) -> int:
    """How many cells sequences take together, where each shares its beginning with those that begin alike."""
    total = 0
    before: list[int] = []
    # In sorted order the neighbour before is the one that shares most.
    for tokens in sorted(sequences):
        total += len(tokens) - common_prefix(before, tokens)
        before = tokens
    return total
