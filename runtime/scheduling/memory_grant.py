"""Whether a model may be loaded: pure arithmetic over what is free, what is held, and who could leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..tuning.memory_budget import BASE_SHARE, MemoryBudget, divide_size, tell_size

MemoryState = Literal["normal", "warn", "critical"]
Answer = Literal["grant", "wait", "evict", "smaller", "busy", "refuse"]

RESERVE_SHARES: dict[MemoryState, float] = {"normal": BASE_SHARE, "warn": 0.2, "critical": 0.3}
"""What of the memory stays free whatever is loaded; more of it while memory is short."""


@dataclass(frozen=True, slots=True)
class MemoryNow:
    """What was read a moment ago, in bytes; None is unknown."""

    total_bytes: int | None
    available_bytes: int | None
    used_bytes: int | None = None
    own_bytes: int = 0
    """Of these, what Impetus and its engines hold."""


@dataclass(frozen=True, slots=True)
class Holding:
    """A model in memory."""

    model: str
    granted_bytes: int
    idle: bool
    pinned: bool
    leaving: bool
    """It is on its way out, and still holds what it was granted."""
    used_s: float
    """When it was last used."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a new model may take, and the arithmetic behind it."""

    room_bytes: int
    """Never negative."""
    available_bytes: int
    reserve_bytes: int
    limit_bytes: int
    """All models together."""
    held_bytes: int
    why_limit: str

    @property
    def words(self) -> str:
        """The arithmetic in one sentence."""
        available, reserve = tell_size(self.available_bytes), tell_size(self.reserve_bytes)
        limit, held = tell_size(self.limit_bytes), tell_size(self.held_bytes)
        return (
            f"{available} are available, of which {reserve} are left to the system; "
            f"models may take {limit} together ({self.why_limit}) and hold {held}"
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a load."""

    answer: Answer
    text: str
    """For people, with the arithmetic."""
    room_bytes: int | None = None
    """With `smaller`: what the plan must fit."""
    evict: str | None = None
    """With `evict`: who goes first. It is asked again then."""


def measure_room(now: MemoryNow, budget: MemoryBudget | None, held: Sequence[Holding], state: MemoryState) -> Room | None:
    """Measures what a new model may take; None where the memory cannot be read."""
    total, available = now.total_bytes, now.available_bytes
    if total is None or available is None:
        return None
    budget = budget or divide_size(total)
    limit, why = budget.models_bytes, budget.why
    if now.used_bytes is not None:
        others = max(0, now.used_bytes - now.own_bytes)
        left = max(0, total - budget.base_bytes - others)
        if left < limit:
            limit, why = left, f"others use {tell_size(others)}"
    reserve = int(total * RESERVE_SHARES[state])
    held_bytes = sum(one.granted_bytes for one in held)
    room = max(0, min(available - reserve, limit - held_bytes))
    return Room(room, available, reserve, limit, held_bytes, why)


def judge_load(
    needed_bytes: int, room: Room | None, held: Sequence[Holding], *, full: bool = False, may_shrink: bool = True
) -> Verdict:
    """Decides what becomes of a load; where others have to leave, it is asked again after each.

    Args:
        needed_bytes: what the model takes as it is planned.
        room: what it may take; None where the memory cannot be read, which grants it.
        held: who is in memory, without the model itself.
        full: whether as many models are in memory as there may be.
        may_shrink: whether a smaller plan can be made.
    """
    fits = room is None or needed_bytes <= room.room_bytes
    staying = [one for one in held if not one.leaving]
    leaving = [one for one in held if one.leaving]
    if fits and not full:
        words = "the memory cannot be read" if room is None else room.words
        return Verdict("grant", f"it needs {tell_size(needed_bytes)}; {words}")
    if not fits and leaving:
        return Verdict("wait", f"{', '.join(one.model for one in leaving)} leaves first")
    evictable = sorted((one for one in staying if one.idle and not one.pinned), key=lambda one: one.used_s)
    room_bytes = needed_bytes if room is None else room.room_bytes
    could_have = room_bytes + sum(one.granted_bytes for one in evictable)
    if evictable and (full or could_have >= needed_bytes):
        return Verdict("evict", f"{evictable[0].model} makes room, as nobody used it for longest", evict=evictable[0].model)
    if room is None or fits:
        return Verdict("busy", _busy_words(staying))
    why = f"it needs {tell_size(needed_bytes)}, but {room.words}"
    if may_shrink:
        return Verdict("smaller", f"{why}; with what could leave there are {tell_size(could_have)}", room_bytes=could_have)
    if any(not one.idle for one in staying):
        return Verdict("busy", _busy_words(staying))
    pinned = [one.model for one in staying if one.pinned]
    cure = f"Unpin {', '.join(pinned)}" if pinned else "Unload another model" if staying else "Close other apps"
    return Verdict("refuse", f"{why}. {cure}, or set a smaller engine.context_length.")


def _busy_words(staying: Sequence[Holding]) -> str:
    busy = ", ".join(one.model for one in staying if not one.idle)
    return f"{busy} is busy" if busy else f"{', '.join(one.model for one in staying)} stays in memory, as the settings say"
