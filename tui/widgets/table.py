"""A table whose cells are painted only when their text changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip

from ..format import clean, fit, one_line
from .lines import Part
from .scroller import Scroller

GAP = 2
"""Cells between two columns."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    title: str
    width: int
    """In cells; 0 shares what the others leave."""
    right: bool = False
    """Whether its text stands at the right, as figures do."""
    from_width: int = 0
    """The column is left out where the table is narrower than this."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One text and its tone."""

    text: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One line; the key tells which one it is when others come and go."""

    key: str
    cells: tuple[Cell, ...]


class Table(Scroller):
    """A table with a cursor; widths are fixed, so that no text ever moves the others."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", "Choose", show=False, id="list.select", tooltip="Choose what is under the cursor"),
    ]

    head_lines = 1
    rows = reactive[tuple[Row, ...]]((), repaint=False, init=False)
    cursor = reactive[str | None](None, repaint=False, init=False)
    """The key of the row the cursor is on; None in an empty table."""
    hint = reactive("")
    """Stands in an empty table."""

    class Highlighted(Message):
        """The cursor came to another row."""

        def __init__(self, table: Table, key: str | None) -> None:
            super().__init__()
            self.table = table
            self.key = key

        @property
        def control(self) -> Table:
            """The table, for `@on` selectors."""
            return self.table

    class Selected(Message):
        """A row was chosen."""

        def __init__(self, table: Table, key: str) -> None:
            super().__init__()
            self.table = table
            self.key = key

        @property
        def control(self) -> Table:
            """The table, for `@on` selectors."""
            return self.table

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        hint: str = "",
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._columns = tuple(columns)
        self.set_reactive(Table.hint, hint)

    def line_count(self) -> int:
        """Counts the rows."""
        return len(self.rows)

    def cursor_index(self) -> int | None:
        """Tells which row the cursor is on."""
        return next((index for index, row in enumerate(self.rows) if row.key == self.cursor), None)

    def watch_rows(self, old: tuple[Row, ...], new: tuple[Row, ...]) -> None:
        """Repaints the rows that differ; all of them only where rows came, went or moved."""
        if not any(row.key == self.cursor for row in new):
            place = next((index for index, row in enumerate(old) if row.key == self.cursor), 0)
            self.cursor = new[min(place, len(new) - 1)].key if new else None
        if [row.key for row in old] != [row.key for row in new]:
            self.lines_changed()
            return
        pairs = enumerate(zip(old, new, strict=True))
        self.lines_replaced([index for index, (before, after) in pairs if before != after])

    def watch_cursor(self, old: str | None, new: str | None) -> None:
        """Repaints two rows and tells the screen."""
        self.lines_replaced([index for index, row in enumerate(self.rows) if row.key in {old, new}])
        self.post_message(self.Highlighted(self, new))

    def build_head(self, width: int) -> Sequence[Strip]:
        """Gives the line of titles, and the hint where there is nothing else."""
        style = self.tone("head")
        titles = [(fit(column.title, wide, right=column.right), style) for column, wide in self._layout(width)]
        head = self.line(self._spaced(titles, style), width)
        if self.rows:
            return [head]
        return [head, *(self.line([(f" {clean(text)}", self.tone("dim"))], width) for text in self.hint.split("\n") if text)]

    def build_line(self, index: int, width: int) -> Strip:
        """Gives one row."""
        row = self.rows[index]
        on_cursor = row.key == self.cursor and self.has_focus
        cursor = self.tone("cursor")
        places = {column: place for place, column in enumerate(self._columns)}
        parts: list[Part] = []
        for column, wide in self._layout(width):
            cell = row.cells[places[column]]
            style = cursor if on_cursor else self.tone(cell.tone)
            parts.append((fit(one_line(cell.text), wide, right=column.right), style))
        blank = cursor if on_cursor else self.plain
        # The mark tells the cursor's row to those who do not see its colour.
        mark = "▸" if row.key == self.cursor else " "
        return self.line([(mark, blank), *self._spaced(parts, blank)[1:], (" " * width, blank)], width)

    def action_scroll_lines(self, lines: int) -> None:
        """Moves the cursor."""
        at = self.cursor_index()
        if at is None:
            return
        index = max(0, min(len(self.rows) - 1, at + lines))
        self.cursor = self.rows[index].key
        self.show_line(index)

    def action_select(self) -> None:
        """Chooses the cursor's row."""
        if self.cursor is not None:
            self.post_message(self.Selected(self, self.cursor))

    def on_click(self, event: events.Click) -> None:
        """Puts the cursor on a row; a second click chooses it."""
        index = event.y - self.gutter.top - self.head_lines + self.top
        if self.head_lines <= event.y - self.gutter.top and index < len(self.rows):
            key = self.rows[index].key
            if event.chain > 1:
                self.post_message(self.Selected(self, key))
            self.cursor = key

    def on_focus(self) -> None:
        """Shows the cursor."""
        self.refresh()

    def on_blur(self) -> None:
        """Hides the cursor's colours."""
        self.refresh()

    def _layout(self, width: int) -> list[tuple[Column, int]]:
        shown = [column for column in self._columns if width >= column.from_width]
        flexible = sum(column.width == 0 for column in shown)
        rest = width - 2 - sum(column.width for column in shown) - GAP * (len(shown) - 1)
        share, more = divmod(max(0, rest), flexible) if flexible else (0, 0)
        layout: list[tuple[Column, int]] = []
        for column in shown:
            wide = column.width
            if wide == 0:
                wide, more = share + (more > 0), more - 1
            layout.append((column, wide))
        return layout

    def _spaced(self, parts: Sequence[Part], blank: Style) -> list[Part]:
        spaced: list[Part] = [(" ", blank)]
        for place, part in enumerate(parts):
            if place:
                spaced.append((" " * GAP, blank))
            spaced.append(part)
        return spaced
