"""Grants memory to models: reads what the machine has left, asks the arithmetic, and notes what was decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..tuning.memory_budget import MemoryBudget
from .decisions import Decisions, Kind
from .memory_grant import Holding, MemoryNow, MemoryState, Verdict, judge_load, measure_room


class Governor:
    """Compares what a model needs with what the machine has left.

    Args:
        read_memory: reads the machine; may block.
        decisions: where its decisions go.
        budget: how the memory is divided; None where that is not known yet.
        state: how short memory is.
    """

    def __init__(
        self,
        *,
        read_memory: Callable[[], MemoryNow],
        decisions: Decisions,
        budget: Callable[[], MemoryBudget | None] = lambda: None,
        state: Callable[[], MemoryState] = lambda: "normal",
    ) -> None:
        self._read_memory = read_memory
        self._decisions = decisions
        self._budget = budget
        self._state = state

    def judge(self, needed_bytes: int, held: Sequence[Holding], *, full: bool = False, may_shrink: bool = False) -> Verdict:
        """Decides what becomes of a load, as `judge_load` does, by a fresh reading. Blocks."""
        room = measure_room(self._read_memory(), self._budget(), held, self._state())
        return judge_load(needed_bytes, room, held, full=full, may_shrink=may_shrink)

    def has_room(self, needed_bytes: int, held: Sequence[Holding]) -> bool:
        """Whether so many bytes could be had now without sending anybody away. Blocks."""
        return self.judge(needed_bytes, held).answer == "grant"

    def note(self, kind: Kind, text: str) -> None:
        """Makes a decision about a load known."""
        self._decisions.note("memory", kind, text, state=self._state(), worse=kind in ("refuse", "unload"))
