"""One picture per screen and state. A changed one is looked at before `--snapshot-update`."""

from __future__ import annotations

import logging

import dashboard_fakes as fakes
import dashboard_scenes as scenes
import pytest
from dashboard_pilot import press, settle

STATES = {"empty": scenes.empty, "busy": scenes.busy, "failed": scenes.failed}
BUSY_PORT = "port 8080 on 127.0.0.1 is taken by another program. Use --port, or stop the other one."


def endpoint(state: str) -> fakes.FakeEndpoint:
    found = fakes.FakeEndpoint()
    if state == "failed":
        found.fail(BUSY_PORT)
    return found


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_overview(run_dashboard, check_snapshot, state, size):
    async with run_dashboard(STATES[state](), endpoint(state), size) as (app, _):
        suffix = "" if size == (120, 40) else f"-{size[0]}x{size[1]}"
        check_snapshot(app, f"overview-{state}{suffix}")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(("key", "pane"), [("2", "models"), ("5", "log"), ("6", "settings")])
async def test_panes(run_dashboard, check_snapshot, state, key, pane):
    async with run_dashboard(STATES[state](), endpoint(state)) as (app, pilot):
        await press(app, pilot, key)
        check_snapshot(app, f"{pane}-{state}")


async def test_ports_in_the_settings(run_dashboard, check_snapshot):
    server = fakes.FakeEndpoint()
    server.taken[11434] = "Port 11434 is taken: ollama (process 4711) listens there."
    async with run_dashboard(scenes.busy(), server) as (app, pilot):
        await press(app, pilot, "6", "o", "m", "tab")
        server.found(1234, "continue/1.3.2")
        app.control._bridge.beat()
        await settle(app, pilot)
        check_snapshot(app, "settings-ports")


async def test_downloads_empty(run_dashboard, check_snapshot):
    async with run_dashboard(scenes.empty()) as (app, pilot):
        await press(app, pilot, "3")
        check_snapshot(app, "downloads-empty")


async def test_downloads_busy(run_dashboard, check_snapshot):
    async with run_dashboard(scenes.busy()) as (app, pilot):
        await press(app, pilot, "3", "slash", "=qwen3", "enter", "enter")
        check_snapshot(app, "downloads-busy")


async def test_downloads_failed(run_dashboard, check_snapshot):
    source = scenes.failed()
    async with run_dashboard(source, endpoint("failed")) as (app, pilot):
        await press(app, pilot, "3", "slash", "=qwen3")
        source.fail_next = fakes.DownloadError("The Hub cannot be reached: no route to host.")
        await press(app, pilot, "enter")
        app.clear_notifications()
        await settle(app, pilot)
        check_snapshot(app, "downloads-failed")


async def test_chat_empty(run_dashboard, check_snapshot):
    async with run_dashboard(scenes.empty()) as (app, pilot):
        await press(app, pilot, "4")
        check_snapshot(app, "chat-empty")


async def test_chat_busy(run_dashboard, check_snapshot):
    source = scenes.busy()
    source.answer = "So that if one dies,\nthe dashboard lives on.\n\n```python\nprint('[bold]not markup')\n```"
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "4", "=why processes?", "enter")
        check_snapshot(app, "chat-busy")


async def test_chat_failed(run_dashboard, check_snapshot):
    source = scenes.busy()
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "4", "=hello")
        source.fail_next = fakes.EngineCrashed(fakes.CODER.id, how="SIGKILL", last_words=("ggml: out of memory",))
        await press(app, pilot, "enter")
        check_snapshot(app, "chat-failed")


