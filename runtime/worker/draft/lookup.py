"""Guesses by prompt lookup: what followed the last time that these tokens stood in the prompt or the reply."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

GRAM = 3
"""So many tokens in a row are looked up."""
LONGEST = 16
"""Among several places the one wins that agrees with more tokens before it, up to so many."""
NEAR_BEFORE = 8
NEAR_AFTER = 192
"""After a difference the text most likely goes on near the place where it was left: so many tokens around it."""
NEAR_BONUS = 4
"""How many tokens of agreement it is worth to be near."""
NEAR_TOKENS = 48
"""For so many tokens after a difference."""
MOST_CHAIN = 16
"""So many places in the reply are compared, the newest first."""

_BITS = 21
"""Enough for an id of any vocabulary; three of them make one integer."""
_MASK = (1 << _BITS * GRAM) - 1


class Lookup:
    """Finds where the newest tokens of one sequence stood before.

    It keeps its place: as long as the tokens go on as they did there, no search is made. After a difference it looks near
    that place first, since a copy with changes comes back to it. Nothing is indexed before the first guess is asked for.
    """

    def __init__(self, tokens: Sequence[int], *, longest: int = LONGEST) -> None:
        self._tokens = array("i", tokens)
        self._longest = longest
        self._prompt = _NOTHING
        self._index: _Index | None = None
        self._key = 0
        self._latest: dict[int, int] = {}
        """Where each run of `GRAM` tokens stood last in the reply, by the place after it."""
        self._earlier: dict[int, int] = {}
        """For a place in the reply the one before it after the same tokens."""
        self._place: int | None = None
        self._left: int | None = None
        """Where the text that was followed differed, if it did."""
        self._since_left = 0
        self.agreement = 0
        """How many tokens before the guess are the same as those before its place; 0 right after a single difference."""

    @property
    def expected(self) -> int | None:
        """The token guessed next; None for no guess, and as long as none was asked for."""
        return None if self._place is None else self._tokens[self._place]

    def peek(self) -> int | None:
        """Guesses the next token; None where the newest ones are new. The first call makes the index."""
        if self._index is None:
            self._open_index()
        return self.expected

    def draft(self, most: int) -> list[int]:
        """Guesses up to so many tokens that follow; none where the newest ones are new."""
        if self.peek() is None or self._place is None or most <= 0:
            return []
        guess = self._tokens[self._place : self._place + most].tolist()
        # Where the place is so near the end that the guess runs out, the tokens repeat themselves.
        return (guess * (most // len(guess) + 1))[:most] if len(guess) < most else guess

    def append(self, token: int) -> None:
        """Takes the sequence's next token."""
        if self._index is None:
            self._tokens.append(token)
            return
        place = self._place
        went_on = place is not None and self._tokens[place] == token
        self._note_gram(token)
        if place is not None and went_on:
            self._place = place + 1
            self.agreement += 1
            return
        if place is not None and self.agreement >= GRAM:
            self._left, self._since_left = place, 0
        self._search()

    def _open_index(self) -> None:
        self._prompt = np.array(self._tokens, np.int32)
        self._index = _Index(self._prompt)
        for token in self._tokens[-GRAM:]:
            self._key = (self._key << _BITS | token) & _MASK
        self._search()

    def _note_gram(self, token: int) -> None:
        """Appends a token, and enters the run before it: it has a continuation now."""
        end = len(self._tokens)
        if end > len(self._prompt):
            if (before := self._latest.get(self._key)) is not None:
                self._earlier[end] = before
            self._latest[self._key] = end
        self._tokens.append(token)
        self._key = (self._key << _BITS | token) & _MASK

    def _search(self) -> None:
        """Finds the best place anew."""
        self._place, self.agreement = self._find_anywhere()
        if self._left is None:
            return
        self._since_left += 1
        if self._since_left > NEAR_TOKENS:
            return
        place, agreement = self._find_near(self._left)
        if place is not None and agreement + NEAR_BONUS > self.agreement:
            self._place, self.agreement = place, agreement

    def _find_anywhere(self) -> tuple[int | None, int]:
        """Finds the place with the most agreement, the newest of equals; gives it and its agreement."""
        best, most = None, 0
        place = self._latest.get(self._key)
        for _ in range(MOST_CHAIN):
            if place is None:
                break
            agreement = self._agreement_at(place)
            if agreement > most:
                best, most = place, agreement
            place = self._earlier.get(place)
        if self._index is not None and most < self._longest:
            places = self._index.places(self._key)
            if len(places):
                place = self._narrow(places)
                agreement = self._agreement_at(place)
                if agreement > most:
                    best, most = place, agreement
        return best, most

    def _narrow(self, places: npt.NDArray[np.int32]) -> int:
        """Finds the place in the prompt with the most agreement, the last of equals."""
        for back in range(GRAM + 1, self._longest + 1):
            if len(places) == 1 or back > len(self._tokens):
                break
            # A place near the beginning wraps around to the end, and is judged by what is there: it is a guess.
            further = places[self._prompt[places - back] == self._tokens[-back]]
            if not len(further):
                break
            places = further
        return int(places[-1])

    def _find_near(self, left: int) -> tuple[int | None, int]:
        """Finds the place near where the text was left that agrees most, of equals the first after it."""
        tokens, newest = self._tokens, self._tokens[-1]
        first, last = max(0, left - NEAR_BEFORE), min(left + NEAR_AFTER, len(tokens) - 1)
        best: int | None = None
        most = 0
        place = first
        while True:
            try:
                place = tokens.index(newest, place, last) + 1
            except ValueError:
                break
            agreement = self._agreement_at(place)
            if agreement > most or (best is not None and best < left and agreement == most):
                best, most = place, agreement
        if best is None and self._since_left == 1 and left + 1 < len(tokens):
            # One token took the place of another, perhaps.
            return left + 1, 0
        return best, most

    def _agreement_at(self, place: int) -> int:
        """How many of the newest tokens stand before a place, too."""
        tokens = self._tokens
        end = len(tokens)
        most = min(self._longest, place)
        count = 0
        while count < most and tokens[place - 1 - count] == tokens[end - 1 - count]:
            count += 1
        return count


class _Index:
    """Where each run of `GRAM` tokens stands in a prompt: two arrays, sorted by the run and then by the place."""

    def __init__(self, tokens: npt.NDArray[np.int32]) -> None:
        wide = tokens.astype(np.int64)
        # The last run has no continuation yet.
        count = max(0, len(wide) - GRAM)
        keys = np.zeros(count, np.int64)
        for offset in range(GRAM):
            keys = keys << _BITS | wide[offset : offset + count]
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        self._places = (order + GRAM).astype(np.int32)

    def places(self, key: int) -> npt.NDArray[np.int32]:
        """Gives the places after this run, in order."""
        wanted = np.int64(key)
        first = self._keys.searchsorted(wanted, "left")
        return self._places[first : self._keys.searchsorted(wanted, "right")]


_NOTHING = np.zeros(0, np.int32)
