"""Answers that are free until they write a certain text, as the opening of a tool call."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .matcher import ConstraintFailed, FormMatcher, Matcher

if TYPE_CHECKING:
    import llguidance


class PieceIndex:
    """What each token writes, in order, to find the tokens that begin alike."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces
        self._sorted: list[int] = []
        """Ordered by piece; empty until it is needed."""

    def beginning_with(self, begin: bytes) -> list[int]:
        """Finds the tokens that begin so."""
        if not self._sorted:
            self._sorted = sorted(range(len(self.pieces)), key=self.pieces.__getitem__)
        at = bisect_left(self._sorted, begin, key=self.pieces.__getitem__)
        found: list[int] = []
        while at < len(self._sorted) and self.pieces[self._sorted[at]].startswith(begin):
            found.append(self._sorted[at])
            at += 1
        return found


class Triggers:
    """The texts that end the freedom, for all answers with the same constraint.

    Args:
        grammar: what is held behind one of them; it stays unused, each answer begins with a copy. None lets none of them come.
        texts: the triggers in UTF-8, none empty.
        repeats: whether the answer is free again behind it; else it must come once and be the last.
        index: the vocabulary.
        ends: the tokens that end an answer.
        tokenize: cuts bytes into tokens that write them.
    """

    def __init__(
        self,
        grammar: llguidance.LLMatcher | None,
        texts: tuple[bytes, ...],
        *,
        repeats: bool,
        index: PieceIndex,
        ends: frozenset[int],
        tokenize: Callable[[bytes], list[int]],
    ) -> None:
        self._grammar = grammar
        self._texts = texts
        self.repeats = repeats
        self._index = index
        self.ends = ends
        self._tokenize = tokenize
        self._whole = [token for token, piece in enumerate(index.pieces) if any(text in piece for text in texts)]
        """Tokens that write a trigger by themselves."""
        self._allowed: dict[bytes, NDArray[np.bool_] | None] = {}

    def open(self) -> FormMatcher:
        """Makes a matcher for what stands behind a trigger; raises ConstraintFailed where none may come."""
        if self._grammar is None:
            raise ConstraintFailed("the answer holds a text that may not come in it")
        return FormMatcher(self._grammar.deep_copy(), ends=self.ends, size=len(self._index.pieces))

    def write(self, tail: bytes, token: int) -> tuple[bytes, list[int] | None]:
        """Adds a token's text to what was written before.

        Returns:
            The new tail, as much as a trigger may begin with; and the tokens behind a trigger, or None without one.
        """
        text = tail + self._index.pieces[token]
        rest = self._rest(text)
        return (b"", self._tokenize(rest) if rest else []) if rest is not None else (self._begun(text), None)

    def allowed(self, tail: bytes) -> NDArray[np.bool_] | None:
        """Tells which tokens may come: not those that complete a trigger and go on with what cannot follow it."""
        if tail not in self._allowed:
            endings = {text[at:] for text in self._texts for at in range(1, len(text)) if tail.endswith(text[:at])}
            completing = (token for ending in endings for token in self._index.beginning_with(ending))
            denied = [token for token in {*self._whole, *completing} if not self._fits(tail + self._index.pieces[token])]
            if not self.repeats:
                denied.extend(self.ends)
            allowed = None
            if denied:
                allowed = np.ones(len(self._index.pieces), np.bool_)
                allowed[denied] = False
            self._allowed[tail] = allowed
        return self._allowed[tail]

    def _fits(self, text: bytes) -> bool:
        if self._grammar is None:
            return False
        rest = self._rest(text)
        tokens = self._tokenize(rest) if rest else []
        return self._grammar.validate_tokens(tokens) == len(tokens)

    def _rest(self, text: bytes) -> bytes | None:
        """What stands behind the first trigger in a text; None without one."""
        behind = [(at, at + len(trigger)) for trigger in self._texts if (at := text.find(trigger)) >= 0]
        return text[min(behind)[1] :] if behind else None

    def _begun(self, text: bytes) -> bytes:
        """The longest end of a text that a trigger begins with."""
        longest = max(map(len, self._texts)) - 1
        ends = (text[-length:] for length in range(min(len(text), longest), 0, -1))
        return next((end for end in ends if any(trigger.startswith(end) for trigger in self._texts)), b"")


class TriggeredMatcher(Matcher):
    """Holds an answer from a trigger on."""

    def __init__(self, triggers: Triggers, tail: bytes = b"", held: FormMatcher | None = None) -> None:
        self._triggers = triggers
        self._tail = tail
        """The newest text while the answer is free, as far as a trigger may begin in it."""
        self._held = held
        """What the answer is held to; None while it is free."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing may follow but the end; never where the answer is free again."""
        return self._held is not None and not self._triggers.repeats and self._held.is_complete

    def allowed(self) -> NDArray[np.bool_] | None:
        """Tells which tokens may come next; None where each may."""
        return self._triggers.allowed(self._tail) if self._held is None else self._held.allowed()

    def accept(self, token: int) -> None:
        """Takes note of the token that was chosen."""
        if token in self._triggers.ends:
            return
        if self._held is not None:
            self._held.accept(token)
        else:
            self._tail, behind = self._triggers.write(self._tail, token)
            if behind is not None:
                self._held = self._triggers.open()
                for one in behind:
                    self._held.accept(one)
        if self._triggers.repeats and self._held is not None and self._held.is_complete:
            self._held = None

    def allowed_prefix(self, tokens: Sequence[int]) -> int:
        """Counts how many of these tokens may come."""
        if self._held is not None and not self._triggers.repeats:
            return self._held.allowed_prefix(tokens)
        return TriggeredMatcher(self._triggers, self._tail, self._held.copy() if self._held else None).take(tokens)

    def take(self, tokens: Sequence[int]) -> int:
        """Accepts these tokens as long as they are allowed, and counts them."""
        for count, token in enumerate(tokens):
            if token in self._triggers.ends or not self._may_come(token):
                return count
            self.accept(token)
        return len(tokens)

    def _may_come(self, token: int) -> bool:
        if self._held is not None:
            return self._held.allowed_prefix([token]) == 1
        allowed = self._triggers.allowed(self._tail)
        return allowed is None or bool(allowed[token])
