"""Grants memory to models: reads what the machine has left, asks the arithmetic, and notes what was decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..formats.header import Header
from ..frames import LoadOptions
from ..tuning.memory_budget import MemoryBudget, largest_tensor, tell_size
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

    def refuse_tensor(self, header: Header, options: LoadOptions) -> str | None:
        """Says why a model cannot be had however much memory is free: one of its tensors is larger than the GPU takes."""
        budget, largest = self._budget(), largest_tensor(header, options)
        if budget is None or budget.buffer_bytes is None or largest <= budget.buffer_bytes:
            return None
        return (
            f"its largest tensor takes {tell_size(largest)}, and the GPU takes no single one above "
            f"{tell_size(budget.buffer_bytes)}. Take a smaller quantization, or set a smaller engine.context_length."
        )

    def has_room(self, needed_bytes: int, held: Sequence[Holding]) -> bool:
        """Whether so many bytes could be had now without sending anybody away. Blocks."""
        return self.judge(needed_bytes, held).answer == "grant"

    def note(self, kind: Kind, text: str) -> None:
        """Makes a decision about a load known."""
        self._decisions.note("memory", kind, text, state=self._state(), worse=kind in ("refuse", "unload"))
