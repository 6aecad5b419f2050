"""Ends a thought that grew too long, by letting nothing come but what ends it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..constraint.matcher import Matcher


class LimitedThought(Matcher):
    """Counts the tokens of the first thought.

    Args:
        inner: what the answer is held to besides; None leaves it free.
        pieces: what each token writes, by id; a control token's own text for those.
        opening: the text that begins a thought.
        closing: the text that ends it.
        closing_tokens: the tokens that write that, one at least.
        begun: whether the answer begins inside of one.
        limit: how many tokens it may have.
    """

    def __init__(
        self,
        inner: Matcher | None,
        *,
        pieces: Sequence[bytes],
        opening: bytes,
        closing: bytes,
        closing_tokens: Sequence[int],
        begun: bool,
        limit: int,
    ) -> None:
        self._inner = inner
        self._pieces = pieces
        self._opening = opening.strip()
        self._closing = closing.strip()
        self._closing_tokens = closing_tokens
        self._inside = begun
        self._over = False
        """Whether the thought is behind, or there was none."""
        self._count = 0
        self._limit = limit
        self._said = b""
        """What was written of the thought, or before one; only as much as a mark may begin in."""
        self._forced = 0
        """How many of the closing tokens were forced."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing may follow but the end."""
        return self._inner is not None and self._inner.is_complete

    def allowed(self) -> NDArray[np.bool_] | None:
        """Tells which tokens may come next; None where each may."""
        if not self._must_close:
            return None if self._inner is None else self._inner.allowed()
        only = np.zeros(len(self._pieces), np.bool_)
        only[self._closing_tokens[self._forced]] = True
        return only

    def accept(self, token: int) -> None:
        """Takes note of the token that was chosen."""
        must_close = self._must_close
        if self._inner is not None:
            self._inner.accept(token)
        if self._over:
            return
        self._said += self._pieces[token] if 0 <= token < len(self._pieces) else b""
        if self._inside:
            self._count += 1
            self._forced += must_close
            self._over = self._closing in self._said or self._forced == len(self._closing_tokens)
            self._said = self._said[-len(self._closing) :]
        elif self._opening in self._said:
            self._inside, self._said = True, b""
        elif not self._opening.startswith(self._said.strip()):
            self._over = True

    def allowed_prefix(self, tokens: Sequence[int]) -> int:
        """Counts how many of these tokens may come, one after the other; a guess never reaches past the limit."""
        if self._over:
            return len(tokens) if self._inner is None else self._inner.allowed_prefix(tokens)
        room = max(0, self._limit - self._count) if self._inside else 0
        some = tokens[:room]
        return len(some) if self._inner is None else self._inner.allowed_prefix(some)

    @property
    def _must_close(self) -> bool:
        return self._inside and not self._over and self._count >= self._limit
