"""What the keys do, and what the runtime's changes show, over a fake runtime."""

from __future__ import annotations

import asyncio
import logging

import dashboard_fakes as fakes
import dashboard_scenes as scenes
import pytest
from dashboard_pilot import beat, press, settle, shown, text_of

from impetus.runtime.errors import DownloadError, LoadFailed, Overloaded
from impetus.tui.screens.chat import ChatPane
from impetus.tui.screens.dialogs import FactsScreen, HelpScreen
from impetus.tui.screens.downloads import DownloadsPane
from impetus.tui.screens.log import LogPane
from impetus.tui.screens.models import ModelsPane
from impetus.tui.screens.overview import OverviewPane


def notices(app) -> list[str]:
    return [notification.message for notification in app._notifications]


async def test_number_keys_change_the_pane(run_dashboard):
    async with run_dashboard(fakes.FakeSource()) as (app, pilot):
        for key, pane in (("2", "models"), ("5", "log"), ("6", "settings"), ("1", "overview")):
            await press(app, pilot, key)
            assert app.control.current == pane
            assert [each.id for each in app.control.query("Pane") if each.display] == [pane]


async def test_brackets_step_through_the_panes(run_dashboard):
    async with run_dashboard(fakes.FakeSource()) as (app, pilot):
        await press(app, pilot, "left_square_bracket")
        assert app.control.current == "advice"
        await press(app, pilot, "right_square_bracket", "right_square_bracket")
        assert app.control.current == "models"


async def test_all_panes_stay_in_view_in_a_narrow_terminal_with_much_to_tell(run_dashboard):
    source = scenes.failed()
    source.set_ready(fakes.CODER.id)
    source.add_download("a/b", state="downloading")
    async with run_dashboard(source, size=(80, 24)) as (app, pilot):
        for number in range(12):
            source.log(logging.ERROR, "engines.process", f"trouble {number}")
        await settle(app, pilot)
        await beat(app, pilot)
        assert text_of(app.control.tab_bar).endswith("2 Models ●1 ✗2 3 Downloads ↓1 4 Chat 5 Log ✗12 6 Settings 7 Advice")
        await pilot.click("#tabs", offset=(text_of(app.control.tab_bar).index("7 Advice"), 0))
        await settle(app, pilot)
        assert app.control.current == "advice"


@pytest.mark.parametrize(
    ("machine", "words"),
    [("rosetta", "use an arm64 Python"), ("intel", "not supported"), ("asahi", ""), ("vm", ""), ("a18_pro", "")],
)
async def test_what_should_be_changed_about_the_machine_is_told_in_a_narrow_terminal_too(run_dashboard, machine, words):
    async with run_dashboard(scenes.recorded(machine), size=(80, 24)) as (app, _):
        assert app.control.notice.display == bool(words)
        assert words in text_of(app.control.notice)


async def test_load_unload_and_switch_act_on_the_model_under_the_cursor(run_dashboard):
    source = fakes.FakeSource()
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "2", "l")
        assert source.status(fakes.LLAMA.id).state == "ready"
        await beat(app, pilot)
        assert "● ready" in text_of(app.control.query_one(ModelsPane).table)
        await press(app, pilot, "down", "down", "s")
        assert source.status(fakes.LLAMA.id).state == "unloaded"
        assert source.status(fakes.CODER.id).state == "ready"
        await press(app, pilot, "u")
        assert source.status(fakes.CODER.id).state == "unloaded"


async def test_enter_loads_too(run_dashboard):
    source = fakes.FakeSource()
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "2", "end", "enter")
        assert ("load", fakes.SMOL.id) in source.calls


async def test_a_refused_model_is_a_notification_and_a_readable_reason(run_dashboard):
    source = fakes.FakeSource()
    source.fail_next = LoadFailed(fakes.LLAMA.id, "unknown architecture '[b]quux[/b]'")
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "2", "l")
        await beat(app, pilot)
        assert notices(app) == [f"'{fakes.LLAMA.id}' could not be loaded: unknown architecture '[b]quux[/b]'"]
        pane = app.control.query_one(ModelsPane)
        assert "✗ failed" in text_of(pane.table)
        assert "[b]quux[/b]" in text_of(pane.facts)
        assert "[b]quux[/b]" in text_of(app.control.notice)


