"""The models in memory and how busy they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.reactive import reactive
from textual.strip import Strip

from ..format import bar, fit, one_line, wrap
from .lines import LineWidget, Part, width_of


@dataclass(frozen=True, slots=True)
class EngineCard:
    """One model that is in memory, comes or went down."""

    name: str
    state: tuple[str, str]
    """In words, and its tone."""
    facts: tuple[str, ...] = ()
    """Short lines under the name."""
    fill: float | None = None
    """Of the bar, 0..1: of the cache while it serves, of the loading while it loads."""
    fill_label: str = ""
    trouble: str = ""
    """Why it failed; wrapped."""


class EngineCards(LineWidget):
    """A list of cards, as many as fit."""

    cards = reactive[tuple[EngineCard, ...]]((), repaint=False, init=False)
    hint = reactive("")
    """Stands there while there are no cards."""

    def watch_cards(self) -> None:
        """Shows them."""
        self.rebuild()

    def build(self, width: int, height: int) -> Sequence[Strip]:
        """Gives the cards' lines, one blank line between two."""
        if not self.cards:
            return [self.line([(line, self.tone("dim"))], width) for line in wrap(self.hint, width)]
        strips: list[Strip] = []
        for card in self.cards:
            if strips:
                strips.append(Strip.blank(width, self.plain))
            strips.extend(self._card(card, width))
        return strips[:height]

    def _card(self, card: EngineCard, width: int) -> list[Strip]:
        word, tone = card.state
        name = fit(one_line(card.name), max(8, width - width_of(word) - 1))
        strips = [self.line([(name, self.tone("strong")), (" ", self.plain), (word, self.tone(tone))], width)]
        if card.fill is not None:
            strips.append(self.line(self._bar(card, width), width))
        strips += [self.line([(line, self.tone("dim"))], width) for line in card.facts]
        strips += [self.line([(line, self.tone("bad"))], width) for line in wrap(one_line(card.trouble), width) if line]
        return strips

    def _bar(self, card: EngineCard, width: int) -> list[Part]:
        label = f" {card.fill_label}"
        line = bar(card.fill, max(4, width - width_of(label)))
        filled = line.rstrip("─")
        return [(filled, self.tone("accent")), (line[len(filled) :], self.tone("line")), (label, self.tone("dim"))]
