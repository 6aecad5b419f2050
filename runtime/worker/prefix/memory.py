"""The states that are kept in memory, beside what the engine itself holds."""

from __future__ import annotations

from dataclasses import dataclass

from .segments import Segment, SegmentIndex

DEAR_TOKENS = 8192
"""At about this position a token costs twice as much to compute as the first one: attention has so much to look at."""


@dataclass(slots=True)
class _Kept:
    segment: Segment
    state: bytes
    worth: float
    """What is least goes first."""


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

    def __contains__(self, key: bytes) -> bool:
        return key in self._kept

    def put(self, segment: Segment, state: bytes) -> list[tuple[Segment, bytes]]:
        """Keeps a state; gives those that had to go for it, itself among them where it is worth least."""
        if segment.size_bytes > self._max_bytes:
            return [(segment, state)]
        self.discard(segment.key)
        for shorter in self.index.superseded(segment):
            self.discard(shorter.key)
        self._kept[segment.key] = _Kept(segment, state, self._worth(segment))
        self.index.add(segment)
        self.size_bytes += segment.size_bytes
        gone: list[tuple[Segment, bytes]] = []
        while self.size_bytes > self._max_bytes:
            last = min(
                (kept for key, kept in self._kept.items() if not self.index.has_children(key)), key=lambda kept: kept.worth
            )
            self._sunk = max(self._sunk, last.worth)
            self.discard(last.segment.key)
            gone.append((last.segment, last.state))
        return gone

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

    def clear(self) -> None:
        """Forgets all."""
        for key in list(self._kept):
            self.discard(key)

    def _worth(self, segment: Segment) -> float:
        return self._sunk + recompute_cost(segment) / max(1, segment.size_bytes)
