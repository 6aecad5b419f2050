"""A context over a model that takes a batch of rows, all padded to the longest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .matryoshka import Vector
from .packing import ComputeError, Interrupted
from .pooling import Pooling, States

MOST_ROWS = 32
"""In one batch."""
_WASTE = 4
"""A row is not padded to more than so many times its length: what is computed of the padding is lost."""

Ids = npt.NDArray[np.int64]


class PaddedContext(ABC):
    """Pads, computes and pools; a subclass knows the engine.

    Args:
        pooling: how states become a vector; None for models that score pairs.
        room: how many tokens a batch has, unless a single input has more.
        pad: the token behind a row's end.
        second_after: where texts are put together in pairs and told apart by numbers: the token that ends the first one.
    """

    splits = False

    def __init__(self, pooling: Pooling | None, *, room: int, pad: int, second_after: int | None = None) -> None:
        self.max_sequences = MOST_ROWS
        self.room = self.capacity = max(room, MOST_ROWS)
        self._pooling = pooling
        self._pad = pad
        self._interrupted = False
        self._second_after = second_after
        self.width = 0
        """How many numbers a vector has; known once one was computed."""

    @abstractmethod
    def run(self, ids: Ids, mask: Ids, kinds: Ids) -> States:
        """Computes rows, all of shape (rows, tokens).

        Args:
            ids: the tokens.
            mask: 1 for tokens, 0 behind a row's end.
            kinds: 1 for the second text of a pair, else 0.

        Returns:
            Shape (rows, tokens, width): the states; or (rows, width): what is final already.
        """

    def fit(self, tokens: int) -> None:
        """Lets a batch have so many tokens."""
        self.capacity = max(self.capacity, tokens)

    def clear(self) -> None:  # noqa: B027
        """Has nothing to forget: nothing is kept from batch to batch."""

    def interrupt(self) -> None:
        """Ends the batch that is being computed behind its next rows; from any thread."""
        self._interrupted = True

    def compute(self, parts: Sequence[tuple[int, Sequence[int]]]) -> list[Vector]:
        """Computes one batch; raises ComputeError or Interrupted."""
        vectors: list[Vector | None] = [None] * len(parts)
        self._interrupted = False
        for rows in _alike([len(tokens) for _, tokens in parts]):
            if self._interrupted:
                raise Interrupted
            found = self._compute([parts[row][1] for row in rows])
            for row, vector in zip(rows, found, strict=True):
                vectors[row] = vector
        return [vector for vector in vectors if vector is not None]

    def _compute(self, rows: Sequence[Sequence[int]]) -> list[Vector]:
        lengths = [len(row) for row in rows]
        ids = np.full((len(rows), max(lengths)), self._pad, np.int64)
        mask, kinds = np.zeros_like(ids), np.zeros_like(ids)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = row
            mask[at, : len(row)] = 1
            if self._second_after is not None and self._second_after in row:
                kinds[at, list(row).index(self._second_after) + 1 : len(row)] = 1
        try:
            found = self.run(ids, mask, kinds)
        except Exception as error:  # each engine raises its own
            raise ComputeError(str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__) from error
        if found.ndim == 3 and self._pooling is not None:
            vectors = [self._pooling.pool(states[:length]) for states, length in zip(found, lengths, strict=True)]
        else:
            vectors = [row.astype(np.float32) for row in found]
        if not all(np.isfinite(vector).all() for vector in vectors):
            raise ComputeError("The model gave numbers that are not finite.")
        self.width = len(vectors[0])
        return vectors


def _alike(lengths: Sequence[int]) -> list[list[int]]:
    """Gathers rows of like lengths, so that short ones are not padded to the length of one long one."""
    groups: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if groups and lengths[groups[-1][0]] <= _WASTE * lengths[row]:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups
