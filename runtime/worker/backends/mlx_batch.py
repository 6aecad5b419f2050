"""Several sequences in one set of caches, as mlx-lm batches them: each may come and go at every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..sequences.runner import Part


@dataclass(eq=False, slots=True)
class MlxState:
    """What was computed of one sequence; its caches are empty while it is in a batch."""

    caches: list[Any]
    length: int = 0


class Batch:
    """The sequences that are computed at once, and their caches together."""

    def __init__(self) -> None:
        self._states: list[MlxState] = []
        self.caches: list[Any] = []
        """One for each layer, over all sequences."""

    def compose(self, states: Sequence[MlxState]) -> list[int]:
        """Makes the batch hold just these sequences.

        Returns:
            For each row of the batch, which of them it is.
        """
        for state in tuple(self._states):
            if not any(state is one for one in states):
                self.part(state)
        coming = [state for state in states if not any(state is one for one in self._states)]
        if coming:
            merged = merge_layers([state.caches for state in coming])
            if self.caches:
                for mine, more in zip(self.caches, merged, strict=True):
                    mine.extend(more)
            else:
                self.caches = merged
            for state in coming:
                state.caches = []
            self._states += coming
        numbers = {id(state): at for at, state in enumerate(states)}
        return [numbers[id(state)] for state in self._states]

    def part(self, state: MlxState) -> None:
        """Gives a sequence its own caches back; one that is not in the batch has them."""
        at = self._find(state)
        if at is not None:
            state.caches = [layer.extract(at) for layer in self.caches]
            self._remove(at)

    def _find(self, state: MlxState) -> int | None:
        return next((at for at, one in enumerate(self._states) if one is state), None)

    def _remove(self, at: int) -> None:
        del self._states[at]
        if not self._states:
            self.caches = []
            return
        keep = [row for row in range(len(self._states) + 1) if row != at]
        for layer in self.caches:
            layer.filter(keep)


def merge_layers(caches_of: Sequence[list[Any]]) -> list[Any]:
    """Makes caches over several sequences, one for each layer, of those that each has by itself."""
    # A static method of each kind of cache.
    return [layers[0].merge(list(layers)) for layers in zip(*caches_of, strict=True)]


def alike(parts: Sequence[Part[MlxState]], *, most_filled: float) -> list[list[Part[MlxState]]]:
    """Groups pieces so that none is filled up to more than so many times its length."""
    groups: list[list[Part[MlxState]]] = []
    for part in sorted(parts, key=lambda part: len(part.tokens)):
        if groups and len(part.tokens) <= most_filled * len(groups[-1][0].tokens):
            groups[-1].append(part)
        else:
            groups.append([part])
    return groups
