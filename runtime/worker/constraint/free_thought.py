"""Leaves a thought alone that stands before an answer which is held: what it quotes is no call."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .matcher import Matcher


class FreeThought(Matcher):
    """Keeps the tokens of the first thought from what holds the answer.

    Args:
        inner: what the answer is held to; it sees what stands before the thought, and what comes behind it.
        pieces: what each token writes, by id; a control token's own text for those.
        opening: the text that begins a thought.
        closing: the text that ends it.
        begun: whether the answer begins inside of one.
    """

    def __init__(self, inner: Matcher, *, pieces: Sequence[bytes], opening: bytes, closing: bytes, begun: bool) -> None:
        self._inner = inner
        self._pieces = pieces
        self._opening = opening.strip()
        self._closing = closing.strip()
        self._inside = begun
        self._over = False
        """Whether the thought is behind, or there was none."""
        self._said = b""
        """What was written before the thought or of it; only as much as a mark may begin in."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing may follow but the end."""
        return not self._thinks and self._inner.is_complete

    def allowed(self) -> NDArray[np.bool_] | None:
        """Tells which tokens may come next; None where each may."""
        return None if self._thinks else self._inner.allowed()

    def accept(self, token: int) -> None:
        """Takes note of the token that was chosen."""
        if not self._thinks:
            self._inner.accept(token)
        if not self._over:
            self._write(self._pieces[token])

    def allowed_prefix(self, tokens: Sequence[int]) -> int:
        """Counts how many of these tokens may come; before the answer is held a guess of more than one is not looked at."""
        if self._over:
            return self._inner.allowed_prefix(tokens)
        return min(1, len(tokens)) if self._inside else self._inner.allowed_prefix(tokens[:1])

    @property
    def _thinks(self) -> bool:
        return self._inside and not self._over

    def _write(self, piece: bytes) -> None:
        self._said += piece
        if self._inside:
            self._over = self._closing in self._said
            self._said = self._said[-len(self._closing) :]
        elif self._opening in self._said:
            self._inside = True
            self._said = b""
        else:
            self._over = not self._opening.startswith(self._said.strip())
