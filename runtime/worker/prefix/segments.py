"""Runs of a prompt's tokens whose states are kept, how they are named, and how a new prompt finds them.

A segment's name is a hash of all tokens up to its end and of everything that shaped its state, so prompts that begin
alike name the same segments. Tokens are held packed: int32, little-endian, one after the other.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

SEGMENT_TOKENS = 256
"""Every segment but a prompt's last one has so many tokens and begins at a multiple of them."""
LEAST_TOKENS = 64
"""A shorter prompt is not worth a segment."""
LEAST_TAIL_TOKENS = 8
"""Behind whole segments a shorter end is: far back in a prompt each token takes several times as long to compute."""
TOKEN_BYTES = 4
KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class Segment:
    """Some consecutive tokens of a prompt and what their state weighs."""

    key: bytes
    parent: bytes
    """The key of the segment before it, or the root key."""
    begin: int
    """The position of its first token."""
    tokens: bytes
    """Packed."""
    size_bytes: int
    """Of the state."""

    @property
    def token_count(self) -> int:
        """How many positions the state is for."""
        return len(self.tokens) // TOKEN_BYTES


def pack_tokens(tokens: Sequence[int]) -> bytes:
    """Gives token ids as int32, little-endian."""
    packed = array("i", tokens)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def root_key(*parts: bytes) -> bytes:
    """Gives the parent of all first segments: a hash of everything that makes one engine's states unlike another's."""
    digest = blake2b(digest_size=KEY_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def child_key(parent: bytes, tokens: Sequence[int]) -> bytes:
    """Gives the key of a segment by its parent's and its own tokens."""
    return packed_key(parent, pack_tokens(tokens))


def packed_key(parent: bytes, tokens: bytes) -> bytes:
    """Gives the same as `child_key` for packed tokens."""
    return blake2b(parent + tokens, digest_size=KEY_BYTES).digest()


def common_tokens(one: bytes, one_at: int, other: bytes, other_at: int) -> int:
    """How many tokens two packed runs have in common, from a byte offset on in each."""
    low, high = 0, min(len(one) - one_at, len(other) - other_at) // TOKEN_BYTES
    # Slices compare in C: all of it at once where it is the same, else halves until the first difference.
    middle = high
    while low < high:
        begin, end = low * TOKEN_BYTES, middle * TOKEN_BYTES
        if one.startswith(other[other_at + begin : other_at + end], one_at + begin):
            low = middle
        else:
            high = middle - 1
        middle = (low + high + 1) // 2
    return low


class SegmentIndex:
    """Known segments by their key and by their parent's.

    Args:
        cuttable: whether a state can be cut back to fewer tokens, so that a segment serves a prompt that leaves it halfway.
    """

    def __init__(self, *, cuttable: bool) -> None:
        self._cuttable = cuttable
        self._by_key: dict[bytes, Segment] = {}
        self._children: dict[bytes, dict[bytes, Segment]] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __contains__(self, key: bytes) -> bool:
        return key in self._by_key

    def __iter__(self) -> Iterator[Segment]:
        return iter(self._by_key.values())

    def get(self, key: bytes) -> Segment | None:
        """Finds a segment by its key."""
        return self._by_key.get(key)

    def add(self, segment: Segment) -> None:
        """Takes a segment in; one with the same key is replaced."""
        self._by_key[segment.key] = segment
        self._children.setdefault(segment.parent, {})[segment.key] = segment

    def discard(self, key: bytes) -> Segment | None:
        """Forgets a segment; gives it, or None where it was unknown."""
        segment = self._by_key.pop(key, None)
        if segment is not None:
            siblings = self._children[segment.parent]
            del siblings[key]
            if not siblings:
                del self._children[segment.parent]
        return segment

    def has_children(self, key: bytes) -> bool:
        """Whether a segment is known that continues this one."""
        return key in self._children

    def matches(self, parent: bytes, prompt: bytes, begin: int = 0) -> list[tuple[Segment, int]]:
        """Finds the segments that serve a prompt from a position on, the best first.

        Args:
            parent: the key of what the prompt has before that position.
            prompt: the whole prompt, packed.
            begin: the position of the segments' first token.

        Returns:
            Each with how many of its tokens the prompt shares: all of them, unless states can be cut.
        """
        at = begin * TOKEN_BYTES
        whole = prompt[at : at + SEGMENT_TOKENS * TOKEN_BYTES]
        if self._cuttable and (segment := self._by_key.get(packed_key(parent, whole))):
            return [(segment, segment.token_count)]
        found: list[tuple[Segment, int]] = []
        for segment in self._children.get(parent, {}).values():
            if self._cuttable:
                if shared := common_tokens(segment.tokens, 0, prompt, at):
                    found.append((segment, shared))
            elif prompt.startswith(segment.tokens, at):
                found.append((segment, segment.token_count))
        found.sort(key=lambda match: (-match[1], match[0].size_bytes))
        return found

    def covering(self, parent: bytes, tokens: bytes) -> Segment | None:
        """Finds a segment that holds the state of exactly these tokens, or, where states can be cut, of these and more."""
        if segment := self._by_key.get(packed_key(parent, tokens)):
            return segment
        if not self._cuttable:
            return None
        siblings = self._children.get(parent, {}).values()
        return next((segment for segment in siblings if segment.tokens.startswith(tokens)), None)

    def superseded(self, segment: Segment) -> list[Segment]:
        """Finds the shorter siblings that nobody needs beside this segment."""
        if not self._cuttable:
            return []
        return [
            sibling
            for sibling in self._children.get(segment.parent, {}).values()
            if len(sibling.tokens) < len(segment.tokens) and segment.tokens.startswith(sibling.tokens)
        ]
