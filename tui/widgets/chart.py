"""Tokens per second of each model over the last minutes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.style import Style
from textual import work
from textual.geometry import Size
from textual.reactive import reactive
from textual.strip import Strip

from ..format import fit, one_line, rate
from .lines import LineWidget, Part, width_of

log = logging.getLogger(__name__)

MARKS: Final = ("A", "B", "C", "D")
"""Stand in the legend and on the curves."""
MAX_CURVES: Final = len(MARKS)
_MARGIN: Final = 7
"""Cells left of the canvas, for the figures of the y axis."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One model's curve."""

    name: str
    rates: tuple[float, ...]
    """One per second, oldest first."""


class Chart(LineWidget):
    """A legend with the newest figures, and a plot below it that a thread draws."""

    traces = reactive[tuple[Trace, ...]]((), repaint=False)
    hint = reactive("")
    """Stands where the curves would be while there are none."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._canvas: Sequence[Strip] = ()
        self._canvas_size = Size(0, 0)
        self._drawing = False
        self._waiting = False

    def watch_traces(self) -> None:
        """Has the plot drawn anew."""
        self._order()

    def on_resize(self) -> None:
        """Has the plot drawn for its new size."""
        self._order()

    def notify_style_update(self) -> None:
        """Has the plot drawn in the new colours."""
        super().notify_style_update()
        if self.is_attached:
            self.call_later(self._order)

    def build(self, width: int, height: int) -> Sequence[Strip]:
        """Gives the legend and the newest plot."""
        if not self.traces:
            above = max(0, (height - 1) // 2)
            blank = Strip.blank(width, self.plain)
            words = self.hint.center(width)
            return [*([blank] * above), self.line([(words, self.tone("dim"))], width)]
        canvas = self._canvas if self._canvas_size == Size(width, height - 1) else ()
        return [self.line(self._legend(width), width), *canvas]

    def _legend(self, width: int) -> list[Part]:
        legend: list[Part] = []
        room = max(8, width // len(self.traces) - 18)
        for place, trace in enumerate(self.traces):
            name = one_line(trace.name)
            legend += [
                (f" {MARKS[place]} ━ ", self._series(place)),
                (fit(name, min(room, width_of(name))), self.plain),
                (f" {rate(trace.rates[-1] if trace.rates else None)} tok/s  ", self.tone("strong")),
            ]
        return legend

    def _series(self, place: int) -> Style:
        return self.tone(f"series-{place + 1}")

    def _order(self) -> None:
        """Asks for a drawing; while one is made, at most one more waits."""
        if not self.traces or self.size.width < 24 or self.size.height < 5:
            self.refresh()
        elif self._drawing:
            self._waiting = True
        else:
            self._drawing = True
            self._draw()

    @work(group="draw", exit_on_error=False)
    async def _draw(self) -> None:
        try:
            self._waiting = True
            while self._waiting:
                self._waiting = False
                size = Size(self.size.width, self.size.height - 1)
                colors = [self._series(place) for place in range(len(self.traces))]
                axis, text = self.tone("line"), self.tone("dim")
                self._canvas = await asyncio.to_thread(_plot, size, self.traces, colors, axis, text, self.plain)
                self._canvas_size = size
                self.write_subtitle(f"now {rate(sum(trace.rates[-1] for trace in self.traces if trace.rates))} tok/s")
                self.rebuild()
        except Exception:
            log.exception("The throughput could not be drawn")
        finally:
            self._drawing = False


def _plot(
    size: Size, traces: Sequence[Trace], colors: Sequence[Style], axis: Style, text: Style, background: Style
) -> Sequence[Strip]:
    """Draws; runs in a thread, as it takes ten milliseconds and more."""
    # Importing plotext takes a tenth of a second, which the first paint must not wait for.
    from .plot import Curve, PlotOrder, draw

    span = max(30, min(2 * (size.width - _MARGIN), *(len(trace.rates) for trace in traces)))
    curves = tuple(Curve(trace.rates, _rgb(color), mark) for trace, color, mark in zip(traces, colors, MARKS, strict=False))
    return draw(PlotOrder(size.width, size.height, curves, span, _rgb(axis), _rgb(text), background))


def _rgb(style: Style) -> tuple[int, int, int]:
    triplet = style.color.triplet if style.color else None
    return (triplet.red, triplet.green, triplet.blue) if triplet else (128, 128, 128)
