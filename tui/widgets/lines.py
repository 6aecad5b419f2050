"""Painting by ready lines: what has not changed is not built again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.content import Content
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from ..format import one_line

TONES: Final = frozenset(
    f"tone--{name}"
    for name in (
        *("dim", "strong", "good", "warn", "bad", "accent", "key", "head", "cursor", "active", "line", "cpu", "gpu"),
        *("models", "app", "other", "free", "series-1", "series-2", "series-3", "series-4"),
    )
)
"""What a piece of text can mean. Screens have them as component classes, for all their widgets: Textual works out each
class of each node several times before the first paint."""

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

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes, markup=False)
        self._strips: Sequence[Strip] | None = None
        self._strips_size = Size(0, 0)
        self._plain: Style | None = None
        self._tones: dict[str, Style] = {}
        self._title = self._subtitle = ""

    @property
    def plain(self) -> Style:
        """How text without a tone looks; kept, as Textual takes a quarter of a millisecond to work it out."""
        if self._plain is None:
            self._plain = self.rich_style
        return self._plain

    def build(self, width: int, height: int) -> Sequence[Strip]:
        """Gives the lines for a content area of this size; missing ones stay blank."""
        raise NotImplementedError

    def tone(self, name: str) -> Style:
        """Looks up how a tone looks on this widget, by its name after "tone--"; "" is plain text."""
        style = self._tones.get(name)
        if style is None:
            style = self.plain
            if name:
                style += self.screen.get_component_rich_style(f"tone--{name}", partial=True)
            self._tones[name] = style
        return style

    def line(self, parts: Iterable[Part], width: int) -> Strip:
        """Joins pieces to a line on this widget's background."""
        return to_strip(parts, width, self.plain)

    def render_line(self, y: int) -> Strip:
        """Gives one line of the content."""
        size = self.size
        if self._strips is None or self._strips_size != size:
            self._strips = self.build(size.width, size.height) if size.area else ()
            self._strips_size = size
        return self._strips[y] if y < len(self._strips) else Strip.blank(size.width, self.plain)

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> LineWidget:
        """Schedules a repaint; without regions everything is built anew."""
        if not regions:
            self._strips = None
        super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)
        return self

    def write_subtitle(self, text: str) -> None:
        """Writes into the lower frame; Textual paints the whole widget for that, so only where the text differs."""
        if text != self._subtitle:
            self._subtitle = text
            # As content, because Textual reads markup in plain strings.
            self.border_subtitle = Content(one_line(text))  # pyright: ignore[reportAttributeAccessIssue]

    def write_title(self, text: str) -> None:
        """Writes into the upper frame, under the same conditions."""
        if text != self._title:
            self._title = text
            self.border_title = Content(one_line(text))  # pyright: ignore[reportAttributeAccessIssue]

    def rebuild(self) -> None:
        """Builds the lines anew and repaints those that differ; the frame and the rest stay as they are."""
        if not self.is_attached:
            return
        old, size = self._strips, self.size
        if old is None or self._strips_size != size:
            self.refresh()
            return
        new = self.build(size.width, size.height)
        self._strips = new
        if len(old) != len(new):
            super().refresh(Region(0, 0, size.width, size.height))
            return
        changed = [y for y, (before, after) in enumerate(zip(old, new, strict=True)) if before != after]
        if changed:
            super().refresh(*(Region(0, y, size.width, 1) for y in changed))

    def notify_style_update(self) -> None:
        """Forgets lines in old colours."""
        self._strips = self._plain = None
        self._tones.clear()
        super().notify_style_update()
