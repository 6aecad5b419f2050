"""The door to what is kept of computed prompts: memory first, then the disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...frames import PrefixOptions
from .disk import DiskTier, open_disk
from .memory import MemoryTier
from .segments import LEAST_TAIL_TOKENS, LEAST_TOKENS, SEGMENT_TOKENS, TOKEN_BYTES, Segment, pack_tokens, packed_key

Tier = Literal["ram", "disk"]

LEAST_CUT_TOKENS = 16
"""To put a whole segment back and cut it to fewer tokens takes longer than to compute them."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A segment that serves a prompt."""

    key: bytes
    begin: int
    """The position of its first token."""
    tokens: int
    """How many of its tokens the prompt shares; fewer than it has only in the last hit of a prompt."""
    tier: Tier
    size_bytes: int
    """Of its whole state."""


@dataclass(frozen=True, slots=True)
class _Match:
    segment: Segment
    tokens: int
    tier: Tier


class PrefixStore:
    """States of computed prompts, each under the tokens it is for.

    All methods are called from one thread. None waits for the disk but `read`, and `flush` and `close` while they are told to.

    Args:
        options: how much is kept, and where.
        root: the root key of the model and of everything else that shapes its states.
        cuttable: whether a state can be parted by positions and cut back; if not, whole states are kept (`put_checkpoint`).
        label: the model's name for people who look at what is on the disk.
        memory: another store's `memory`, that this one's states share; None makes one of the options' size.
    """

    def __init__(
        self, options: PrefixOptions, *, root: bytes, cuttable: bool, label: str = "", memory: MemoryTier | None = None
    ) -> None:
        self._root = root
        self._cuttable = cuttable
        self._keeps_ram = options.ram_bytes > 0
        self.memory = memory or MemoryTier(options.ram_bytes, cuttable=cuttable)
        self._disk: DiskTier | None = open_disk(options, root=root, cuttable=cuttable, label=label)

    @property
    def ram_bytes(self) -> int:
        """How much memory the kept states take, those of stores beside this one too."""
        return self.memory.size_bytes

    @property
    def disk_bytes(self) -> int:
        """How much lies on the disk, of all models, as far as it is known."""
        return self._disk.size_bytes if self._disk else 0

    def match(self, tokens: Sequence[int], *, begin: int = 0, prefill_tps: float | None) -> list[Hit]:
        """Finds the states that a prompt can start from.

        Args:
            tokens: the prompt without its last token, which has to be computed whatever is kept.
            begin: so many of its tokens are computed already.
            prefill_tps: the speed of computing, in tokens per second; a state that would come from the disk more slowly is
                not used. None uses all.

        Returns:
            Consecutive segments in order, the first one at or before `begin`.
        """
        prompt = pack_tokens(tokens)
        if not self._cuttable:
            match = self._best(self._root, prompt, 0, begin, prefill_tps)
            matches = [match] if match and match.tokens > begin else []
        else:
            matches = self._chain(prompt, begin, prefill_tps)
        return [
            Hit(match.segment.key, match.segment.begin, match.tokens, match.tier, match.segment.size_bytes) for match in matches
        ]

    def read(self, hit: Hit) -> bytes | None:
        """Gives a hit's whole state; None where it is gone since, or was found damaged."""
        state = self.memory.get(hit.key)
        if state is not None or self._disk is None:
            return state
        found = self._disk.read(hit.key)
        if found is None:
            return None
        segment, state = found
        self._remember(segment, state)
        return state

    def missing(self, tokens: Sequence[int]) -> list[tuple[int, int]]:
        """Finds which spans of a computed prompt are worth keeping and not kept anywhere, as [begin, end) in order."""
        writes = self._disk is not None and self._disk.writes
        prompt = pack_tokens(tokens)
        if len(prompt) < LEAST_TOKENS * TOKEN_BYTES or not (self._keeps_ram or writes):
            return []
        if not self._cuttable:
            return [] if self._covered(self._root, prompt) else [(0, len(tokens))]
        spans: list[tuple[int, int]] = []
        parent = self._root
        for begin in range(0, len(tokens), SEGMENT_TOKENS):
            part = prompt[begin * TOKEN_BYTES : (begin + SEGMENT_TOKENS) * TOKEN_BYTES]
            if len(part) < LEAST_TAIL_TOKENS * TOKEN_BYTES:
                break
            if not self._covered(parent, part):
                spans.append((begin, begin + len(part) // TOKEN_BYTES))
            parent = packed_key(parent, part)
        return spans

    def put(self, tokens: Sequence[int], begin: int, end: int, state: bytes) -> None:
        """Keeps the state of one span of a prompt: in memory at once, on the disk later.

        Args:
            tokens: the whole prompt, or at least its beginning up to `end`.
            begin: a multiple of SEGMENT_TOKENS.
            end: at most SEGMENT_TOKENS further; less only for the prompt's last span.
            state: what the engine gave for these positions.

        Raises:
            ValueError: no such span can be a segment.
        """
        if not self._cuttable or begin % SEGMENT_TOKENS or not begin < end <= min(begin + SEGMENT_TOKENS, len(tokens)):
            raise ValueError(f"tokens {begin} to {end} of {len(tokens)} are no segment")
        prompt = pack_tokens(tokens[:end])
        parent = self._root
        for at in range(0, begin, SEGMENT_TOKENS):
            parent = packed_key(parent, prompt[at * TOKEN_BYTES : (at + SEGMENT_TOKENS) * TOKEN_BYTES])
        self._keep(parent, begin, prompt[begin * TOKEN_BYTES :], state)

    def put_checkpoint(self, tokens: Sequence[int], state: bytes) -> None:
        """Keeps the whole state after a prompt's beginning, for engines whose states cannot be cut.

        Raises:
            ValueError: this store holds segments.
        """
        if self._cuttable or not tokens:
            raise ValueError("only states that cannot be cut are kept whole")
        self._keep(self._root, 0, pack_tokens(tokens), state)

    def resize(self, ram_bytes: int) -> None:
        """Lets states in memory take no more than so much from now on, those of stores beside this one too."""
        self.memory.resize(ram_bytes)

    def flush(self, wait_s: float) -> bool:
        """Waits until what was put is on the disk; False where that took longer."""
        return self._disk.flush(wait_s) if self._disk else True

    def close(self, wait_s: float) -> None:
        """Lets go of the memory; what waits for the disk is written for at most so long."""
        self.memory = MemoryTier(0, cuttable=self._cuttable)
        if self._disk:
            self._disk.close(wait_s)

    def _chain(self, prompt: bytes, begin: int, prefill_tps: float | None) -> list[_Match]:
        matches: list[_Match] = []
        parent, at = self._root, 0
        while at * TOKEN_BYTES < len(prompt):
            if at + SEGMENT_TOKENS <= begin:
                # The engine has these: whether they are kept too does not matter, only that they stay if they are.
                parent = packed_key(parent, prompt[at * TOKEN_BYTES : (at + SEGMENT_TOKENS) * TOKEN_BYTES])
                self._touch(parent)
                at += SEGMENT_TOKENS
                continue
            match = self._best(parent, prompt, at, begin, prefill_tps)
            if match is None:
                break
            matches.append(match)
            parent, at = match.segment.key, at + match.tokens
            if match.tokens < SEGMENT_TOKENS:
                break
        if matches and at - max(begin, matches[-1].segment.begin) < min(LEAST_CUT_TOKENS, matches[-1].segment.token_count):
            matches.pop()
        return matches

    def _best(self, parent: bytes, prompt: bytes, at: int, begin: int, prefill_tps: float | None) -> _Match | None:
        """Finds the segment that serves the prompt furthest, of those that are read faster than computed."""
        found = [_Match(segment, count, "ram") for segment, count in self.memory.index.matches(parent, prompt, at)]
        if self._disk is not None:
            found += [_Match(segment, count, tier) for segment, count, tier in self._disk.matches(parent, prompt, at)]
            found.sort(key=lambda match: -match.tokens)
        for match in found:
            useful = at + match.tokens - max(at, begin)
            if match.tier == "disk" and self._disk is not None and self._disk.is_slower(match.segment, useful, prefill_tps):
                continue
            self._touch(match.segment.key)
            return match
        return None

    def _covered(self, parent: bytes, part: bytes) -> bool:
        """Whether a state of these tokens is kept; what is only in memory is offered to the disk again."""
        kept = self.memory.index.covering(parent, part)
        stored = self._disk.covering(parent, part) if self._disk else None
        if kept and stored is None and (state := self.memory.get(kept.key)) is not None:
            self._offer(kept, state)
        for segment in (kept, stored):
            if segment is not None:
                self._touch(segment.key)
        return kept is not None or stored is not None

    def _keep(self, parent: bytes, begin: int, tokens: bytes, state: bytes) -> None:
        segment = Segment(packed_key(parent, tokens), parent, begin, tokens, len(state))
        self._offer(segment, state)
        if self.memory.index.covering(parent, tokens) is None:
            self._remember(segment, state)

    def _remember(self, segment: Segment, state: bytes) -> None:
        if self._keeps_ram:
            self.memory.put(segment, state, self._offer)

    def _offer(self, segment: Segment, state: bytes) -> None:
        if self._disk is not None:
            self._disk.offer(segment, state)

    def _touch(self, key: bytes) -> None:
        self.memory.touch(key)
        if self._disk is not None:
            self._disk.touch(key)
