"""The widgets by themselves: what they build, and that they paint no more than what changed."""

from __future__ import annotations

from typing import ClassVar

from dashboard_pilot import text_of
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.screen import Screen

from impetus.tui.widgets.flow import Flow, Paragraph
from impetus.tui.widgets.lines import TONES
from impetus.tui.widgets.table import Cell, Column, Row, Table


class Stage(Screen[None]):
    COMPONENT_CLASSES: ClassVar[set[str]] = set(TONES)


class Host(App[None]):
    def __init__(self, widget) -> None:
        super().__init__()
        self.widget = widget

    def get_default_screen(self) -> Screen[None]:
        return Stage()

    def on_mount(self) -> None:
        self.screen.mount(self.widget)

    def compose(self) -> ComposeResult:
        yield from ()


def rows(*values: str) -> tuple[Row, ...]:
    return tuple(Row(value, (Cell(value), Cell(f"{len(value)}"))) for value in values)


COLUMNS = (Column("Name", 0), Column("Length", 6, right=True))


async def test_a_table_keeps_its_cursor_when_rows_come_above_it():
    table = Table(COLUMNS)
    async with Host(table).run_test(size=(40, 10)) as pilot:
        table.rows = rows("bb", "ccc")
        table.focus()
        await pilot.press("down")
        assert table.cursor == "ccc"
        table.rows = rows("a", "bb", "ccc")
        assert table.cursor == "ccc"
        table.rows = rows("a", "bb")
        assert table.cursor == "bb"
        table.rows = ()
        assert table.cursor is None


async def test_a_table_repaints_only_the_rows_that_differ():
    table = Table(COLUMNS)
    async with Host(table).run_test(size=(40, 10)) as pilot:
        table.rows = rows("a", "bb", "ccc")
        await pilot.pause()
        text_of(table)
        painted: list[tuple[Region, ...]] = []
        table._set_dirty = lambda *regions: painted.append(regions)
        changed = list(table.rows)
        changed[1] = Row("bb", (Cell("bb"), Cell("99")))
        table.rows = tuple(changed)
        assert painted == [(Region(0, 2, table.size.width, 1),)]
        assert "99" in text_of(table)
        table.rows = tuple(changed)
        assert len(painted) == 1


async def test_narrow_tables_leave_columns_out():
    table = Table((Column("Name", 0), Column("More", 6, from_width=60)))
    async with Host(table).run_test(size=(40, 10)):
        table.rows = rows("a")
        assert "More" not in text_of(table)


async def test_a_flow_follows_its_end_until_someone_scrolls_up():
    flow = Flow()
    async with Host(flow).run_test(size=(40, 6)) as pilot:
        flow.append(Paragraph(f"line {number}") for number in range(50))
        assert "line 49" in text_of(flow)
        flow.focus()
        await pilot.press("up")
        flow.append([Paragraph("line 50")])
        assert "line 50" not in text_of(flow)
        await pilot.press("end")
        assert "line 50" in text_of(flow)


async def test_streamed_text_wraps_as_if_it_had_come_at_once():
    text = "The quick brown fox jumps over the lazy dog.\nA second line that is longer than the screen is wide.\n\nEnd."
    streamed, whole = Flow(), Flow()
    async with Host(streamed).run_test(size=(30, 20)):
        streamed.append([Paragraph("", "", " bot ")])
        for start in range(0, len(text), 3):
            streamed.extend(text[start : start + 3])
        got = text_of(streamed)
    async with Host(whole).run_test(size=(30, 20)):
        whole.append([Paragraph(text, "", " bot ")])
        assert got == text_of(whole)


async def test_a_flow_forgets_its_oldest_paragraphs():
    flow = Flow()
    async with Host(flow).run_test(size=(40, 6)):
        flow.append(Paragraph(f"line {number}") for number in range(4500))
        assert flow.line_count() <= 4000
        assert "line 4499" in text_of(flow)


async def test_a_flow_wraps_again_for_another_width():
    flow = Flow()
    async with Host(flow).run_test(size=(60, 6)) as pilot:
        flow.append([Paragraph("word " * 20)])
        wide = flow.line_count()
        await pilot.resize_terminal(30, 6)
        await pilot.pause()
        assert flow.line_count() > wide
