"""What the governors do, in words for the dashboard."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ..runtime.scheduling.decisions import Decision, GovernorStatus
from .format import clock
from .widgets.facts import Fact

USUAL: Final = frozenset({"normal", "ok"})
SHOWN_DECISIONS: Final = 40
STATES: Final[dict[str, tuple[str, str]]] = {
    "normal": ("✓ normal", "good"),
    "ok": ("✓ ok", "good"),
    "warn": ("▲ warn", "warn"),
    "warm": ("▲ warm", "warn"),
    "throttled": ("▲▲ throttled", "bad"),
    "critical": ("✗ critical", "bad"),
}


def active_facts(statuses: Iterable[GovernorStatus]) -> tuple[Fact, ...]:
    """Gives a line for each governor that does something now: what, and why."""
    facts: list[Fact] = []
    for status in statuses:
        if status.state not in USUAL:
            word, tone = STATES[status.state]
            done = "; ".join(status.actions) or "nothing is done about it, as the settings say"
            facts.append((status.governor, f"{word}: {status.why}. {done[0].upper()}{done[1:]}.", tone))
    return tuple(facts)


def governor_facts(statuses: Iterable[GovernorStatus], decisions: Iterable[Decision]) -> tuple[Fact, ...]:
    """Gives all that is known of the governors: how they stand, what they do, and what they decided, the newest first."""
    facts: list[Fact] = []
    for status in statuses:
        word, tone = STATES[status.state]
        facts.append((status.governor, f"{word}: {status.why}", tone))
        if status.figures:
            facts.append(("", " · ".join(status.figures), "dim"))
        facts += [("", f"· {action}", "") for action in status.actions]
    recent = [(clock(one.at_epoch_s), f"{one.governor}: {one.text}", "") for one in decisions]
    return (*facts, ("", "", ""), *(recent or [("decisions", "none yet", "dim")]))
