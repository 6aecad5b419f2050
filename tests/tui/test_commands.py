"""The command palette offers whatever a key does."""

from __future__ import annotations

from pathlib import Path

import dashboard_fakes as fakes
import dashboard_scenes as scenes
import pytest
from dashboard_pilot import press, settle
from textual.binding import Binding
from textual.command import CommandPalette

from impetus.tui.app import ControlCenter
from impetus.tui.commands import all_commands
from impetus.tui.screens.control import PANES, ControlScreen
from impetus.tui.screens.dialogs import FactsScreen, HelpScreen
from impetus.tui.screens.explain import ExplainScreen
from impetus.tui.widgets.scroller import Scroller
from impetus.tui.widgets.table import Table

MOVEMENTS = {"focus.next", "focus.previous", "app.palette", "app.quit_anywhere", "advice.leave", "downloads.leave"}
"""They only move about, or open the palette itself."""


def bindings() -> list[Binding]:
    owners = [ControlCenter, ControlScreen, *PANES.values()]
    return [binding for owner in owners for binding in owner.__dict__.get("BINDINGS", [])]


def test_every_binding_has_what_help_and_settings_need():
    found = bindings()
    assert len(found) > 25
    assert all(binding.id and binding.description and binding.tooltip for binding in found)
    ids = [binding.id for binding in found]
    assert len(set(ids)) == len(ids)


async def test_every_action_of_a_key_is_a_command(run_dashboard):
    async with run_dashboard(scenes.busy()) as (app, _):
        offered = {command.binding_id for command in all_commands(app)}
        wanted = {binding.id for binding in bindings()} - MOVEMENTS
        assert wanted <= offered


async def run(app, pilot, name: str) -> None:
    command = next(command for command in all_commands(app) if command.name == name)
    app.call_later(command.run)
    await settle(app, pilot)
    await settle(app, pilot)


async def test_commands_load_unload_and_switch_by_name(run_dashboard):
    source = fakes.FakeSource()
    async with run_dashboard(source) as (app, pilot):
        await run(app, pilot, f"Load {fakes.SMOL.id}")
        assert source.status(fakes.SMOL.id).state == "ready"
        await run(app, pilot, f"Switch to {fakes.CODER.id}")
        assert source.status(fakes.SMOL.id).state == "unloaded"
        await run(app, pilot, f"Unload {fakes.CODER.id}")
        assert source.status(fakes.CODER.id).state == "unloaded"


async def test_what_cannot_be_served_is_not_offered(run_dashboard):
    async with run_dashboard(fakes.FakeSource()) as (app, _):
        assert not any(fakes.VISION.id in command.name for command in all_commands(app))


async def test_a_command_goes_to_the_pane_it_acts_in(run_dashboard):
    async with run_dashboard(fakes.FakeSource()) as (app, pilot):
        await run(app, pilot, "Log: follow")
        assert app.control.current == "log"
        assert not app.control.query_one("#log-flow").follow
        await run(app, pilot, f"Chat with {fakes.LLAMA.id}")
        assert app.control.current == "chat"
        assert app.control.pane.model_id == fakes.LLAMA.id


async def test_a_download_can_be_cancelled_by_name(run_dashboard):
    source = fakes.FakeSource()
    download = source.add_download("a/b", state="downloading")
    async with run_dashboard(source) as (app, pilot):
        await run(app, pilot, "Cancel the download of a/b")
        assert download.state == "cancelled"


@pytest.mark.parametrize(("typed", "theme"), [("fjord", "impetus-fjord"), ("high contrast", "impetus-high-contrast")])
async def test_the_palette_finds_a_theme_by_its_name(run_dashboard, typed, theme):
    source = fakes.FakeSource()
    async with run_dashboard(source) as (app, pilot):
        await pilot.press("ctrl+p")
        await pilot.pause()
        assert isinstance(app.screen, CommandPalette)
        await pilot.press(*("space" if letter == " " else letter for letter in typed))
        await settle(app, pilot)
        await press(app, pilot, "enter")
        await settle(app, pilot)
        assert app.theme == theme
        assert ("write", "dashboard", "theme", theme) in source.calls


def test_the_page_of_keys_knows_every_binding():
    page = (Path(__file__).parent.parent.parent / "docs" / "keys.md").read_text(encoding="utf-8")
    others = [
        binding for owner in (Scroller, Table, FactsScreen, HelpScreen, ExplainScreen) for binding in owner.__dict__["BINDINGS"]
    ]
    for binding in [*bindings(), *others]:
        assert f"| {binding.tooltip} | `{binding.id}` |" in page
