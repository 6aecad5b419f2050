"""The panel that says where a prompt came from."""

from __future__ import annotations

from typing import ClassVar

import dashboard_fakes as fakes
import dashboard_scenes as scenes
import pytest
from dashboard_pilot import beat, press, settle, shown, text_of
from textual.app import App, ComposeResult
from textual.screen import Screen

from impetus.runtime.events import MissCause, PrefixMiss, PrefixReport
from impetus.tui.commands import all_commands
from impetus.tui.prefix_views import prefix_facts, prefix_sides
from impetus.tui.screens.explain import ExplainScreen
from impetus.tui.views import request_rows
from impetus.tui.widgets.lines import TONES
from impetus.tui.widgets.origin_bar import OriginBar
from impetus.tui.widgets.sides import Side, Sides
from impetus.tui.words import CAUSES


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


def cached(source: fakes.FakeSource) -> list[str]:
    return [row.cells[5].text for row in request_rows(source.journal.newest(10))]


def test_the_table_says_how_much_of_a_prompt_was_reused():
    source = fakes.FakeSource()
    for prefix in (None, PrefixReport(0, 0, 900), PrefixReport(600, 300, 1), PrefixReport(500, 420, 80)):
        source.add_request("decode", model_id=fakes.SMOL.id, prefix=prefix)
    assert cached(source) == ["92 %", "99 %", "0 %", "–"]


def test_what_is_not_known_yet_is_said_so():
    source = fakes.FakeSource()
    waiting = source.add_request("queued", model_id=fakes.SMOL.id)
    failed = source.add_request("failed", model_id=fakes.SMOL.id, ended_s=1.0)
    assert "waits" in prefix_facts(waiting)[0][1]
    assert "ended before" in prefix_facts(failed)[0][1]
    assert prefix_sides(waiting) == ()


@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause_has_words(cause: MissCause):
    source = fakes.FakeSource()
    report = PrefixReport(10, 0, 90, PrefixMiss(10, "a", "b", cause, "A sentence."))
    record = source.add_request("done", model_id=fakes.SMOL.id, prefix=report)
    facts = {label: text for label, text, _ in prefix_facts(record)}
    assert facts["reused"] == "10 of 100 tokens, 10 %"
    assert facts["cause"].endswith(CAUSES[cause])
    assert facts["why"] == "A sentence."
    assert [side.text for side in prefix_sides(record)] == ["a", "b"]


async def test_e_explains_the_request_under_the_cursor_and_closes_again(run_dashboard):
    source = scenes.busy()
    scenes.add_explained(source)
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "e")
        assert isinstance(app.screen, ExplainScreen)
        text = shown(app)
        assert "from memory 37" in text
        assert "changed at token 37." in text
        assert "06:00:31 PM PDT" in text
        assert "06:02:10 PM PDT" in text
        assert "96 tokens ahead, 74 % of them were kept" in text
        await press(app, pilot, "e")
        assert app.screen is app.control
        await press(app, pilot, "down", "e")
        assert isinstance(app.screen, ExplainScreen)
        assert "req-000016" in str(app.screen.query_one(".dialog").border_title)
        await press(app, pilot, "escape")
        assert app.screen is app.control


async def test_the_panel_of_a_waiting_request_fills_while_it_is_open(run_dashboard):
    source = fakes.FakeSource()
    record = source.add_request("queued", model_id=fakes.SMOL.id)
    async with run_dashboard(source) as (app, pilot):
        await beat(app, pilot)
        await press(app, pilot, "e")
        assert "waits to be computed" in shown(app)
        source.journal.note_prefix(record, PrefixReport(900, 0, 100))
        assert isinstance(app.screen, ExplainScreen)
        app.screen._show()
        await settle(app, pilot)
        assert "900 of 1,000 tokens, 90 %" in shown(app)
        assert "as much as could be hoped for" in shown(app)


async def test_without_a_request_nothing_is_explained(run_dashboard):
    async with run_dashboard(fakes.FakeSource()) as (app, pilot):
        await press(app, pilot, "e")
        assert app.screen is app.control


async def test_the_palette_explains_too(run_dashboard):
    async with run_dashboard(scenes.busy()) as (app, pilot):
        await press(app, pilot, "2")
        command = next(command for command in all_commands(app) if command.binding_id == "requests.explain")
        app.call_later(command.run)
        await settle(app, pilot)
        await settle(app, pilot)
        assert isinstance(app.screen, ExplainScreen)


@pytest.mark.parametrize(
    ("report", "bar"),
    [
        (PrefixReport(50, 25, 25), "█" * 20 + "▓" * 10 + "░" * 10),
        (PrefixReport(1, 0, 9999), "█" + "░" * 39),
        (PrefixReport(99_998, 1, 1), "█" * 38 + "▓░"),
        (PrefixReport(0, 0, 7), "░" * 40),
    ],
)
async def test_the_bar_shows_each_part_that_is_there(report: PrefixReport, bar: str):
    widget = OriginBar()
    async with Host(widget).run_test(size=(40, 3)) as pilot:
        widget.report = report
        await pilot.pause()
        assert text_of(widget).split("\n")[0] == bar


async def test_texts_stand_beside_each_other_from_where_they_part():
    same = "".join(f"line {number}\n" for number in range(30))
    widget = Sides()
    async with Host(widget).run_test(size=(60, 9)) as pilot:
        widget.sides = (Side("Before", same + "at ten\nend"), Side("After", same + "at eleven\nmore\nend"))
        await pilot.pause()
        head, *lines = text_of(widget).split("\n")
        assert (head.split("│")[0].strip(), head.split("│")[1].strip()) == ("Before", "After")
        [parting] = [line for line in lines if "at ten" in line]
        assert "at eleven" in parting
        assert any("line 29" in line for line in lines)
        pieces = [segment.text.rstrip() for segment in widget.render_line(1 + lines.index(parting))]
        assert pieces.count("at") == 2
        assert {"ten", "eleven"} < set(pieces)


async def test_control_sequences_in_a_prompt_do_not_reach_the_terminal():
    widget = Sides()
    async with Host(widget).run_test(size=(40, 5)) as pilot:
        widget.sides = (Side("Only", "a\x1b[2Jb\ttab\r\n[bold]c"),)
        await pilot.pause()
        text = text_of(widget)
        assert "\x1b" not in text
        assert "\t" not in text
        assert "[bold]c" in text
