"""One quantity: its value in words, a bar, and its last minutes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.style import Style
from textual.reactive import reactive
from textual.strip import Strip

from ..format import fit
from .braille import area
from .lines import LineWidget, Part, width_of

Tone = str


@dataclass(frozen=True, slots=True)
class Level:
    """What a gauge shows."""

    value: str
    """In words: "43 %", "✓ nominal", "? unknown"."""
    tone: Tone = ""
    note: str = ""
    """Something more about it, shown where there is room."""
    share: float | None = None
    """How full the bar is, 0..1; None draws none."""
    history: Sequence[float | None] = ()
    """Of the last minutes, oldest first."""
    history_top: float = 100.0
    """The value that fills the history's whole height."""


class Gauge(LineWidget):
    """Shows a level; grows from one line to a panel with history."""

    level = reactive(Level("? unknown", "dim"), repaint=False, init=False)

    def watch_level(self) -> None:
        """Shows it."""
        self.rebuild()

    def build(self, width: int, height: int) -> Sequence[Strip]:
        """Gives the value, the bar and the history, as many of them as fit."""
        level = self.level
        value: Part = (level.value, self.tone(level.tone) + Style(bold=True))
        if height == 1:
            room = width - width_of(level.value) - 1
            return [self.line([value, (" ", self.plain), *self._small(room)], width)]
        note = fit(level.note, max(0, width - width_of(level.value) - 1), right=True)
        strips = [self.line([value, (" ", self.plain), (note, self.tone("dim"))], width)]
        if level.share is not None:
            strips.append(self.line(self._bar(level.share, width), width))
        rest = height - len(strips)
        if rest > 0 and any(point is not None for point in level.history):
            strips.extend(self._history(width, rest))
        return strips

    def _small(self, width: int) -> list[Part]:
        if width < 4:
            return []
        if any(point is not None for point in self.level.history):
            row = area(self.level.history, width, 1, top=self.level.history_top)[0]
            return [(row, self.tone(self.level.tone))]
        if self.level.share is not None:
            return self._bar(self.level.share, width)
        note = self.level.note if width_of(self.level.note) <= width else ""
        return [(fit(note, width, right=True), self.tone("dim"))]

    def _bar(self, share: float, width: int) -> list[Part]:
        filled = max(0, min(width, round(share * width)))
        track = self.tone("line")
        return [("━" * filled, self.tone(self.level.tone)), ("─" * (width - filled), track)]

    def _history(self, width: int, height: int) -> list[Strip]:
        level = self.level
        rows = area(level.history, width, height, top=level.history_top)
        return [self.line([(row, self.tone(level.tone))], width) for row in rows]
