"""Labels and what is known under them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from textual.reactive import reactive
from textual.strip import Strip

from ..format import fit, wrap
from .flow import clean_lines
from .scroller import Scroller

Fact = tuple[str, str, str]
"""A label, a text and its tone."""

LABEL_WIDTH: Final = 13


class Facts(Scroller):
    """A list of labelled texts, wrapped so that nothing of them is lost."""

    facts = reactive[tuple[Fact, ...]]((), repaint=False, init=False)

    def watch_facts(self) -> None:
        """Shows them."""
        self.lines_changed()

    def line_count(self) -> int:
        """Counts the lines after wrapping."""
        return len(self._lines())

    def build_line(self, index: int, width: int) -> Strip:
        """Gives one line."""
        label, text, tone = self._lines()[index]
        return self.line([(f" {fit(label, LABEL_WIDTH)}", self.tone("dim")), (text, self.tone(tone))], width)

    def _lines(self) -> Sequence[Fact]:
        room = max(8, self.size.width - LABEL_WIDTH - 3)
        lines: list[Fact] = []
        for label, text, tone in self.facts:
            for place, piece in enumerate(wrap(clean_lines(text), room)):
                lines.append((label if place == 0 else "", piece, tone))
        return lines
