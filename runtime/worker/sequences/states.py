"""What was computed for others: states of running and ended sequences, and those in the store."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterable
from collections.abc import Sequence as Tokens
from dataclasses import dataclass, field
from typing import Generic

from ...events import PrefixReport
from ..adapters import Adapters
from ..prefix.checkpoints import checkpoint_positions
from ..prefix.explain import Explainer
from ..prefix.sharing import LEAST_SHARED, common_prefix
from ..prefix.store import Hit
from ..prefix.stores import Stores
from ..prefix.tries import Tries
from .runner import Runner, S
from .sequence import Sequence

MOST_KEPT = 32
"""Ended sequences; each costs memory, and looking through them time."""


@dataclass(slots=True)
class Kept(Generic[S]):
    """What an ended sequence left."""

    number: int
    tokens: list[int]
    adapters: Adapters
    state: S
    used_s: float
    unsaved: deque[tuple[int, int]] = field(default_factory=deque[tuple[int, int]])
    """Spans of it that are in no store yet."""


class States(Generic[S]):
    """Gives prompts all that is known of them before the rest is computed.

    Args:
        runner: holds the states.
        stores: keep them outside of the engine.
        explainer: remembers prompts, to say why one was computed again.
        cuttable: whether states can be cut.
        copyable: whether they can be copied, and read for the stores.
        boundaries: the tokens that begin a message.
        most_tokens: of all states together.
    """

    def __init__(
        self,
        runner: Runner[S],
        stores: Stores,
        explainer: Explainer,
        *,
        cuttable: bool,
        copyable: bool = True,
        boundaries: Collection[int],
        most_tokens: int,
    ) -> None:
        self._runner = runner
        self._stores = stores
        self._explainer = explainer
        self._cuttable = cuttable
        self._copyable = copyable
        self._boundaries = boundaries
        self.most_tokens = most_tokens
        self._share = 1.0
        """How much of `most_tokens` ended sequences may take."""
        self._kept: dict[int, Kept[S]] = {}
        """The least recently used first."""
        self._tries: Tries[int] = Tries()

    @property
    def kept_tokens(self) -> int:
        """Of ended sequences together."""
        return sum(kept.state.length for kept in self._kept.values())

    def prepare(self, sequence: Sequence[S], running: Iterable[Sequence[S]], *, prefill_tps: float | None) -> bool:
        """Fills a sequence's state with what is known of its prompt, the first time it is called for it.

        Returns:
            False where it had better wait: another one is just computing more of what it needs.
        """
        if sequence.hits is None:
            if sequence.cached and not self._take_over(sequence, running):
                return False
            sequence.hits = deque(self._find_hits(sequence, prefill_tps) if sequence.cached else ())
        if sequence.state is None:
            sequence.state = self._runner.begin()
        while sequence.hits:
            self._restore(sequence, sequence.state, sequence.hits)
        return True

    def report(self, sequence: Sequence[S]) -> PrefixReport:
        """Sums up where a prompt's tokens come from, and chooses where its state is kept on the way."""
        miss = None
        if sequence.cached:
            settings = repr(sequence.adapters)
            miss = self._explainer.explain(sequence.tokens, sequence.computed, settings=settings, cuttable=self._cuttable)
            if not self._cuttable:
                sequence.marks.extend(checkpoint_positions(sequence.tokens, self._boundaries, begin=sequence.computed))
        return PrefixReport(sequence.ram_tokens, sequence.disk_tokens, len(sequence.tokens) - sequence.computed, miss)

    def reached(self, sequence: Sequence[S]) -> None:
        """Keeps the state of a sequence that came to one of its marks."""
        if sequence.marks and sequence.state is not None and sequence.marks[0] == sequence.computed:
            sequence.marks.popleft()
            tokens = sequence.tokens[: sequence.computed]
            store = self._stores.under(sequence.adapters)
            if self._copyable and store.missing(tokens):
                store.put_checkpoint(tokens, self._runner.read(sequence.state, 0, sequence.computed))

    def computed(self, sequence: Sequence[S]) -> None:
        """Remembers a prompt that is wholly computed."""
        if sequence.cached:
            self._explainer.remember(sequence.tokens, repr(sequence.adapters))

    def leave(self, sequence: Sequence[S], *, keep: bool = True) -> None:
        """Takes over the state of a sequence that has ended, or lost its room."""
        state, sequence.state = sequence.state, None
        if state is None:
            return
        if not (keep and sequence.cached and state.length >= LEAST_SHARED):
            self._runner.release(state)
            return
        tokens = sequence.tokens[: state.length]
        adapters = sequence.adapters
        self._explainer.remember(tokens, repr(adapters))
        for other in tuple(self._kept.values()):
            if other.adapters != adapters or common_prefix(tokens, other.tokens) != min(len(tokens), len(other.tokens)):
                continue
            if len(other.tokens) >= len(tokens):
                self._touch(other)
                self._runner.release(state)
                return
            if self._cuttable:
                self._forget(other)
        kept = Kept(sequence.number, tokens, adapters, state, time.monotonic())
        if self._cuttable and self._copyable:
            kept.unsaved.extend(self._stores.under(adapters).missing(tokens))
        self._kept[kept.number] = kept
        self._tries.insert(adapters, tokens, kept.number)
        while len(self._kept) > MOST_KEPT:
            self.evict()
        self._keep_share()

    @property
    def prefix_bytes(self) -> int:
        """What the stores hold in memory."""
        return self._stores.ram_bytes

    def shrink(self, share: float, ram_bytes: int) -> None:
        """Lets ended sequences and the stores take less memory from now on.

        Args:
            share: of `most_tokens`, for ended sequences.
            ram_bytes: for the stores.
        """
        self._share = share
        self._stores.resize(ram_bytes)
        self._keep_share()

    def make_room(self, running_tokens: int) -> None:
        """Lets go of ended sequences until the running ones have room."""
        while self._kept and running_tokens + self.kept_tokens > self.most_tokens:
            self.evict()

    def evict(self) -> bool:
        """Lets go of the ended sequence whose loss costs least for how long it was not used; False where none is left."""
        if not self._kept:
            return False
        now_s = time.monotonic()
        victim = max(self._kept.values(), key=lambda kept: (now_s - kept.used_s + 0.1) / (len(kept.tokens) + 1))
        self._save(victim)
        self._forget(victim)
        return True

    def save_some(self, until_s: float) -> bool:
        """Saves what ended sequences left, the newest first, until a time; True where nothing is left to save."""
        return all(self._save(kept, until_s) for kept in reversed(self._kept.values()))

    def forget_all(self) -> None:
        """Lets go of everything that ended sequences left in the engine."""
        for kept in tuple(self._kept.values()):
            self._forget(kept)

    def close(self) -> None:
        """Saves what is not saved, as far as it takes no longer than a moment, and closes the stores."""
        self.save_some(time.monotonic() + 1.0)
        self.forget_all()
        self._stores.close(2.0)

    def _keep_share(self) -> None:
        while self._share < 1 and self._kept and self.kept_tokens > self._share * self.most_tokens:
            self.evict()

    def _take_over(self, sequence: Sequence[S], running: Iterable[Sequence[S]]) -> bool:
        prompt = sequence.tokens[:-1]
        kept, known = self._find_kept(prompt, sequence.adapters)
        donor: S | None = None
        for other in running if self._copyable else ():
            if other is sequence or other.state is None or not other.cached or other.adapters != sequence.adapters:
                continue
            shared = common_prefix(prompt, other.tokens)
            now = min(shared, other.computed)
            if not self._cuttable and now != other.computed:
                now = 0
            coming = shared if self._cuttable else max((mark for mark in other.marks if mark <= shared), default=0)
            if not other.answering and coming > max(now, known) + LEAST_SHARED:
                return False
            if now > known:
                kept, donor, known = None, other.state, now
        if known < LEAST_SHARED:
            return True
        if donor is not None:
            sequence.state = self._runner.fork(donor, known)
        elif kept is not None:
            sequence.state = self._adopt(kept, known)
        sequence.ram_tokens = known
        return True

    def _find_kept(self, prompt: Tokens[int], adapters: Adapters) -> tuple[Kept[S] | None, int]:
        if self._cuttable:
            shared, number = self._tries.longest(adapters, prompt)
            return (None, 0) if number is None else (self._kept[number], shared)
        under = [one for one in self._kept.values() if one.adapters == adapters]
        whole = [one for one in under if prompt[: len(one.tokens)] == one.tokens]
        best = max(whole, key=lambda one: len(one.tokens), default=None)
        return best, 0 if best is None else len(best.tokens)

    def _adopt(self, kept: Kept[S], length: int) -> S:
        """Takes an ended sequence's state as it is where nothing is lost by that, else a copy of its beginning."""
        self._touch(kept)
        store = self._stores.under(kept.adapters)
        if self._copyable and length < kept.state.length and (not self._cuttable or store.missing(kept.tokens)):
            return self._runner.fork(kept.state, length)
        if self._cuttable:
            self._save(kept)
        self._take_out(kept)
        if length < kept.state.length:
            self._runner.cut(kept.state, length)
        return kept.state

    def _find_hits(self, sequence: Sequence[S], prefill_tps: float | None) -> list[Hit]:
        if not self._copyable:
            return []
        store = self._stores.under(sequence.adapters)
        hits = store.match(sequence.tokens[:-1], begin=sequence.computed, prefill_tps=prefill_tps)
        gain = hits[-1].begin + hits[-1].tokens - sequence.computed if hits else 0
        if gain < LEAST_SHARED:
            return []
        if not self._cuttable and sequence.state is not None:
            # A state takes the place of all there is.
            self._runner.release(sequence.state)
            sequence.state, sequence.ram_tokens = None, 0
        return hits

    def _restore(self, sequence: Sequence[S], state: S, hits: deque[Hit]) -> None:
        hit = hits.popleft()
        data = self._stores.under(sequence.adapters).read(hit)
        before, end = state.length, hit.begin + hit.tokens
        if data is None or before < hit.begin:
            hits.clear()
            return
        try:
            self._runner.write(state, data, hit.begin, end, skip=before - hit.begin)
        except ValueError:
            hits.clear()
            return
        if hit.tier == "disk":
            sequence.disk_tokens += end - before
        else:
            sequence.ram_tokens += end - before

    def _save(self, kept: Kept[S], until_s: float = float("inf")) -> bool:
        while kept.unsaved:
            if time.monotonic() >= until_s:
                return False
            begin, end = kept.unsaved.popleft()
            self._stores.under(kept.adapters).put(kept.tokens, begin, end, self._runner.read(kept.state, begin, end))
        return True

    def _touch(self, kept: Kept[S]) -> None:
        kept.used_s = time.monotonic()
        self._kept[kept.number] = self._kept.pop(kept.number)

    def _forget(self, kept: Kept[S]) -> None:
        self._take_out(kept)
        self._runner.release(kept.state)

    def _take_out(self, kept: Kept[S]) -> None:
        del self._kept[kept.number]
        self._tries.discard(kept.adapters, kept.number)
