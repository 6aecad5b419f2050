"""What a new prompt finds computed already: cells of other sequences, states in memory and on the disk."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Sequence

from ...events import PrefixReport
from ..prefix.checkpoints import checkpoint_positions
from ..prefix.explain import Explainer
from ..prefix.sharing import LEAST_SHARED, common_prefix
from ..prefix.store import Hit
from .llama_cells import Cells, Donor
from .llama_sequence import Generating, Part


class Beginnings:
    """Gives prompts all that is known of them before the rest is computed.

    Args:
        cells: the cache.
        explainer: remembers prompts, to say why one was computed again.
        boundaries: the tokens that begin a message.
        keeps_states: whether states are kept outside of the cache.
    """

    def __init__(self, cells: Cells, explainer: Explainer, *, boundaries: Collection[int], keeps_states: bool) -> None:
        self._cells = cells
        self._explainer = explainer
        self._boundaries = boundaries
        self._keeps_states = keeps_states

    def prepare(
        self,
        sequence: Generating,
        running: Sequence[Generating],
        parts: Sequence[Part],
        *,
        prefill_tps: float | None,
        until_s: float,
    ) -> bool:
        """Fills a sequence's cells with what is known of its prompt.

        Args:
            sequence: has a slot.
            running: all that have one.
            parts: what the batch holds already.
            prefill_tps: how fast prompts are computed.
            until_s: where others wait for the batch, states are read no longer than until then.

        Returns:
            False where it is to wait for the next step: more of it is just being computed, or still to be read.
        """
        if sequence.hits is None:
            if sequence.cached and not self._take_over(sequence, running, parts):
                return False
            sequence.hits = deque(self._find_hits(sequence, prefill_tps) if sequence.cached else ())
        while sequence.hits:
            if parts and time.monotonic() > until_s:
                return False
            self._restore(sequence, sequence.hits)
        if sequence.splits_picture(sequence.in_cache):
            self._step_back(sequence)
        return True

    def report(self, sequence: Generating) -> PrefixReport:
        """Sums up where a prompt's tokens come from, and chooses where its state is kept on the way."""
        computed = len(sequence.tokens) - sequence.in_cache
        miss = None
        if sequence.cached:
            settings = repr(sequence.adapters)
            miss = self._explainer.explain(sequence.tokens, sequence.in_cache, settings=settings, cuttable=self._cells.cuttable)
            if not self._cells.cuttable and self._keeps_states:
                positions = checkpoint_positions(sequence.tokens, self._boundaries, begin=sequence.in_cache)
                sequence.marks.extend(position for position in positions if not sequence.splits_picture(position))
        return PrefixReport(sequence.ram_tokens, sequence.disk_tokens, computed, miss)

    def reached(self, sequence: Generating) -> None:
        """Keeps the state of a sequence that came to one of its marks."""
        if sequence.marks and sequence.marks[0] == sequence.in_cache:
            sequence.marks.popleft()
            state = self._cells.memory.read_state(sequence.slot)
            if state:
                self._cells.store(sequence.adapters).put_checkpoint(sequence.computed, state)

    def computed(self, sequence: Generating) -> None:
        """Remembers a prompt that is wholly computed."""
        if sequence.cached:
            self._explainer.remember(sequence.tokens, repr(sequence.adapters))

    def leave(self, sequence: Generating) -> None:
        """Takes over the slot of a sequence that has ended, with what it computed."""
        if sequence.cached and sequence.in_cache >= LEAST_SHARED:
            self._cells.keep(sequence.slot, sequence.computed, sequence.adapters)
            self._explainer.remember(sequence.computed, repr(sequence.adapters))
        else:
            self._cells.give_back(sequence.slot)
        sequence.slot = -1

    def _take_over(self, sequence: Generating, running: Sequence[Generating], parts: Sequence[Part]) -> bool:
        """Lets a new prompt share the cells of the sequence that begins most like it; nothing is copied.

        Returns:
            False where it had better wait a step, as the batch is just computing more of what it needs.
        """
        prompt = sequence.tokens[:-1]
        donor = self._cells.find_donor(prompt, sequence.adapters) or Donor(-1, 0)
        for other in running:
            if other is sequence or not other.cached or other.adapters != sequence.adapters or other.in_cache <= donor.tokens:
                continue
            shared = common_prefix(prompt, other.computed)
            if shared > donor.tokens and (self._cells.cuttable or shared == other.in_cache):
                donor = Donor(other.slot, shared)
        if any(self._is_coming(sequence, part, donor.tokens) for part in parts if not part.answers):
            return False
        if donor.tokens >= LEAST_SHARED:
            self._cells.memory.share(donor.slot, sequence.slot, 0, donor.tokens)
            sequence.in_cache = sequence.ram_tokens = donor.tokens
        self._cells.relieve(sum(other.expected_tokens for other in running))
        return True

    def _is_coming(self, sequence: Generating, part: Part, known: int) -> bool:
        """Whether a prompt in the batch is about to compute much that another one needs."""
        other = part.sequence
        if other.adapters != sequence.adapters or not other.cached:
            return False
        prompt = sequence.tokens[:-1]
        coming = other.in_cache + part.count
        if not self._cells.cuttable:
            # Only where its state is kept can the other one go on from there.
            shared = common_prefix(prompt, other.tokens)
            coming = max((mark for mark in other.marks if mark <= shared), default=0)
        return common_prefix(prompt, other.tokens[:coming]) >= known + LEAST_SHARED

    def _step_back(self, sequence: Generating) -> None:
        """Gives up the known part of a picture: it is computed as a whole."""
        begin = next(picture.begin for picture in sequence.pictures if picture.holds(sequence.in_cache))
        if not self._cells.memory.cut(sequence.slot, begin):
            self._cells.memory.free(sequence.slot)
            begin = 0
        lost = sequence.in_cache - begin
        sequence.in_cache = begin
        from_disk = min(lost, sequence.disk_tokens)
        sequence.disk_tokens -= from_disk
        sequence.ram_tokens -= lost - from_disk

    def _find_hits(self, sequence: Generating, prefill_tps: float | None) -> list[Hit]:
        store = self._cells.store(sequence.adapters)
        hits = store.match(sequence.tokens[:-1], begin=sequence.in_cache, prefill_tps=prefill_tps)
        gain = hits[-1].begin + hits[-1].tokens - sequence.in_cache if hits else 0
        if gain < LEAST_SHARED:
            return []
        if not self._cells.cuttable:
            # A state takes the place of all there is.
            self._cells.memory.free(sequence.slot)
            sequence.in_cache = sequence.ram_tokens = 0
        return hits

    def _restore(self, sequence: Generating, hits: deque[Hit]) -> None:
        hit = hits.popleft()
        if not self._cells.restore(sequence.slot, hit, sequence.in_cache, sequence.adapters):
            hits.clear()
            return
        gained = hit.begin + hit.tokens - sequence.in_cache
        sequence.in_cache += gained
        if hit.tier == "disk":
            sequence.disk_tokens += gained
        else:
            sequence.ram_tokens += gained