async def test_an_error_that_is_not_ours_is_told_without_a_traceback(run_dashboard):
    source = fakes.FakeSource()
    source.fail_next = RuntimeError("surprise")
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "2", "l")
        assert notices(app) == ["RuntimeError: surprise"]


async def test_loading_shows_its_progress(run_dashboard):
    source = fakes.FakeSource()
    async with run_dashboard(source) as (app, pilot):
        source.set_status(fakes.CODER.id, state="loading", progress=0.42)
        await beat(app, pilot)
        assert "loading 42 % ━━━━━━━━━━───────" in text_of(app.control.notice)
        source.set_ready(fakes.CODER.id)
        await beat(app, pilot)
        assert not app.control.notice.display


async def test_refresh_looks_for_models_again(run_dashboard):
    source = fakes.FakeSource()
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "2", "r")
        assert ("rescan",) in source.calls


async def test_without_models_the_overview_says_how_to_get_one(run_dashboard):
    source = scenes.empty()
    async with run_dashboard(source) as (app, pilot):
        assert "impetus pull" in shown(app)
        source._statuses[fakes.SMOL.id] = fakes.ModelStatus(fakes.SMOL)
        source.changed()
        await beat(app, pilot)
        assert "impetus pull" not in shown(app)


async def test_unknown_readings_are_shown_as_unknown(run_dashboard):
    source = fakes.FakeSource()
    source.monitor.push(fakes.Sample(at_s=1.0))
    async with run_dashboard(source) as (app, _):
        overview = app.control.query_one(OverviewPane)
        for name in ("cpu", "gpu", "thermal", "pressure"):
            assert "? unknown" in text_of(overview.query_one(f"#{name}"))
        assert "does not tell" in text_of(overview.memory)


async def test_a_new_reading_moves_the_gauges(run_dashboard):
    source = fakes.FakeSource()
    source.monitor.push(scenes.mac_sample(1.0, cpu=10.0))
    async with run_dashboard(source) as (app, pilot):
        gauge = app.control.query_one("#cpu")
        assert "10 %" in text_of(gauge)
        await asyncio.to_thread(source.monitor.push, scenes.mac_sample(2.0, cpu=77.0))
        await settle(app, pilot)
        await beat(app, pilot)
        assert "77 %" in text_of(gauge)


async def test_requests_are_listed_and_their_tokens_counted(run_dashboard):
    source = fakes.FakeSource()
    async with run_dashboard(source) as (app, pilot):
        table = app.control.query_one(OverviewPane).requests
        assert "No request yet" in text_of(table)
        record = source.journal.open(model=fakes.SMOL.id, client="cline", route="/v1/chat/completions")
        await beat(app, pilot)
        assert "○ queued" in text_of(table)
        source.journal.count_tokens(record, 42)
        await beat(app, pilot)
        assert "▸ decode" in text_of(table)
        assert "42" in text_of(table)


async def test_enter_shows_all_of_a_request_with_its_whole_error(run_dashboard):
    source = scenes.failed()
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "down", "enter")
        assert isinstance(app.screen, FactsScreen)
        text = text_of(app.screen.query_one("#dialog-facts"))
        assert "SIGKILL" in text
        assert "failed to allocate compute buffers" in text
        await press(app, pilot, "escape")
        assert app.screen is app.control


async def test_a_busy_port_is_told_in_words_and_the_dashboard_goes_on(run_dashboard):
    endpoint = fakes.FakeEndpoint()
    async with run_dashboard(fakes.FakeSource(), endpoint) as (app, pilot):
        assert "● serving http://127.0.0.1:8080/v1" in text_of(app.control.title_bar)
        endpoint.fail("port 8080 is taken")
        await beat(app, pilot)
        assert "✗ not serving" in text_of(app.control.title_bar)
        assert "port 8080 is taken" in text_of(app.control.notice)
        await press(app, pilot, "2")
        assert app.control.current == "models"


