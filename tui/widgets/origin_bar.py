"""Where a prompt's tokens came from, as a bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from textual.reactive import reactive
from textual.strip import Strip

from ...runtime.events import PrefixReport
from ..format import count
from .lines import LineWidget, Part, width_of

_LOOKS: Final = (("from memory", "█", "good"), ("from disk", "▓", "accent"), ("computed", "░", "dim"))


class OriginBar(LineWidget):
    """A bar of three fills and a legend with counts; each part has its own character beside its own colour."""

    report = reactive[PrefixReport | None](None, repaint=False, init=False)

    def watch_report(self) -> None:
        """Shows it."""
        self.rebuild()

    def build(self, width: int, height: int) -> Sequence[Strip]:
        """Gives the bar, on as many lines as there are above the legend."""
        report = self.report
        if report is None:
            return [self.line([("? Nothing of the prompt has been computed.", self.tone("dim"))], width)]
        amounts = (report.ram_tokens, report.disk_tokens, report.computed_tokens)
        bar = self.line(self._bar(amounts, width), width)
        return [*([bar] * max(1, height - 1)), self.line(self._legend(amounts, width), width)]

    def _bar(self, amounts: Sequence[int], width: int) -> list[Part]:
        total = max(1, sum(amounts))
        # What is there at all is seen, were it one cell.
        cells = [max(1, round(amount / total * width)) if amount else 0 for amount in amounts]
        cells[cells.index(max(cells))] += width - sum(cells)
        return [(mark * wide, self.tone(tone)) for (_, mark, tone), wide in zip(_LOOKS, cells, strict=True)]

    def _legend(self, amounts: Sequence[int], width: int) -> list[Part]:
        legend: list[Part] = []
        for (name, mark, tone), amount in zip(_LOOKS, amounts, strict=True):
            legend += [
                (f"{mark} ", self.tone(tone)),
                (f"{name} ", self.tone("dim")),
                (count(amount), self.tone("strong")),
                ("   ", self.plain),
            ]
        while legend and sum(width_of(text) for text, _ in legend[:-1]) > width:
            legend = legend[:-4]
        return legend
