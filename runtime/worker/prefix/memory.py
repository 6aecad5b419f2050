"""The states that are kept in memory, beside what the engine itself holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .segments import Segment, SegmentIndex

DEAR_TOKENS = 8192
"""At about this position a token costs twice as much to compute as the first one: attention has so much to look at."""


@dataclass(slots=True)
class _Kept:
    segment: Segment
    state: bytes
    on_evict: Callable[[Segment, bytes], None]
    worth: tuple[float, int]
    """What is least goes first; of equal ones, by a count of uses, the one unused for longest."""


def recompute_cost(segment: Segment) -> float:
    """Estimates what computing a segment anew costs, in tokens at the beginning of a prompt."""
    middle = segment.begin + segment.token_count / 2
    return segment.token_count * (1 + middle / DEAR_TOKENS)


class MemoryTier:
    """States within a number of bytes.

    What goes first is what was used long ago and is cheap to compute for its size (GreedyDual-Size: a state's worth is its
    cost per byte on top of the worth of what went last, so unused ones sink). A state that another one continues goes after
    it: without its beginning the end is of no use.
    """

    def __init__(self, max_bytes: int, *, cuttable: bool) -> None:
        self.index = SegmentIndex(cuttable=cuttable)
        self.size_bytes = 0
        self._max_bytes = max_bytes
        self._kept: dict[bytes, _Kept] = {}
        self._sunk = 0.0
        self._uses = 0

    def __contains__(self, key: bytes) -> bool:
        return key in self._kept

    def put(self, segment: Segment, state: bytes, on_evict: Callable[[Segment, bytes], None]) -> None:
        """Keeps a state, if it is worth more than what would have to go for it.

        Args:
            segment: what the state is for.
            state: its bytes.
            on_evict: gets both back once they have to go.
        """
        if segment.size_bytes > self._max_bytes:
            return
        self.discard(segment.key)
        for shorter in self.index.superseded(segment):
            self.discard(shorter.key)
        self._kept[segment.key] = _Kept(segment, state, on_evict, self._worth(segment))
        self.index.add(segment)
        self.size_bytes += segment.size_bytes
        self._evict()

    def resize(self, max_bytes: int) -> None:
        """Keeps no more than so much from now on; what is over goes at once."""
        self._max_bytes = max_bytes
        self._evict()

    def _evict(self) -> None:
        while self.size_bytes > self._max_bytes:
            last = min(
                (kept for key, kept in self._kept.items() if not self.index.has_children(key)), key=lambda kept: kept.worth
            )
            self._sunk = max(self._sunk, last.worth[0])
            self.discard(last.segment.key)
            last.on_evict(last.segment, last.state)

    def get(self, key: bytes) -> bytes | None:
        """Gives a state, or None where it is not kept."""
        kept = self._kept.get(key)
        return None if kept is None else kept.state

    def touch(self, key: bytes) -> None:
        """Notes that a state is of use."""
        if kept := self._kept.get(key):
            kept.worth = self._worth(kept.segment)

    def discard(self, key: bytes) -> None:
        """Forgets a state, if it is kept."""
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.index.discard(key)
            self.size_bytes -= kept.segment.size_bytes

    def _worth(self, segment: Segment) -> tuple[float, int]:
        self._uses += 1
        return self._sunk + recompute_cost(segment) / max(1, segment.size_bytes), self._uses
