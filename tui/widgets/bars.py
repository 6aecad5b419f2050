"""The single lines at the edges: title and endpoint above, panes below it, keys at the bottom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip

from ..format import fit, one_line, wrap
from .lines import LineWidget, Part, width_of

NOTICE_LINES = 2


class TitleBar(LineWidget):
    """Product and machine at the left, the endpoint and its state at the right."""

    machine = reactive[tuple[str, ...]](())
    """Host, chip, memory: the most telling first, as later ones are left out where there is no room."""
    state = reactive[tuple[str, str]](("◌ starting", "warn"))
    """The server's state in words, and its tone."""
    endpoint = reactive("")
    """Its address, or why there is none."""

    def build(self, width: int, height: int) -> Sequence[Strip]:  # noqa: ARG002
        """Gives the line; the endpoint has its place first."""
        brand: list[Part] = [(" ▞▖", self.tone("key")), (" impetus ", self.tone("strong"))]
        left = sum(width_of(text) for text, _ in brand)
        word, tone = self.state
        state = f"{word} "
        room = max(0, width - left - width_of(state) - 1)
        address = one_line(self.endpoint)
        if width_of(address) > room:
            address = fit(address, room)
        right = width_of(state) + width_of(address) + 1
        machine = ""
        for fact in map(one_line, self.machine):
            longer = f"{machine} · {fact}" if machine else f" {fact}"
            if left + width_of(longer) + right + 2 > width:
                break
            machine = longer
        gap = " " * max(0, width - left - width_of(machine) - right)
        return [
            self.line(
                [
                    *brand,
                    (machine, self.tone("dim")),
                    (gap, self.plain),
                    (state, self.tone(tone)),
                    (address, self.plain),
                ],
                width,
            )
        ]


@dataclass(frozen=True, slots=True)
class Tab:
    """One pane's name in the bar of panes."""

    id: str
    title: str
    key: str
    """What else brings it into view; empty where no key of its own does."""
    badge: str = ""


class TabBar(LineWidget):
    """The panes, their keys, and signs of what goes on in them."""

    tabs = reactive[tuple[Tab, ...]](())
    active = reactive("")

    class Chosen(Message):
        """A pane was clicked."""

        def __init__(self, pane: str) -> None:
            super().__init__()
            self.pane = pane

    def build(self, width: int, height: int) -> Sequence[Strip]:  # noqa: ARG002
        """Gives the line."""
        return [self.line([part for tab in self.tabs for part in self._parts(tab)], width)]

    def on_click(self, event: events.Click) -> None:
        """Tells which pane was clicked."""
        start = 0
        for tab in self.tabs:
            end = start + sum(width_of(text) for text, _ in self._parts(tab))
            if start <= event.x < end:
                self.post_message(self.Chosen(tab.id))
            start = end

    def _parts(self, tab: Tab) -> list[Part]:
        gap = "" if self.size.width < 96 else " "
        # Badges may leave no room for the blanks before the keys.
        before = " " if sum(map(_width_of_tab, self.tabs)) <= self.size.width else ""
        key = f"{before}{tab.key} " if tab.key else " "
        badge = f"{tab.badge} " if tab.badge else ""
        if tab.id == self.active:
            return [(f"{key}{tab.title} {badge}", self.tone("active")), (gap, self.plain)]
        return [
            (key, self.tone("key")),
            (f"{tab.title} ", self.tone("dim")),
            (badge, self.tone("")),
            (gap, self.plain),
        ]


def _width_of_tab(tab: Tab) -> int:
    """Counts the cells of a tab with a blank before each of its parts and behind the last."""
    return sum(1 + width_of(part) for part in (tab.key, tab.title, tab.badge) if part) + 1


@dataclass(frozen=True, slots=True)
class KeyHint:
    """One key of the bottom line."""

    key: str
    """As people read it."""
    description: str
    name: str
    """As Textual names it."""


class KeyBar(LineWidget):
    """The keys that do something here; a click does the same."""

    hints = reactive[tuple[KeyHint, ...]](())

    class Pressed(Message):
        """A key's hint was clicked."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name
            """As Textual names the key."""

    def build(self, width: int, height: int) -> Sequence[Strip]:  # noqa: ARG002
        """Gives as many whole hints as fit."""
        parts: list[Part] = []
        used = 0
        for hint in self.hints:
            used += self._width(hint)
            if used > width:
                break
            parts += [
                (f" {hint.key} ", self.tone("key")),
                (f"{hint.description} ", self.tone("dim")),
            ]
        return [self.line(parts, width)]

    def on_click(self, event: events.Click) -> None:
        """Tells which hint was clicked."""
        start = 0
        for hint in self.hints:
            end = start + self._width(hint)
            if start <= event.x < end <= self.size.width:
                self.post_message(self.Pressed(hint.name))
            start = end

    def _width(self, hint: KeyHint) -> int:
        return width_of(hint.key) + width_of(hint.description) + 3


class Notice(LineWidget):
    """What needs attention most: one or two lines under the panes' names, away where there is nothing."""

    items = reactive[tuple[tuple[str, str], ...]]((), layout=True)
    """Texts and their tones, the gravest first. One alone may take two lines."""

    def watch_items(self, items: tuple[tuple[str, str], ...]) -> None:
        """Takes no room for nothing."""
        self.display = bool(items)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002
        """Tells how many lines it needs."""
        return len(self._lines(width))

    def build(self, width: int, height: int) -> Sequence[Strip]:
        """Gives the lines."""
        return [self.line([(f" {text}", self.tone(tone))], width) for text, tone in self._lines(width)[:height]]

    def _lines(self, width: int) -> list[tuple[str, str]]:
        room = max(8, width - 2)
        if len(self.items) != 1:
            return [(fit(one_line(text), room), tone) for text, tone in self.items[:NOTICE_LINES]]
        text, tone = self.items[0]
        lines = wrap(one_line(text), room)
        if len(lines) > NOTICE_LINES:
            lines = [*lines[: NOTICE_LINES - 1], fit(" ".join(lines[NOTICE_LINES - 1 :]), room)]
        return [(line, tone) for line in lines]
