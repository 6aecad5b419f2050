"""Several sequences in one set of caches, as mlx-lm batches them: each may come and go at every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .mlx_library import caches


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
            merged = [_merge([state.caches[layer] for state in coming]) for layer in range(len(coming[0].caches))]
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

    def discard(self, state: MlxState) -> None:
        """As `part`, for a sequence that may be alone: the last one of a batch takes its caches along."""
        self.part(state)

    def take_back(self) -> None:
        """Forgets the newest token of every sequence."""
        for layer in self.caches:
            _trim(layer, 1)

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


def _merge(layers: Sequence[Any]) -> Any:
    return layers[0].merge(list(layers))  # a static method of each kind


def _trim(layer: Any, count: int) -> None:
    for one in layer.caches if isinstance(layer, caches.CacheList) else (layer,):
        one.trim(count)
