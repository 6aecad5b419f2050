"""A long list of lines of which a part is seen; its growth never lays out the screen again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.reactive import reactive
from textual.strip import Strip

from .lines import LineWidget

WHEEL_LINES = 3


class Scroller(LineWidget, can_focus=True):
    """Owns which line is at the top, the keys and the wheel that move it, and draws a slim bar at the right.

    Textual's own scroll views lay out the whole screen whenever their length changes; a log or a streamed reply does so
    all the time.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll_lines(-1)", "Up", show=False, id="list.up", tooltip="One line up"),
        Binding("down,j", "scroll_lines(1)", "Down", show=False, id="list.down", tooltip="One line down"),
        Binding("pageup", "scroll_pages(-1)", "Page up", show=False, id="list.page_up", tooltip="One page up"),
        Binding("pagedown", "scroll_pages(1)", "Page down", show=False, id="list.page_down", tooltip="One page down"),
        Binding("home,g", "scroll_lines(-1000000)", "First", show=False, id="list.first", tooltip="To the first line"),
        Binding("end,G", "scroll_lines(1000000)", "Last", show=False, id="list.last", tooltip="To the last line"),
    ]

    top = reactive(0, repaint=False, init=False)
    """The first line that is seen."""
    follow = reactive(False, repaint=False, init=False)
    """Whether new lines at the end come into view by themselves."""
    head_lines = 0
    """How many lines at the top do not scroll."""

    @property
    def body_height(self) -> int:
        """How many lines of the list fit."""
        return max(0, self.size.height - self.head_lines)

    def line_count(self) -> int:
        """Counts the lines of the list."""
        raise NotImplementedError

    def build_head(self, width: int) -> Sequence[Strip]:
        """Gives the lines that do not scroll."""
        return [Strip.blank(width, self.plain)] * self.head_lines

    def build_line(self, index: int, width: int) -> Strip:
        """Gives one line of the list."""
        raise NotImplementedError

    def build(self, width: int, height: int) -> Sequence[Strip]:
        """Gives what is seen, with the bar where not all is."""
        count, body = self.line_count(), height - self.head_lines
        bar = self._bar(count, body)
        inner = width - 1 if bar else width
        strips = list(self.build_head(width))
        for y, index in enumerate(range(self.top, min(count, self.top + body))):
            strip = self.build_line(index, inner)
            strips.append(Strip.join([strip, bar[y]]) if bar else strip)
        return strips

    def lines_changed(self) -> None:
        """Repaints after lines were added or removed; keeps the end in view if it follows."""
        self.top = self._clamp(self.line_count() if self.follow else self.top)
        self.rebuild()

    def lines_replaced(self, indices: Iterable[int]) -> None:
        """Repaints some lines of the list, as far as they are seen."""
        if self._strips is None:
            return
        strips = list(self._strips)
        width, body = self.size.width, self.body_height
        bar = self._bar(self.line_count(), body)
        regions: list[Region] = []
        for index in indices:
            y = index - self.top
            place = y + self.head_lines
            if 0 <= y < body and place < len(strips):
                strip = self.build_line(index, width - 1 if bar else width)
                strips[place] = Strip.join([strip, bar[y]]) if bar else strip
                regions.append(Region(0, place, width, 1))
        if regions:
            self._strips = strips
            self.refresh(*regions)

    def show_line(self, index: int) -> None:
        """Scrolls as little as needed to bring a line into view."""
        body = max(1, self.body_height)
        self.top = self._clamp(min(max(self.top, index - body + 1), index))

    def watch_top(self) -> None:
        """Repaints what is seen."""
        self.rebuild()

    def watch_follow(self, follow: bool) -> None:
        """Goes to the end at once."""
        if follow:
            self.top = self._clamp(self.line_count())

    def action_scroll_lines(self, lines: int) -> None:
        """Moves the view."""
        self.top = self._clamp(self.top + lines)
        if lines < 0:
            self.follow = False

    def action_scroll_pages(self, pages: int) -> None:
        """Moves the view by whole pages."""
        self.action_scroll_lines(pages * max(1, self.body_height - 1))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Scrolls."""
        event.stop()
        self.top = self._clamp(self.top + WHEEL_LINES)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Scrolls, and stops following."""
        event.stop()
        self.follow = False
        self.top = self._clamp(self.top - WHEEL_LINES)

    def on_resize(self) -> None:
        """Keeps the end in view, and no more than that."""
        self.top = self._clamp(self.line_count() if self.follow else self.top)

    def _clamp(self, top: int) -> int:
        return max(0, min(top, self.line_count() - self.body_height))

    def _bar(self, count: int, body: int) -> Sequence[Strip]:
        if count <= body or body <= 0:
            return ()
        length = max(1, round(body * body / count))
        start = round((body - length) * self.top / max(1, count - body))
        bar = self.tone("accent")
        track = self.tone("line")
        on, off = self.line([("┃", bar)], 1), self.line([("│", track)], 1)
        return [on if start <= y < start + length else off for y in range(body)]
