"""Draws throughput curves with plotext. Slow pure Python, so it is called in a thread and imported there first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual_plotext.plot import Plot

Rgb = tuple[int, int, int]

_ESCAPE = re.compile(r"\x1b\[([\d;]*)m")
_RGB = re.compile(r"38;2;(\d+);(\d+);(\d+)")
_BOLD = Style(bold=True)
_STEPS = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)
AXIS_LINES = 2
"""Lines below the canvas: the axis and its figures."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of the plot."""

    values: Sequence[float]
    """One per second, oldest first, the newest at the right edge."""
    color: Rgb
    label: str
    """Stands on the curve: tells curves apart without their colours."""


@dataclass(frozen=True, slots=True)
class PlotOrder:
    """Everything a drawing needs, so that a thread can make it."""

    width: int
    height: int
    curves: tuple[Curve, ...]
    span_s: int
    """How many seconds the x axis covers."""
    axis_color: Rgb
    text_color: Rgb
    background: Style


def nice_top(value: float) -> float:
    """Rounds up to a figure that reads well at the end of an axis."""
    if value <= 0:
        return 10.0
    scale = 1.0
    while scale * 10 <= value:
        scale *= 10
    while scale > value:
        scale /= 10
    return next(step * scale for step in _STEPS if step * scale >= value)


def draw(order: PlotOrder) -> list[Strip]:
    """Gives the plot's lines."""
    plot = Plot()
    plot.plotsize(order.width, order.height)
    plot._set_size(order.width, order.height)  # noqa: SLF001  # plotsize alone keeps to the terminal it believes in.
    plot.theme("clear")
    plot.axes_color("default")
    plot.ticks_color(order.text_color)
    plot.xaxes(True, False)
    plot.yaxes(True, False)
    span = order.span_s
    top = nice_top(max((max(curve.values, default=0.0) for curve in order.curves), default=0.0))
    for curve in order.curves:
        newest = list(curve.values[-span:])
        seconds = list(range(-len(newest) + 1, 1))
        plot.plot(seconds, newest, marker="braille", color=curve.color, fillx=len(order.curves) == 1)
    _label_curves(plot, order, top)
    if not order.curves:
        plot.plot([0], [0], marker=" ")
    plot.xlim(-span + 1, 0)
    plot.ylim(0, top)
    rows = order.height - AXIS_LINES - 1
    ticks = next((ticks for ticks in (4, 2) if rows >= 2 * ticks and rows % ticks == 0), 1)
    levels = [top * step / ticks for step in range(ticks + 1)]
    plot.yticks(levels, [f"{level:g}" if level < 1000 else f"{level / 1000:g}k" for level in levels])
    marks = _time_marks(span)
    plot.xticks([-mark for mark in marks], [_time_label(mark) for mark in marks])
    return _to_strips(plot.build(), order)


def _label_curves(plot: Plot, order: PlotOrder, top: float) -> None:
    """Puts each curve's sign on it, at places far from those of the others."""
    if len(order.curves) < 2:
        return
    for place, curve in enumerate(order.curves):
        newest = curve.values[-order.span_s :]
        at = round(len(newest) * (0.96 - 0.07 * place))
        if at < len(newest):
            second = at - len(newest) + 1
            plot.text(curve.label, second, min(top, newest[at]), color=curve.color, style="bold", alignment="center")


def _time_marks(span: int) -> list[int]:
    step = next(step for step in (10, 15, 30, 60, 120) if span / step <= 6)
    return [mark for mark in range(0, span, step) if mark <= span - step // 4]


def _time_label(seconds: int) -> str:
    if seconds == 0:
        return "now"
    return (
        f"-{seconds // 60}m" if seconds % 60 == 0 else f"-{seconds // 60}:{seconds % 60:02}" if seconds > 60 else f"-{seconds}s"
    )


def _to_strips(ansi: str, order: PlotOrder) -> list[Strip]:
    axis = order.background + Style(color=Color.from_rgb(*order.axis_color))
    colors: dict[str, Style] = {}
    strips: list[Strip] = []
    for line in ansi.rstrip("\n").split("\n"):
        style = axis
        segments: list[Segment] = []
        for place, piece in enumerate(_ESCAPE.split(line)):
            if place % 2:
                style = style + _BOLD if piece == "1" else colors.get(piece) or colors.setdefault(piece, _color(piece, axis))
            elif piece:
                segments.append(Segment(piece, style))
        strips.append(Strip(segments).adjust_cell_length(order.width, order.background))
    return strips


def _color(code: str, axis: Style) -> Style:
    color = _RGB.fullmatch(code)
    return axis if color is None else axis + Style(color=Color.from_rgb(*(int(part) for part in color.groups())))
