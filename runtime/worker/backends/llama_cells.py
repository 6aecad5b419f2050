"""The context memory of all sequences: who has which cells, what is kept of ended ones, and who makes room."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ..adapters import Adapters
from ..prefix.segments import LEAST_TOKENS
from ..prefix.sharing import LEAST_SHARED, common_prefix
from ..prefix.store import Hit, PrefixStore
from ..prefix.stores import Stores
from ..prefix.tries import Tries
from .llama_memory import ContextMemory

PARK_AFTER_TOKENS = 64
"""Each token that is computed looks at all cells in use, also at those it then leaves out. Once so many were computed beside an
ended sequence, that has cost as much as to put its state back from memory will."""
FORGET_AFTER_TOKENS = 1024
"""The same for one that is too short to be kept elsewhere, and would have to be computed again."""
PARK_FOR_S = 0.03
"""How long a step may be held up by states that are not in memory yet; the rest is saved step by step."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Kept:
    """What an ended sequence left in the cache."""

    slot: int
    tokens: list[int]
    adapters: Adapters
    used_s: float
    used_at: int
    """How many tokens had been computed when it was last of use."""
    unsaved: deque[tuple[int, int]] = field(default_factory=deque[tuple[int, int]])
    """Spans of it that are in no store yet."""


@dataclass(frozen=True, slots=True)
class Donor:
    """Whose cells a new prompt can share."""

    slot: int
    tokens: int
    """How many of the prompt's first tokens they hold."""


