"""The stores of one model: each mixture of adapters has its own, as states computed under one are wrong under another."""

from __future__ import annotations

from collections.abc import Callable

from ..adapters import Adapters
from .store import PrefixStore

MOST_STORES = 8
"""Each has a thread of its own, and there is one for every mixture of adapters that clients think of."""
CLOSE_FOR_S = 0.05


class Stores:
    """Opens stores as they are asked for, and closes the one that was not used for longest where there are too many.

    Args:
        open_store: gives the store of the states computed under some adapters; all share their memory.
    """

    def __init__(self, open_store: Callable[[Adapters], PrefixStore]) -> None:
        self._open_store = open_store
        self._stores: dict[Adapters, PrefixStore] = {}
        """The least recently used first."""

    def under(self, adapters: Adapters) -> PrefixStore:
        """The store of the states that were computed under these adapters."""
        store = self._stores.pop(adapters, None)
        if store is None:
            if len(self._stores) >= MOST_STORES:
                self._stores.pop(next(iter(self._stores))).close(CLOSE_FOR_S)
            store = self._open_store(adapters)
        self._stores[adapters] = store
        return store

    @property
    def ram_bytes(self) -> int:
        """What all of them hold in memory."""
        return next((store.ram_bytes for store in self._stores.values()), 0)

    def resize(self, ram_bytes: int) -> None:
        """Lets them hold no more than so much in memory together."""
        for store in self._stores.values():
            store.resize(ram_bytes)

    def close(self, wait_s: float) -> None:
        """Closes all; what waits for the disk is written for at most so long each."""
        for store in self._stores.values():
            store.close(wait_s)