@pytest.mark.parametrize("machine", ["unknown_chip", "vm", "rosetta", "intel", "asahi", "a18_pro", "m6_three_levels"])
@pytest.mark.parametrize("size", [(80, 24), (120, 32)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_machines(run_dashboard, check_snapshot, machine, size):
    async with run_dashboard(scenes.recorded(machine), size=size) as (app, _):
        check_snapshot(app, f"machine-{machine.replace('_', '-')}" + ("" if size == (120, 32) else "-80x24"))


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (160, 45)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_advice(run_dashboard, check_snapshot, size):
    source = scenes.recorded("m4_max")
    source.set_ready(fakes.LLAMA.id)
    pull = {"total_bytes": 32 * fakes.GIB, "done_bytes": 13 * fakes.GIB, "rate_bytes_per_s": 48e6, "state": "downloading"}
    source.add_download("unsloth/Qwen3-30B-A3B-Instruct-2507-GGUF:Q8_0", **pull)
    async with run_dashboard(source, size=size) as (app, pilot):
        await press(app, pilot, "7", "f", *["down"] * (5 if size == (80, 24) else 0))
        check_snapshot(app, "advice" + ("" if size == (120, 40) else f"-{size[0]}x{size[1]}"))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_advice_out_of_a_search(run_dashboard, check_snapshot, size):
    async with run_dashboard(scenes.recorded("m4_max"), size=size) as (app, pilot):
        await press(app, pilot, "7", "slash", "=qwen3", "enter")
        check_snapshot(app, "advice-search" + ("" if size == (120, 40) else "-80x24"))


@pytest.mark.parametrize("machine", ["a18_pro", "intel"])
async def test_advice_for_small_machines(run_dashboard, check_snapshot, machine):
    async with run_dashboard(scenes.recorded(machine), size=(120, 32)) as (app, pilot):
        await press(app, pilot, "7")
        check_snapshot(app, f"advice-{machine.replace('_', '-')}")


async def test_advice_before_the_machine_is_known(run_dashboard, check_snapshot):
    source = fakes.FakeSource()
    source.profile = None
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "7")
        check_snapshot(app, "advice-empty")


@pytest.mark.parametrize("machine", ["unknown_chip", "vm", "a18_pro", "m6_three_levels"])
async def test_all_of_a_machine(run_dashboard, check_snapshot, machine):
    async with run_dashboard(scenes.recorded(machine), size=(80, 24)) as (app, pilot):
        await press(app, pilot, "i")
        check_snapshot(app, f"machine-details-{machine.replace('_', '-')}")


async def test_loading(run_dashboard, check_snapshot):
    source = fakes.FakeSource()
    scenes.push_history(source)
    source.set_status(fakes.CODER.id, state="loading", progress=0.43)
    source.log(logging.INFO, "engines.process", f"Loading '{fakes.CODER.id}'")
    async with run_dashboard(source) as (app, _):
        check_snapshot(app, "overview-loading")


async def test_loading_in_the_models_pane(run_dashboard, check_snapshot):
    source = scenes.busy()
    source.set_status(fakes.CODER.id, state="loading", progress=0.43, running=0, pid=None, context_length=None, engine=None)
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "2", "down", "down")
        check_snapshot(app, "models-loading")


async def test_request_details(run_dashboard, check_snapshot):
    async with run_dashboard(scenes.failed(), endpoint("failed")) as (app, pilot):
        await press(app, pilot, "down", "enter")
        check_snapshot(app, "request-failed")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_why_a_prompt_was_computed_again(run_dashboard, check_snapshot, size):
    source = scenes.busy()
    scenes.add_explained(source)
    async with run_dashboard(source, size=size) as (app, pilot):
        await press(app, pilot, "e")
        check_snapshot(app, "explain-miss" + ("" if size == (120, 40) else "-80x24"))


async def test_a_prompt_that_was_not_kept(run_dashboard, check_snapshot):
    source = scenes.busy()
    scenes.add_evicted(source)
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "e")
        check_snapshot(app, "explain-evicted")


async def test_help(run_dashboard, check_snapshot):
    async with run_dashboard(scenes.busy()) as (app, pilot):
        await press(app, pilot, "2", "f1")
        check_snapshot(app, "help-models")


@pytest.mark.parametrize("theme", ["impetus-light", "impetus-high-contrast", "impetus-ember", "impetus-fjord"])
async def test_themes(run_dashboard, check_snapshot, theme):
    source = scenes.busy()
    source.config = fakes.Config(dashboard=fakes.DashboardConfig(theme=theme))
    async with run_dashboard(source) as (app, _):
        check_snapshot(app, f"theme-{theme.removeprefix('impetus-')}")
