"""What every probe offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..profile import CapabilityProfile
from ..sample import Sample


class Probe(Protocol):
    """Reads one machine. It blocks, so it belongs in a thread; it never raises: what it cannot read is None."""

    def read_profile(self) -> CapabilityProfile:
        """Reads what the machine says of itself; facts from tables are the detector's to add."""
        ...

    def read_sample(self, pids: Sequence[int]) -> Sample:
        """Reads how hard the machine works at this moment, and the resident memory of some processes."""
        ...
