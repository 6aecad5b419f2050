"""Two texts beside each other, and where they part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from textual.reactive import reactive
from textual.strip import Strip

from ..format import fit, wrap
from .flow import clean_lines
from .lines import Part
from .scroller import Scroller

_GAP: Final = " │ "


@dataclass(frozen=True, slots=True)
class Side:
    """One of the texts."""

    title: str
    text: str


class Sides(Scroller):
    """Wraps each text to its share of the width; what all of them begin with is dim, the rest is not."""

    sides = reactive[tuple[Side, ...]]((), repaint=False, init=False)
    head_lines = 1

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._columns: list[list[tuple[str, str]]] = []
        """Line by line: what is the same, and what is not."""

    def watch_sides(self) -> None:
        """Wraps them and shows where they part."""
        self._wrap()
        self._show_parting()

    def on_resize(self) -> None:
        """Wraps them for another width."""
        self._wrap()
        self._show_parting()

    def line_count(self) -> int:
        """Counts the lines of the longest text."""
        return max(map(len, self._columns), default=0)

    def build_head(self, width: int) -> Sequence[Strip]:
        """Gives the titles."""
        wide = self._column_width(width)
        parts: list[Part] = []
        for place, side in enumerate(self.sides):
            parts += [(_GAP if place else " ", self.tone("line")), (fit(side.title, wide), self.tone("head"))]
        return [self.line(parts, width)]

    def build_line(self, index: int, width: int) -> Strip:
        """Gives one line of each."""
        wide = self._column_width(width)
        parts: list[Part] = []
        for place, column in enumerate(self._columns):
            same, other = column[index] if index < len(column) else ("", "")
            rest = fit(same + other, wide)[len(same) :]
            parts += [
                (_GAP if place else " ", self.tone("line")),
                (same, self.tone("dim")),
                (rest, self.tone("strong" if other.strip() else "")),
            ]
        return self.line(parts, width)

    def _column_width(self, width: int) -> int:
        sides = max(1, len(self.sides))
        return max(8, (width - 2 - len(_GAP) * (sides - 1)) // sides)

    def _show_parting(self) -> None:
        if self._columns:
            parting = next((place for place, (_, other) in enumerate(self._columns[-1]) if other), 0)
            # Some of what comes before tells where that is.
            self.top = self._clamp(parting - self.body_height // 3)

    def _wrap(self) -> None:
        # One cell less than there is, for the scroll bar.
        wide = self._column_width(self.size.width - 1)
        texts = [clean_lines(side.text) for side in self.sides]
        same = _common_length(texts) if len(texts) > 1 else 0
        self._columns = [_split_lines(text, wide, same) for text in texts]
        self.lines_changed()


def _common_length(texts: Sequence[str]) -> int:
    pairs = enumerate(zip(*texts, strict=False))
    return next((place for place, letters in pairs if len(set(letters)) > 1), min(map(len, texts)))


def _split_lines(text: str, wide: int, same: int) -> list[tuple[str, str]]:
    """Wraps a text, and cuts the line in which `same` characters end."""
    lines: list[tuple[str, str]] = []
    at = 0
    for line in wrap(text, wide):
        at = text.find(line, at)
        cut = max(0, min(len(line), same - at))
        lines.append((line[:cut], line[cut:]))
        at += len(line)
    return lines
