"""Grants memory to models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

GIB = 1024**3

SYSTEM_SHARE = 0.10
"""What of the memory is always left to everybody else."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a model cannot be loaded now, with the arithmetic."""

    needed_bytes: int
    available_bytes: int
    reserve_bytes: int

    @property
    def message(self) -> str:
        """What the user reads."""
        return (
            f"it needs {self.needed_bytes / GIB:.1f} GiB, but only {self.available_bytes / GIB:.1f} GiB are available, "
            f"of which {self.reserve_bytes / GIB:.1f} GiB are left to the system. "
            "Unload another model, close other apps, or set a smaller engine.context_length."
        )


class Governor:
    """Compares what a model needs with what the machine has left."""

    def __init__(self, *, read_memory: Callable[[], tuple[int | None, int | None]]) -> None:
        self._read_memory = read_memory

    def refuse(self, needed_bytes: int) -> Refusal | None:
        """Says why so many bytes cannot be had now; None grants them, also where the memory cannot be read. Blocks."""
        total_bytes, available_bytes = self._read_memory()
        if total_bytes is None or available_bytes is None:
            return None
        reserve_bytes = int(total_bytes * SYSTEM_SHARE)
        if needed_bytes + reserve_bytes <= available_bytes:
            return None
        return Refusal(needed_bytes, available_bytes, reserve_bytes)