async def test_a_theme_is_used_and_written(run_dashboard):
    source = fakes.FakeSource()
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "6", "end", "enter")
        assert app.theme == "impetus-light"
        assert ("write", "dashboard", "theme", "impetus-light") in source.calls
        assert "● Impetus Light" in text_of(app.control.query_one("#themes"))
        await press(app, pilot, "t")
        assert app.theme == "impetus-dark"
        assert source.config.dashboard.theme == "impetus-dark"


async def test_the_theme_of_the_settings_is_used_and_an_unknown_one_is_not(run_dashboard):
    async with run_dashboard(fakes.FakeSource(theme="impetus-ember")) as (app, _):
        assert app.theme == "impetus-ember"
    async with run_dashboard(fakes.FakeSource(theme="no-such-theme")) as (app, _):
        assert app.theme == "impetus-dark"


async def test_keys_can_be_rebound_by_the_settings(run_dashboard):
    source = fakes.FakeSource(keys={"pane.models": "m", "models.load": "L"})
    async with run_dashboard(source) as (app, pilot):
        assert " m Models" in text_of(app.control.tab_bar)
        await press(app, pilot, "2")
        assert app.control.current == "overview"
        await press(app, pilot, "m", "L")
        assert ("load", fakes.LLAMA.id) in source.calls


async def test_help_explains_the_pane_and_lists_its_keys(run_dashboard):
    async with run_dashboard(fakes.FakeSource()) as (app, pilot):
        await press(app, pilot, "2", "question_mark")
        assert isinstance(app.screen, HelpScreen)
        text = app.screen.query_one("#help-flow").text
        assert "Hugging Face cache" in text
        assert "Unload all others and load this one" in text
        await press(app, pilot, "escape")
        assert app.screen is app.control


async def test_clicks_on_names_and_keys_do_what_they_say(run_dashboard):
    async with run_dashboard(fakes.FakeSource()) as (app, pilot):
        await pilot.click("#tabs", offset=(18, 0))
        await settle(app, pilot)
        assert app.control.current == "models"
        await pilot.click("#keys", offset=(2, 0))
        await settle(app, pilot)
        assert app.runtime.calls[-1] == ("load", fakes.LLAMA.id)


async def test_the_endpoint_is_copied(run_dashboard):
    async with run_dashboard(fakes.FakeSource()) as (app, pilot):
        await press(app, pilot, "y")
        assert app.clipboard == "http://127.0.0.1:8080/v1"


async def test_chat_streams_counts_and_keeps_the_conversation(run_dashboard):
    source = fakes.FakeSource()
    source.set_ready(fakes.SMOL.id)
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "4", "=hi", "enter")
        pane = app.control.query_one(ChatPane)
        assert pane.model_id == fakes.SMOL.id
        assert "Hello! How can I help you today?" in text_of(pane.flow)
        record = source.journal.newest(1)[0]
        assert (record.client, record.route, record.stage, record.completion_tokens) == ("dashboard", "dashboard", "done", 7)
        await press(app, pilot, "=more", "enter")
        assert [message.role for message in pane._messages] == ["user", "assistant", "user", "assistant"]
        await press(app, pilot, "ctrl+n")
        assert pane._messages == []
        assert pane.flow.line_count() == 0


async def test_what_a_model_thinks_stands_apart_from_what_it_says(run_dashboard):
    source = fakes.FakeSource()
    source.set_ready(fakes.SMOL.id)
    source.reasoning = "They greet me."
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "4", "=hi", "enter")
        pane = app.control.query_one(ChatPane)
        thought, said = (paragraph for paragraph in pane.flow._paragraphs if paragraph.text not in ("", "hi"))
        assert (thought.text, thought.tone) == ("They greet me.", "dim")
        assert (said.text, said.tone) == ("Hello! How can I help you today?", "")
        answer = pane._messages[-1]
        assert (answer.reasoning, answer.text) == ("They greet me.", "Hello! How can I help you today?")


