"""The control center over the real runtime with the echo engine, and the real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest
from dashboard_pilot import settle, shown, text_of
from textual.pilot import Pilot

from impetus.api.server import ApiServer
from impetus.runtime.config import Config, read_config
from impetus.runtime.home import find_home
from impetus.runtime.logbook import LogBook
from impetus.runtime.opening import open_runtime
from impetus.runtime.runtime import Runtime
from impetus.tui.app import ControlCenter
from impetus.tui.screens.chat import ChatPane
from impetus.tui.screens.overview import OverviewPane

SECTIONS = {
    "server": {"port": 0},
    "models": {"huggingface_cache": False, "starter": False, "load_at_start": False},
    "dashboard": {"refresh_s": 0.2},
}


@asynccontextmanager
async def dashboard(folder: Path) -> AsyncGenerator[tuple[ControlCenter, Pilot[None], Runtime, ApiServer]]:
    home = find_home(str(folder))
    runtime = open_runtime(
        msgspec.convert(SECTIONS, Config),
        home=home,
        config_path=home.settings_path,
        logbook=LogBook(),
        environment={"CI": "true", "PATH": "/usr/bin:/bin"},
        usable_cpus=2,
        echo=True,
    )
    async with runtime, ApiServer(runtime, runtime.config.server) as server:
        await runtime.scanned.wait()
        app = ControlCenter(runtime, server)
        async with app.run_test(size=(120, 40)) as pilot:
            await settle(app, pilot)
            yield app, pilot, runtime, server


async def until(condition: Callable[[], bool], app: ControlCenter, pilot: Pilot[None]) -> None:
    try:
        async with asyncio.timeout(20):
            while not condition():
                await pilot.pause(0.02)
    except TimeoutError:
        pytest.fail(f"this did not come: {condition}\n{shown(app)}")


def state(runtime: Runtime) -> str:
    return next(status.state for status in runtime.statuses() if status.model.id == "echo")


async def test_loading_chatting_and_unloading(tmp_path):
    async with dashboard(tmp_path) as (app, pilot, runtime, _):
        await pilot.press("2", "l")
        await until(lambda: "● ready" in shown(app), app, pilot)
        assert state(runtime) == "ready"
        await pilot.press("4", *"hello", "enter")
        pane = app.control.query_one(ChatPane)
        await until(lambda: not pane.replying and "hello" in text_of(pane.flow).split("you", 1)[1], app, pilot)
        assert runtime.journal.newest(1)[0].stage == "done"
        await pilot.press("escape", "2", "u")
        await until(lambda: state(runtime) == "unloaded", app, pilot)
        await until(lambda: "○ on disk" in shown(app), app, pilot)


async def test_a_client_of_the_server_appears_among_the_requests(tmp_path):
    async with dashboard(tmp_path) as (app, pilot, _, server):
        await until(lambda: f"{server.url}/v1" in shown(app), app, pilot)
        body = {"model": "echo", "messages": [{"role": "user", "content": "a b c d e f"}], "max_tokens": 200, "echo_tps": 100}
        async with aiohttp.ClientSession(headers={"User-Agent": "cline/3"}) as session:
            answer = asyncio.create_task(session.post(f"{server.url}/v1/chat/completions", json=body))
            table = app.control.query_one(OverviewPane).requests
            await until(lambda: "cline/3" in text_of(table) and "▸ decode" in text_of(table), app, pilot)
            (await answer).close()
        await until(lambda: "✓ done" in text_of(table), app, pilot)
        await until(lambda: "tok/s" in text_of(app.control.query_one(OverviewPane).chart), app, pilot)


async def test_a_killed_engine_is_told(tmp_path):
    async with dashboard(tmp_path) as (app, pilot, runtime, _):
        await runtime.load("echo")
        await until(lambda: "● ready" in shown(app), app, pilot)
        pid = next(status.pid for status in runtime.statuses() if status.pid is not None)
        await asyncio.to_thread(kill, pid)
        await until(lambda: "SIGKILL" in shown(app), app, pilot)


def kill(pid: int) -> None:
    import os
    import signal

    os.kill(pid, signal.SIGKILL)


async def test_a_theme_reaches_the_settings_file(tmp_path):
    async with dashboard(tmp_path) as (app, pilot, runtime, _):
        await pilot.press("t")
        await until(lambda: runtime.config.dashboard.theme != "impetus-dark", app, pilot)
        assert app.theme == runtime.config.dashboard.theme
        assert read_config(runtime.config_path).dashboard.theme == app.theme
