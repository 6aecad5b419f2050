"""How the server begins, fails and ends."""

from __future__ import annotations

import asyncio
import json
import socket

import aiohttp
import pytest

from impetus.api.ports import find_holder
from impetus.api.server import ApiServer
from impetus.runtime.config import ServerConfig


@pytest.fixture
def taken_port():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


async def test_a_free_port_is_found_and_told(live) -> None:
    assert live.server.state == "serving"
    assert live.server.problem is None
    assert live.url.startswith("http://127.0.0.1:")
    assert int(live.url.rsplit(":", 1)[1]) > 0
    async with live.session.get(live.url + "/health") as response:
        assert (response.status, (await response.json())["status"]) == (200, "ok")


async def test_a_taken_port_is_a_problem_in_words_and_no_exception(live, taken_port: int) -> None:
    states: list[str] = []
    server = ApiServer(live.runtime, ServerConfig(port=taken_port))
    server.listen(lambda: states.append(server.state))
    async with server:
        assert server.state == "failed"
        assert server.url is None
        assert server.problem is not None
        assert str(taken_port) in server.problem
        assert "listens there" in server.problem
        assert "--port" in server.problem
    assert states == ["starting", "failed", "stopped"]


def test_the_holder_of_a_port_is_named_or_guessed(taken_port: int) -> None:
    assert "listens there" in find_holder(taken_port)
    assert "Ollama" in find_holder(11434) or "process" in find_holder(11434)


async def test_other_machines_need_a_key(live) -> None:
    async with ApiServer(live.runtime, ServerConfig(host="0.0.0.0", port=0)) as server:
        assert server.state == "failed"
        assert "api_key" in (server.problem or "")
    async with ApiServer(live.runtime, ServerConfig(host="0.0.0.0", port=0, api_key="k")) as server:
        assert server.state == "serving"


async def test_an_address_of_another_machine_is_a_problem(live) -> None:
    async with ApiServer(live.runtime, ServerConfig(host="192.0.2.1", port=0, api_key="k")) as server:
        assert server.state == "failed"
        assert "192.0.2.1" in (server.problem or "")


async def test_a_listener_can_leave(live) -> None:
    calls: list[None] = []
    server = ApiServer(live.runtime, ServerConfig(port=0))
    remove = server.listen(lambda: calls.append(None))
    remove()
    async with server:
        pass
    assert calls == []


async def test_closing_ends_running_streams_soon_and_cancels_their_requests(live) -> None:
    body = {"model": "echo", "messages": [{"role": "user", "content": "word " * 50}], "stream": True, "echo_tps": 5}
    server = ApiServer(live.runtime, ServerConfig(port=0))
    async with server:
        response = await live.session.post(f"{server.url}/v1/chat/completions", data=json.dumps(body))
        await response.content.readline()
        loop = asyncio.get_running_loop()
        before_s = loop.time()
    assert loop.time() - before_s < 3
    assert server.state == "stopped"
    assert (await live.until("cancelled")).completion_tokens < 50
    with pytest.raises(aiohttp.ClientPayloadError):
        await response.read()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused_and_logged_in_one_quiet_line(live, caplog, sent: bytes) -> None:
    with caplog.at_level("INFO", logger="impetus"):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(live.url.rsplit(":", 1)[1]))
        writer.write(sent)
        async with asyncio.timeout(5):
            assert b" 400 " in (await reader.read()).splitlines()[0]
        writer.close()
        await writer.wait_closed()
    [line] = [record for record in caplog.records if "no HTTP" in record.getMessage()]
    assert (line.levelname, line.exc_info, line.name) == ("INFO", None, "impetus.api.http_log")
