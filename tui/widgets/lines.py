"""Painting by ready lines: what has not changed is not built again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

Part = tuple[str, Style]
"""A piece of a line and how it looks."""


def width_of(text: str) -> int:
    """Counts the cells a text takes."""
    return len(text) if text.isascii() else cell_len(text)


def to_strip(parts: Iterable[Part], width: int, blank: Style) -> Strip:
    """Joins pieces to a line of exactly so many cells."""
    segments = [Segment(text, style) for text, style in parts if text]
    used = sum(width_of(segment.text) for segment in segments)
    if used < width:
        segments.append(Segment(" " * (width - used), blank))
        return Strip(segments, width)
    strip = Strip(segments, used)
    return strip if used == width else strip.crop(0, width)


class LineWidget(Widget):
    """A widget that is built as a list of lines and keeps them until it is refreshed as a whole."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "tone--dim",
        "tone--strong",
        "tone--good",
        "tone--warn",
        "tone--bad",
        "tone--accent",
    }

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes, markup=False)
        self._strips: Sequence[Strip] | None = None
        self._strips_size = Size(0, 0)

    def build(self, width: int, height: int) -> Sequence[Strip]:
        """Gives the lines for a content area of this size; missing ones stay blank."""
        raise NotImplementedError

    def tone(self, name: str) -> Style:
        """Looks up how a tone looks here, by its name after "tone--"; "" is plain text."""
        return self.get_component_rich_style(f"tone--{name}") if name else self.rich_style

    def line(self, parts: Iterable[Part], width: int) -> Strip:
        """Joins pieces to a line on this widget's background."""
        return to_strip(parts, width, self.rich_style)

    def render_line(self, y: int) -> Strip:
        """Gives one line of the content."""
        size = self.size
        if self._strips is None or self._strips_size != size:
            self._strips = self.build(size.width, size.height) if size.area else ()
            self._strips_size = size
        return self._strips[y] if y < len(self._strips) else Strip.blank(size.width, self.rich_style)

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> LineWidget:
        """Schedules a repaint; without regions everything is built anew."""
        if not regions:
            self._strips = None
        super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)
        return self

    def notify_style_update(self) -> None:
        """Forgets lines in old colours."""
        self._strips = None
        super().notify_style_update()
