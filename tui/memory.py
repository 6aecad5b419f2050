"""Who holds the memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..hw.sample import Sample


@dataclass(frozen=True, slots=True)
class MemorySplit:
    """The whole memory in four parts; a part is None where it cannot be told from the rest."""

    total_bytes: int
    models_bytes: int | None
    """The processes of the engines."""
    app_bytes: int | None
    """This process."""
    other_bytes: int
    """Used by others, and by the parts above that are None."""
    free_bytes: int

    @property
    def used_bytes(self) -> int:
        """Everything that is not free."""
        return self.total_bytes - self.free_bytes


def split_memory(sample: Sample | None, *, engine_pids: Iterable[int], app_pid: int) -> MemorySplit | None:
    """Divides what is used; None where the machine does not tell how much that is.

    The resident pages of an engine include its model file's, which the system counts as given back at once; so the parts
    may exceed what is used, and are then cut to it, the engines' first.
    """
    if sample is None or sample.memory_total_bytes is None or sample.memory_used_bytes is None:
        return None
    total, used = sample.memory_total_bytes, min(sample.memory_used_bytes, sample.memory_total_bytes)
    pids = tuple(engine_pids)
    known = [sample.process_bytes[pid] for pid in pids if pid in sample.process_bytes]
    models = sum(known) if known or not pids else None
    app = sample.process_bytes.get(app_pid)
    held = (models or 0) + (app or 0)
    taken = max(used, min(held, total))
    return MemorySplit(total, models, app, other_bytes=max(0, taken - held), free_bytes=total - taken)
