"""Text that arrives bit by bit, read as if it were there: what needs more of it waits."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import TypeAlias, TypeVar

from .marks import Marks

_T = TypeVar("_T")
Steps: TypeAlias = Generator[None, None, _T]
"""Reads on, and yields whenever it needs more text; gives its result at the end. Used by `yield from`."""

_BLANKS = re.compile(r"\s*")


class Reader:
    """A place in a text that grows.

    `text` from `at` on is what nobody took yet. Once `ended`, nothing more comes, and no step waits.
    """

    __slots__ = ("_kept", "_kept_from", "_taken", "at", "ended", "text")

    def __init__(self) -> None:
        self.text = ""
        self.at = 0
        self.ended = False
        self._taken = 0
        """How many characters were taken before the first of `text`."""
        self._kept: list[str] | None = None
        self._kept_from = 0

    def feed(self, text: str) -> None:
        """Adds text at the end."""
        self._taken += self.at
        self.text = self.text[self.at :] + text if self.at < len(self.text) else text
        self.at = 0

    @property
    def place(self) -> int:
        """How many characters were taken so far."""
        return self._taken + self.at

    def take(self, end: int) -> str:
        """Takes the text up to an offset in `text`."""
        taken = self.text[self.at : end]
        self.at = end
        if self._kept is not None:
            self._kept.append(taken)
        return taken

    def keep(self, before: str = "") -> None:
        """Keeps all that is taken from here on, and this that was taken right before."""
        self._kept = [before]
        self._kept_from = self.place - len(before)

    def kept(self, since: int | None = None) -> str:
        """Gives what was kept, from a place on, or all of it; it stays kept."""
        text = "".join(self._kept or ())
        return text if since is None else text[since - self._kept_from :]

    def forget(self) -> None:
        """Keeps nothing more."""
        self._kept = None

    def peek(self) -> Steps[str]:
        """Gives the next character without taking it; "" at the end."""
        while self.at >= len(self.text):
            if self.ended:
                return ""
            yield
        return self.text[self.at]

    def blanks(self) -> Steps[str]:
        """Takes the blanks that come next, all of them."""
        while True:
            match = _BLANKS.match(self.text, self.at)
            end = match.end() if match else self.at
            if end < len(self.text) or self.ended:
                return self.take(end)
            yield

    def option(self, *options: str) -> Steps[str]:
        """Takes the one of these that comes next and gives it, or "". Of two that begin alike name the longer one first."""
        while True:
            rest = self.text[self.at :]
            waits = not self.ended
            for option in options:
                if rest.startswith(option):
                    return self.take(self.at + len(option))
                if waits and option.startswith(rest):
                    break
            else:
                return ""
            yield

    def take_cut(self, *marks: str) -> bool:
        """Takes what is left if the answer was cut within one of these; for places where nothing else can follow."""
        rest = self.text[self.at :]
        if not (self.ended and rest and any(mark.startswith(rest) for mark in marks)):
            return False
        self.take(len(self.text))
        return True

    def until(self, marks: Marks, say: Callable[[str], object], *, takes: bool = True, drops_cut: bool = False) -> Steps[str]:
        """Hands on all text before the first mark, takes that too and gives it; "" when the text ends without.

        Args:
            marks: what ends the stretch.
            say: takes the text before it, as it comes.
            takes: whether the mark is taken.
            drops_cut: whether the beginning of a mark, at the end of the answer, is taken for one that was cut off.
        """
        while True:
            found = marks.find(self.text, self.at)
            if found is not None:
                start, end = found
                if start > self.at:
                    say(self.take(start))
                return self.take(end) if takes else self.text[start:end]
            end = len(self.text) if self.ended and not drops_cut else marks.held_from(self.text, self.at)
            if end > self.at:
                say(self.take(end))
            if self.ended:
                self.take(len(self.text))
                return ""
            yield
