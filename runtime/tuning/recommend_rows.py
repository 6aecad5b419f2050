"""Recommendations as lines for people."""

from __future__ import annotations

from typing import Final

from .predict_report import show_range
from .recommend import Recommendation, Recommendations
from .suiting import LEAST_CONTEXT

HEADS: Final = ("MODEL", "QUANT", "SIZE", "WRITES", "LONGEST CONTEXT", "CAN", "GET IT")


def to_rows(found: Recommendations) -> list[tuple[str, ...]]:
    """Gives a row for each model."""
    return [
        (
            model.model,
            model.quantization,
            f"{model.size_bytes / 1e9:.1f} GB",
            show_range(model.decode),
            "?" if model.longest_context is None else f"{model.longest_context:,}",
            ", ".join(model.abilities) or "-",
            _get(model),
        )
        for model in found.models
    ]


def to_lines(found: Recommendations) -> list[str]:
    """Gives what stands below the table."""
    context = f"{LEAST_CONTEXT:,} tokens of context"
    head = f"For {found.machine}, by {found.source} {found.as_of}; speeds are predicted, with {context}."
    notes = [f"Note: {note}." for note in found.notes]
    upgrades = ["Another Mac would bring:", *(f"- {upgrade.words}" for upgrade in found.upgrades)] if found.upgrades else []
    return ["", head, *notes, *upgrades]


def _get(model: Recommendation) -> str:
    """Says what brings it into memory; of a copy in another quantisation, that it is there."""
    held = model.on_disk
    if held is not None and held.suits:
        return f"impetus load {held.id}"
    pull = f"impetus pull {model.pull}"
    return pull if held is None else f"{pull} (on the disk: {held.id})"
