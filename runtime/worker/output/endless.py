"""Sees an answer that says the same again and again, as small models do until their context is full."""

from __future__ import annotations

LENGTH = 4096
"""So many bytes must be one text over and over: more than a thousand tokens, beyond any table that is meant so."""
LONGEST_UNIT = 512
"""The longest text that counts as one said over and over; it was said eight times then."""
_LOOK_EVERY = 256
_SUFFIX = 64


class Endless:
    """Takes an answer's bytes, and says when it has begun to go round in a circle."""

    __slots__ = ("_tail", "_unseen")

    def __init__(self) -> None:
        self._tail = bytearray()
        self._unseen = 0

    def push(self, piece: bytes) -> bool:
        """Takes a token's bytes; True where the last `LENGTH` are one text over and over, to the byte."""
        self._tail += piece
        self._unseen += len(piece)
        if self._unseen < _LOOK_EVERY:
            return False
        self._unseen = 0
        del self._tail[:-LENGTH]
        if len(self._tail) < LENGTH:
            return False
        tail = bytes(self._tail)
        unit = LENGTH - _SUFFIX - tail.rfind(tail[-_SUFFIX:], 0, LENGTH - 1)
        return unit <= LONGEST_UNIT and tail[unit:] == tail[:-unit]
