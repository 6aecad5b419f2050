"""How a model would be held, in words for the dashboard."""

from __future__ import annotations

from collections.abc import Iterable

from ..runtime.tuning.load_plan import Choice
from .widgets.facts import Fact


def plan_facts(choices: Iterable[Choice]) -> tuple[Fact, ...]:
    """Gives a line for each decision: its reason, which names the value."""
    return tuple(("plan" if place == 0 else "", choice.why, "dim") for place, choice in enumerate(choices))
