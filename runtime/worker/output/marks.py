"""Texts that mean something in a model's own syntax: found across the borders of tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable


class Marks:
    """Finds the first of some texts, and what may be the beginning of one.

    Args:
        texts: none of them the beginning of another; empty ones are left out.
    """

    __slots__ = ("_firsts", "_longest", "_pattern", "texts")

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = tuple(dict.fromkeys(text for text in texts if text))
        ordered = sorted(self.texts, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered)) or r"(?!)")
        self._firsts = tuple({text[0] for text in self.texts})
        self._longest = max(map(len, self.texts), default=0)

    def __bool__(self) -> bool:
        return bool(self.texts)

    def find(self, text: str, at: int = 0) -> tuple[int, int] | None:
        """Gives where the first mark begins and ends."""
        match = self._pattern.search(text, at)
        return match and match.span()

    def held_from(self, text: str, at: int = 0) -> int:
        """Gives where the end of a text, without a whole mark in it, may be the beginning of one; its length if nowhere."""
        first = len(text)
        earliest = max(at, first - self._longest + 1)
        for char in self._firsts:
            begin = earliest
            while (begin := text.find(char, begin)) >= 0:
                if any(mark.startswith(text[begin:]) for mark in self.texts):
                    first = min(first, begin)
                    break
                begin += 1
        return first
