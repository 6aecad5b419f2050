"""What ended sequences begin with, apart for each mixture of adapters: states computed under one are wrong under another."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

from ..adapters import Adapters
from .trie import TokenTrie

V = TypeVar("V", bound=Hashable)


class Tries(Generic[V]):
    """Token sequences, each under one value and one mixture; nothing stays of a mixture without sequences."""

    def __init__(self) -> None:
        self._tries: dict[Adapters, TokenTrie[V]] = {}

    def __len__(self) -> int:
        return len(self._tries)

    def insert(self, adapters: Adapters, tokens: Sequence[int], value: V) -> None:
        """Stores a sequence; what was stored under the value is replaced."""
        self._tries.setdefault(adapters, TokenTrie[V]()).insert(tokens, value)

    def discard(self, adapters: Adapters, value: V) -> None:
        """Forgets the value's sequence, if there is one."""
        trie = self._tries.get(adapters)
        if trie is not None:
            trie.discard(value)
            if not trie:
                del self._tries[adapters]

    def longest(self, adapters: Adapters, tokens: Sequence[int]) -> tuple[int, V | None]:
        """Finds the longest beginning that a stored sequence under these adapters has too.

        Returns:
            Its length, and the value inserted last among those that have it; (0, None) where no sequence shares a token.
        """
        trie = self._tries.get(adapters)
        return (0, None) if trie is None else trie.longest(tokens)
