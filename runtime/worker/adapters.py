"""Whose turn it is where sequences want different LoRA adapters over one model's weights."""

from __future__ import annotations

from collections.abc import Iterable

from ..request import Adapter

Adapters = tuple[Adapter, ...]
"""Those that lie over the weights together, in the order of their paths."""


def choose_turn(wanted: Iterable[Adapters], now: Adapters) -> Adapters:
    """Chooses the adapters of the next step: only sequences under the same ones are computed together.

    Args:
        wanted: what each sequence wants; one or more.
        now: what lies over the weights.
    """
    kinds = list(dict.fromkeys(wanted))
    if kinds == [now]:
        return now
    after = kinds.index(now) + 1 if now in kinds else 0
    return kinds[after % len(kinds)]
