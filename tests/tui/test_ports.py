"""The switches for further ports: table, keys and commands, over a fake server and over the real one."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager

import aiohttp
import dashboard_fakes as fakes
import msgspec
from dashboard_pilot import beat, press, settle, text_of

from impetus.api.server import ApiServer
from impetus.runtime.config import Config, read_config
from impetus.runtime.errors import InvalidRequest
from impetus.runtime.home import find_home
from impetus.runtime.logbook import LogBook
from impetus.runtime.opening import open_runtime
from impetus.tui.app import ControlCenter
from impetus.tui.commands import all_commands


async def test_enter_on_a_port_answers_there_and_again_lets_go(run_dashboard):
    source, endpoint = fakes.FakeSource(), fakes.FakeEndpoint()
    async with run_dashboard(source, endpoint) as (app, pilot):
        await press(app, pilot, "6", "tab", "enter")
        await beat(app, pilot)
        assert "● answers  11434   Ollama's" in text_of(app.control.query_one("#ports"))
        assert ("write", "server", "also_listen", "[11434]") in source.calls
        await press(app, pilot, "enter")
        await beat(app, pilot)
        assert "○ off      11434   Ollama's" in text_of(app.control.query_one("#ports"))
        assert source.calls[-1] == ("write", "server", "also_listen", "[]")


async def test_keys_switch_each_of_the_usual_ports(run_dashboard):
    source, endpoint = fakes.FakeSource(), fakes.FakeEndpoint()
    async with run_dashboard(source, endpoint) as (app, pilot):
        await press(app, pilot, "6", "m", "o")
        assert list(endpoint.ports) == [1234, 11434]
        await press(app, pilot, "m")
        assert list(endpoint.ports) == [11434]
        assert source.calls[-1] == ("write", "server", "also_listen", "[11434]")


async def test_commands_do_the_same_from_any_pane(run_dashboard):
    endpoint = fakes.FakeEndpoint()
    async with run_dashboard(fakes.FakeSource(), endpoint) as (app, pilot):
        command = next(command for command in all_commands(app) if command.binding_id == "settings.lm_studio_port")
        app.call_later(command.run)
        await settle(app, pilot)
        await settle(app, pilot)
        assert list(endpoint.ports) == [1234]
        assert app.control.current == "settings"


async def test_a_taken_port_says_who_holds_it_and_a_found_one_by_whom(run_dashboard):
    endpoint = fakes.FakeEndpoint()
    endpoint.taken[11434] = "Port 11434 is taken: ollama (process 77) listens there."
    async with run_dashboard(fakes.FakeSource(), endpoint) as (app, pilot):
        await press(app, pilot, "6", "o", "m")
        endpoint.found(1234, "lmstudio-js/1.2")
        await beat(app, pilot)
        assert "▲ taken    11434" in text_of(app.control.query_one("#ports"))
        facts = text_of(app.control.query_one("#settings-facts"))
        assert "ollama (process 77) listens there" in facts
        assert "found by lmstudio-js/1.2" in facts


async def test_a_refusal_is_told_in_words(run_dashboard):
    source, endpoint = fakes.FakeSource(), fakes.FakeEndpoint()
    endpoint.refuse_next = InvalidRequest("The server does not serve.")
    async with run_dashboard(source, endpoint) as (app, pilot):
        await press(app, pilot, "6", "o")
        assert [notification.message for notification in app._notifications] == ["The server does not serve."]
        assert not any(call[0] == "write" for call in source.calls)


@asynccontextmanager
async def real_dashboard(folder):
    home = find_home(str(folder))
    sections = {
        "server": {"port": 0},
        "models": {"huggingface_cache": False, "starter": False, "load_at_start": False},
        "dashboard": {"refresh_s": 0.2},
    }
    runtime = open_runtime(
        msgspec.convert(sections, Config),
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


async def until(condition, pilot) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await pilot.pause(0.02)


async def test_over_the_real_server_a_client_finds_the_port_and_the_settings_keep_it(tmp_path):
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
    async with real_dashboard(tmp_path) as (app, pilot, runtime, server):
        await press(app, pilot, "6")
        app.control.pane.action_listen(port)
        await until(lambda: f"● answers  {port}" in text_of(app.control.query_one("#ports")), pilot)
        await until(lambda: runtime.config.server.also_listen == [port], pilot)
        assert read_config(runtime.config_path).server.also_listen == [port]
        async with (
            aiohttp.ClientSession(headers={"User-Agent": "ollama-python/0.6"}) as session,
            session.get(f"http://127.0.0.1:{port}/health") as response,
        ):
            assert response.status == 200
        await until(lambda: "found by ollama-python/0.6" in text_of(app.control.query_one("#settings-facts")), pilot)
        app.control.pane.action_listen(port)
        await until(lambda: server.extra_ports() == (), pilot)
        await until(lambda: runtime.config.server.also_listen == [], pilot)
