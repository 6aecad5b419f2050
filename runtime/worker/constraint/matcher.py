"""Which tokens may come next, and what came so far."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import llguidance


class ConstraintFailed(Exception):
    """The matcher cannot go on: its grammar grew too complex, or was given a token that it did not allow."""


class Matcher(ABC):
    """Holds one answer to its form."""

    @property
    @abstractmethod
    def is_complete(self) -> bool:
        """Whether nothing may follow but the end."""

    @abstractmethod
    def allowed(self) -> NDArray[np.bool_] | None:
        """Tells which tokens may come next, ends among them, shape (vocabulary size,); None where each may.

        Raises:
            ConstraintFailed: the matcher cannot tell.
        """

    @abstractmethod
    def accept(self, token: int) -> None:
        """Takes note of the token that was chosen.

        Raises:
            ConstraintFailed: it was none that is allowed.
        """

    @abstractmethod
    def allowed_prefix(self, tokens: Sequence[int]) -> int:
        """Counts how many of these tokens may come, one after the other; an end stops the count."""


class FormMatcher(Matcher):
    """Holds an answer from its first token on.

    Args:
        grammar: at the beginning, and of this matcher alone.
        ends: the tokens that end an answer.
        size: how many tokens the vocabulary has.
    """

    def __init__(self, grammar: llguidance.LLMatcher, *, ends: frozenset[int], size: int) -> None:
        self._grammar = grammar
        self._ends = ends
        self._size = size
        self._mask = np.zeros((size + 31) // 32, np.int32)
        """One bit for each token, as llguidance fills it."""

    def copy(self) -> FormMatcher:
        """Makes another one that stands at the same place."""
        return FormMatcher(self._grammar.deep_copy(), ends=self._ends, size=self._size)

    @property
    def is_complete(self) -> bool:
        """Whether nothing may follow but the end."""
        return self._grammar.is_stopped() and not self._grammar.is_error()

    def allowed(self) -> NDArray[np.bool_]:
        """Tells which tokens may come next."""
        self._grammar.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
        if self._grammar.is_error():
            raise ConstraintFailed(self._why())
        bits = np.unpackbits(self._mask.view(np.uint8), count=self._size, bitorder="little")
        return bits.view(np.bool_)

    def accept(self, token: int) -> None:
        """Takes note of the token that was chosen; what comes after an end is nobody's."""
        if token not in self._ends and not self._grammar.consume_token(token):
            raise ConstraintFailed(self._why())

    def allowed_prefix(self, tokens: Sequence[int]) -> int:
        """Counts how many of these tokens may come."""
        end = next((at for at, token in enumerate(tokens) if token in self._ends), len(tokens))
        return self._grammar.validate_tokens(list(tokens[:end]))

    def _why(self) -> str:
        return self._grammar.get_error().partition("\n")[0] or "The constraint allows nothing more."