async def test_escape_stops_a_reply_and_then_leaves_the_field(run_dashboard):
    source = fakes.FakeSource()
    source.set_ready(fakes.SMOL.id)
    source.gate = asyncio.Event()
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "4", "=hi")
        await pilot.press("enter")
        await pilot.pause()
        pane = app.control.query_one(ChatPane)
        assert pane.replying
        await press(app, pilot, "escape")
        assert not pane.replying
        record = source.journal.newest(1)[0]
        assert record.stage == "cancelled"
        assert "stopped" in text_of(pane.flow)
        await press(app, pilot, "escape", "1")
        assert app.control.current == "overview"


async def test_a_failed_reply_is_told_in_the_conversation(run_dashboard):
    source = fakes.FakeSource()
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "4", "=hi")
        source.fail_next = Overloaded("All 272 places are taken. [red]Try again[/red].")
        await press(app, pilot, "enter")
        assert "[red]Try again[/red]" in text_of(app.control.query_one(ChatPane).flow)


async def test_model_output_cannot_move_the_cursor_or_write_markup(run_dashboard):
    source = fakes.FakeSource()
    source.answer = "[bold]plain[/bold] \x1b[2J\x1b[31mred \u202egnirts\nsecond"
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "4", "=hi", "enter")
        text = text_of(app.control.query_one(ChatPane).flow)
        assert "[bold]plain[/bold]" in text
        assert "\x1b" not in text
        assert "\u202e" not in text


async def test_chat_without_a_model_says_so(run_dashboard):
    async with run_dashboard(scenes.empty()) as (app, pilot):
        await press(app, pilot, "4", "=hi", "enter")
        assert any("no model" in notice for notice in notices(app))


async def test_ctrl_t_talks_to_the_next_model(run_dashboard):
    source = fakes.FakeSource()
    source.set_ready(fakes.SMOL.id)
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "4", "ctrl+t")
        assert app.control.query_one(ChatPane).model_id == fakes.LLAMA.id


async def test_a_search_leads_to_files_and_a_file_to_a_download(run_dashboard):
    source = fakes.FakeSource()
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "3", "slash", "=qwen3", "enter")
        pane = app.control.query_one(DownloadsPane)
        assert ("search", "qwen3") in source.calls
        assert "unsloth/Qwen3-8B-GGUF" in text_of(pane.results)
        await press(app, pilot, "down", "enter")
        assert ("files", "unsloth/Qwen3-8B-GGUF") in source.calls
        await press(app, pilot, "down", "enter")
        assert ("pull", "unsloth/Qwen3-8B-GGUF:Qwen3-8B-Q5_K_M.gguf") in source.calls
        await beat(app, pilot)
        assert "↓ downloading" in text_of(pane.transfers)


async def test_a_download_shows_its_progress_and_can_be_cancelled(run_dashboard):
    source = fakes.FakeSource()
    download = source.add_download("a/b:Q4_K_M", total_bytes=4 * fakes.GIB, state="downloading")
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "3")
        pane = app.control.query_one(DownloadsPane)
        download.done_bytes, download.rate_bytes_per_s = fakes.GIB, 50e6
        source.changed()
        await beat(app, pilot)
        assert "25 %" in text_of(pane.transfers)
        assert "48 MiB/s" in text_of(pane.transfers)
        await press(app, pilot, "x")
        await beat(app, pilot)
        assert "⊘ cancelled" in text_of(pane.transfers)


async def test_typed_references_download_at_once_and_repositories_list_their_files(run_dashboard):
    source = fakes.FakeSource()
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "3", "slash")
        pane = app.control.query_one(DownloadsPane)
        pane.search.value = "a/b:Q8_0"
        await press(app, pilot, "enter")
        assert ("pull", "a/b:Q8_0") in source.calls
        pane.search.focus()
        pane.search.value = "a/b"
        await press(app, pilot, "enter")
        assert ("files", "a/b") in source.calls


async def test_a_hub_that_does_not_answer_is_told(run_dashboard):
    source = fakes.FakeSource()
    source.fail_next = DownloadError("The Hub cannot be reached.")
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "3", "slash", "=qwen", "enter")
        assert "✗ The Hub cannot be reached." in text_of(app.control.query_one(DownloadsPane).results)
        assert "The Hub cannot be reached." in notices(app)