class Cells:
    """Owns the slots of one context.

    Args:
        memory: the engine's cells.
        size: how many there are.
        slots: how many slots; the last one is kept free to move states through.
        cuttable: whether a sequence's cells can be cut back to any position.
        parks: whether the stores have memory for what leaves the cache.
        open_store: gives the store of the states computed under some adapters.
    """

    def __init__(
        self,
        memory: ContextMemory,
        *,
        size: int,
        slots: int,
        cuttable: bool,
        parks: bool,
        open_store: Callable[[Adapters], PrefixStore],
    ) -> None:
        self.memory = memory
        self.size = size
        self.cuttable = cuttable
        self._parks = parks and cuttable
        self._free = list(reversed(range(slots - 1)))
        self._scratch = slots - 1
        self._kept: dict[int, Kept] = {}
        """By slot, the least recently used first."""
        self._tries: Tries[int] = Tries()
        self._stores = Stores(open_store)
        self._computed = 0
        """How many tokens were computed so far."""

    @property
    def kept(self) -> Iterable[Kept]:
        """What ended sequences left, the least recently used first."""
        return self._kept.values()

    def store(self, adapters: Adapters) -> PrefixStore:
        """The store of the states that were computed under these adapters."""
        return self._stores.under(adapters)

    @property
    def prefix_bytes(self) -> int:
        """What the stores hold in memory."""
        return self._stores.ram_bytes

    def resize_stores(self, ram_bytes: int) -> None:
        """Lets the stores hold no more than so much in memory, which they share."""
        self._stores.resize(ram_bytes)

    def take_slot(self) -> int:
        """Gives a free slot; where there is none, what is worth least goes."""
        if not self._free:
            self.evict()
        return self._free.pop()

    def give_back(self, slot: int) -> None:
        """Frees a slot and what only it holds."""
        self.memory.free(slot)
        self._free.append(slot)

    def find_donor(self, prompt: Sequence[int], adapters: Adapters) -> Donor | None:
        """Finds the ended sequence that begins most like a prompt, of which at least one token is left to compute."""
        most, slot = self._tries.longest(adapters, prompt)
        if slot is None:
            return None
        kept = self._kept[slot]
        if not self.cuttable:
            # It is of use only as a whole: the longest match may be of one that goes on otherwise.
            whole = [
                one for one in self._kept.values()
                if one.adapters == adapters and len(one.tokens) <= len(prompt) and list(prompt[: len(one.tokens)]) == one.tokens
            ]  # fmt: skip
            if not whole:
                return None
            kept = max(whole, key=lambda one: len(one.tokens))
            most = len(kept.tokens)
        if most < LEAST_SHARED:
            return None
        self._touch(kept)
        return Donor(kept.slot, most)

    def keep(self, slot: int, tokens: list[int], adapters: Adapters) -> None:
        """Keeps what a sequence that has ended leaves in its slot."""
        for other in tuple(self._kept.values()):
            if other.adapters == adapters and common_prefix(tokens, other.tokens) == min(len(tokens), len(other.tokens)):
                if len(other.tokens) >= len(tokens):
                    self._touch(other)
                    self.give_back(slot)
                    return
                if self.cuttable:
                    self._forget(other)  # the new one shares all its cells
        kept = Kept(slot, tokens, adapters, time.monotonic(), self._computed)
        if self.cuttable:
            kept.unsaved.extend(self.store(adapters).missing(tokens))
        self._kept[slot] = kept
        self._tries.insert(adapters, tokens, slot)

    def evict(self, *, spare: int = -1) -> bool:
        """Lets go of the ended sequence whose loss costs least for how long it was not used; False where none is left.

        Args:
            spare: a slot that stays.
        """
        now_s = time.monotonic()
        candidates = [kept for kept in self._kept.values() if kept.slot != spare]
        if not candidates:
            return False
        # To read a state back takes a small part of what computing it takes; an unsaved one would have to be computed.
        victim = max(candidates, key=lambda kept: (now_s - kept.used_s + 0.1) / (len(kept.tokens) + 1))
        self.save(victim)
        self._forget(victim)
        return True

    def note_step(self, tokens: int) -> None:
        """Counts what was computed beside the ended sequences."""
        self._computed += tokens

    def relieve(self, expected_tokens: int = 0) -> None:
        """Takes ended sequences out of the cache that slow the running ones down; their states stay in the store's memory.

        Args:
            expected_tokens: how many tokens will be computed before long. Whoever would have to go then had better go at
                once: the cells of new sequences lie closer together for it.
        """
        if not self._parks or not self._kept:
            return
        passed = self._computed + expected_tokens
        until_s = time.monotonic() + PARK_FOR_S
        for kept in tuple(self._kept.values()):
            patience = PARK_AFTER_TOKENS if len(kept.tokens) >= LEAST_TOKENS else FORGET_AFTER_TOKENS
            if passed - kept.used_at < patience or not self.save(kept, until_s):
                continue
            if self.store(kept.adapters).missing(kept.tokens):
                # No store has room for all of it: cells that slow others down are better than a prompt computed anew.
                kept.used_at = passed
            else:
                self._forget(kept)

    def save(self, kept: Kept, until_s: float = float("inf")) -> bool:
        """Puts what is unsaved of an ended sequence into the store, until a time; True where nothing is left."""
        while kept.unsaved:
            if time.monotonic() >= until_s:
                return False
            begin, end = kept.unsaved.popleft()
            self.memory.share(kept.slot, self._scratch, begin, end)
            state = self.memory.read_state(self._scratch)
            self.memory.free(self._scratch)
            if state:
                self.store(kept.adapters).put(kept.tokens, begin, end, state)
        return True

    def save_some(self, until_s: float, *, touched: bool = True) -> bool:
        """Saves what ended sequences left, the newest first, until a time; True where nothing is left to save.

        Args:
            until_s: by `time.monotonic`.
            touched: also what was just found of use, and will not leave its cells soon.
        """
        return all(
            not kept.unsaved or (not touched and kept.used_at > self._computed) or self.save(kept, until_s)
            for kept in reversed(self._kept.values())
        )

    def restore(self, slot: int, hit: Hit, begin: int, adapters: Adapters) -> bool:
        """Puts a kept state into a slot that holds the first `begin` tokens; False where it is gone or there is no room."""
        state = self.store(adapters).read(hit)
        if state is None:
            return False
        return self.put(slot, state, max(begin, hit.begin), hit.begin + hit.tokens)

    def put(self, slot: int, state: bytes, begin: int, end: int) -> bool:
        """Puts positions [begin, end) of a state behind what a slot holds; False where there is no room.

        Where sequences cannot be cut, the state takes the place of all that the slot holds.
        """
        target = self._scratch if self.cuttable else slot
        while not self.memory.write_state(target, state):
            if not self.evict(spare=slot):
                return False
        if self.cuttable:
            self.memory.share(self._scratch, slot, begin, end)
            self.memory.free(self._scratch)
        return True

    def forget_all(self) -> None:
        """Lets go of everything ended sequences left in the cache."""
        for kept in tuple(self._kept.values()):
            self._forget(kept)

    def close(self) -> None:
        """Saves what is not saved, as far as it takes no longer than a moment, and closes the stores."""
        self.save_some(time.monotonic() + 1.0)
        self._stores.close(2.0)

    def _touch(self, kept: Kept) -> None:
        kept.used_s = time.monotonic()
        # It was just found of use, and most of its cells are in use again: it has time.
        kept.used_at = self._computed + PARK_AFTER_TOKENS
        self._kept[kept.slot] = self._kept.pop(kept.slot)

    def _forget(self, kept: Kept) -> None:
        del self._kept[kept.slot]
        self._tries.discard(kept.adapters, kept.slot)
        self.give_back(kept.slot)
