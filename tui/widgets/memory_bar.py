"""The machine's memory, split by who holds it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.style import Style
from textual.reactive import reactive
from textual.strip import Strip

from ..format import size
from ..memory import MemorySplit
from .lines import LineWidget, Part, width_of


class MemoryBar(LineWidget):
    """A bar of four fills and a legend with figures; each part has its own character beside its own colour."""

    split = reactive[MemorySplit | None](None, repaint=False, init=False)

    def watch_split(self, split: MemorySplit | None) -> None:
        """Shows it, and writes the sums into the frame."""
        self.rebuild()
        self.write_subtitle(f"{size(split.used_bytes)} of {size(split.total_bytes)} used" if split else "unknown")

    def build(self, width: int, height: int) -> Sequence[Strip]:
        """Gives the bar, on two lines where there is room, and the legend."""
        split = self.split
        if split is None:
            return [self.line([("? The machine does not tell how much memory is used.", self.tone("dim"))], width)]
        parts = (
            ("models", "█", split.models_bytes),
            ("this app", "▓", split.app_bytes),
            ("other", "▒", split.other_bytes),
            ("free", "·", split.free_bytes),
        )
        bar = self.line(self._bar(parts, split.total_bytes, width), width)
        return [*([bar] * max(1, height - 1)), self.line(self._legend(parts, width), width)]

    def _bar(self, parts: Sequence[tuple[str, str, int | None]], total: int, width: int) -> list[Part]:
        edges = [0]
        reached = 0
        for _, _, amount in parts[:-1]:
            reached += amount or 0
            edge = round(reached / total * width)
            # What is there at all is seen, were it one cell.
            edges.append(min(width, max(edge, edges[-1] + (1 if amount else 0))))
        edges.append(width)
        return [
            (mark * (right - left), self._style(name))
            for (name, mark, _), left, right in zip(parts, edges, edges[1:], strict=False)
        ]

    def _legend(self, parts: Sequence[tuple[str, str, int | None]], width: int) -> list[Part]:
        legend: list[Part] = []
        gap = "   " if width >= 80 else "  "
        for name, mark, amount in parts:
            legend += [
                (f"{mark * 2 if width >= 80 else mark} ", self._style(name)),
                (f"{name} ", self.tone("dim")),
                (size(amount), self.tone("strong")),
                (gap, self.plain),
            ]
        while legend and sum(width_of(text) for text, _ in legend) > width + len(gap):
            legend = legend[:-4]
        return legend

    def _style(self, name: str) -> Style:
        return self.tone(name.removeprefix("this "))