async def test_the_log_filters_follows_and_counts_unseen_errors(run_dashboard):
    source = scenes.failed()
    async with run_dashboard(source) as (app, pilot):
        source.log(40, "api.server", "first")
        await settle(app, pilot)
        await beat(app, pilot)
        assert "Log ✗1" in text_of(app.control.tab_bar)
        await press(app, pilot, "5")
        assert "Log ✗" not in text_of(app.control.tab_bar)
        pane = app.control.query_one(LogPane)
        assert "Loaded" in text_of(pane.flow)
        await press(app, pilot, "l", "l")
        assert "Loaded" not in text_of(pane.flow)
        assert "first" in text_of(pane.flow)
        source.log(40, "api.server", "a second one")
        await settle(app, pilot)
        await beat(app, pilot)
        assert "a second one" in text_of(pane.flow)
        await press(app, pilot, "f")
        assert not pane.flow.follow


async def test_hidden_panes_are_not_worked_for(run_dashboard):
    source = fakes.FakeSource()
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "2", "1")
        table = app.control.query_one(ModelsPane).table
        before = table.rows
        source.set_ready(fakes.SMOL.id)
        await beat(app, pilot)
        assert table.rows is before
        await press(app, pilot, "2")
        assert "● ready" in text_of(table)


async def test_q_quits(run_dashboard):
    async with run_dashboard(fakes.FakeSource()) as (app, pilot):
        await pilot.press("q")
        await pilot.pause()
        assert app._exit
        assert app.return_code == 0


@pytest.mark.parametrize("size", [(1, 1), (20, 5), (40, 12), (79, 23)], ids=str)
async def test_even_tiny_terminals_are_drawn_on(run_dashboard, size):
    async with run_dashboard(scenes.busy(), size=size) as (app, pilot):
        for key in "235614":
            await press(app, pilot, key)
            shown(app)
        assert app.control.current == "chat"


async def test_leaving_in_the_middle_of_a_reply_stops_it(run_dashboard):
    source = fakes.FakeSource()
    source.set_ready(fakes.SMOL.id)
    source.gate = asyncio.Event()
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "4", "=hi")
        await pilot.press("enter")
        await pilot.pause()
        await pilot.press("ctrl+q")
    assert source.journal.newest(1)[0].stage == "cancelled"
    assert app.return_code == 0


async def test_a_click_takes_a_row_and_a_second_one_chooses_it(run_dashboard):
    source = fakes.FakeSource()
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "2")
        await pilot.click("#models-table", offset=(5, 4))
        await settle(app, pilot)
        assert app.control.query_one(ModelsPane).table.cursor == fakes.CODER.id
        await pilot.click("#models-table", offset=(5, 5), times=2)
        await settle(app, pilot)
        assert source.calls == [("load", fakes.SMOL.id)]


async def test_names_of_files_cannot_write_to_the_terminal(run_dashboard):
    evil = fakes.replace(fakes.SMOL, id="evil\x1b]0;title\x07[red]name")
    source = fakes.FakeSource(models=(evil,))
    source.fail_next = LoadFailed(evil.id, "\x1b[2J")
    async with run_dashboard(source) as (app, pilot):
        source.add_request("failed", model_id=evil.id, client="\x1b[31mclient", error="\x9b31m")
        await press(app, pilot, "2", "l", "1")
        await beat(app, pilot)
        for key in ("enter", "escape", "2", "4", "escape"):
            await press(app, pilot, key)
            text = shown(app)
            assert not any(character in text for character in "\x1b\x07\x9b")
        assert "[red]name" in text


async def test_enter_shows_why_a_download_failed(run_dashboard):
    source = scenes.failed()
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "3")
        app.control.query_one(DownloadsPane).transfers.focus()
        await press(app, pilot, "enter")
        text = text_of(app.screen.query_one("#dialog-facts"))
        assert "The disk has 0.4 GiB left, the model needs 2.0 GiB more." in text
        assert "1.0 GiB of 3.0 GiB" in text
