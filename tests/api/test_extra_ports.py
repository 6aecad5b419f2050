"""Further ports: opened where they are free, waited for where they are not, let go of when asked."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest

from impetus.api import extra_ports
from impetus.api.server import ApiServer
from impetus.runtime.config import ServerConfig
from impetus.runtime.errors import InvalidRequest


@pytest.fixture
def free_port() -> int:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        return holder.getsockname()[1]


async def listen(live, port: int, *, on: bool) -> dict:
    async with live.session.post(live.url + "/impetus/v1/listen", json={"port": port, "on": on}) as response:
        assert response.status == 200
        return await response.json()


async def addresses(live) -> list[dict]:
    async with live.session.get(live.url + "/impetus/v1/status") as response:
        return (await response.json())["addresses"]


async def test_no_further_port_is_opened_unless_the_settings_say_so(live) -> None:
    [main] = await addresses(live)
    assert (main["url"], main["state"]) == (live.url, "listening")


async def test_the_settings_ports_answer_with_the_same_application(serve, free_port: int) -> None:
    async with serve(also_listen=[free_port, free_port]) as live:
        async with live.session.get(f"http://127.0.0.1:{free_port}/v1/models") as response:
            assert response.status == 200
            assert [model["id"] for model in (await response.json())["data"]] == ["echo"]
        _, extra = await addresses(live)
        assert (extra["port"], extra["state"], extra["problem"]) == (free_port, "listening", None)
    with pytest.raises(aiohttp.ClientConnectorError):
        async with aiohttp.ClientSession() as session:
            await session.get(f"http://127.0.0.1:{free_port}/")


async def test_a_port_is_let_go_of_so_that_another_program_has_it_at_once(live, free_port: int) -> None:
    assert (await listen(live, free_port, on=True))["state"] == "listening"
    # This leaves an idle connection behind, which must not hold the port.
    async with live.session.get(f"http://127.0.0.1:{free_port}/health") as response:
        assert response.status == 200
    assert (await listen(live, free_port, on=False))["state"] == "off"
    with socket.create_server(("127.0.0.1", free_port)):
        assert (await listen(live, free_port, on=True))["state"] == "waiting"
    assert len(await addresses(live)) == 2


async def test_a_taken_port_is_told_with_its_holder_and_had_once_it_is_free(live, free_port: int, monkeypatch) -> None:
    monkeypatch.setattr(extra_ports, "RETRY_S", 0.02)
    changed = asyncio.Event()
    live.server.listen(changed.set)
    with socket.create_server(("127.0.0.1", free_port)):
        entry = await listen(live, free_port, on=True)
        assert entry["state"] == "waiting"
        assert f"Port {free_port} is taken" in entry["problem"]
        assert "listens there" in entry["problem"]
        changed.clear()
    async with asyncio.timeout(10):
        while live.server.extra_ports()[0].state != "listening":
            await changed.wait()
            changed.clear()
    async with live.session.get(f"http://127.0.0.1:{free_port}/health") as response:
        assert response.status == 200


async def test_who_finds_a_port_is_told_once(live, free_port: int, caplog) -> None:
    await listen(live, free_port, on=True)
    changes: list[None] = []
    live.server.listen(lambda: changes.append(None))
    with caplog.at_level("INFO", logger="impetus"):
        for _ in range(3):
            for agent in ("ollama-js/0.6 (x64)", "cline/3"):
                headers = {"User-Agent": agent}
                async with live.session.get(f"http://127.0.0.1:{free_port}/health", headers=headers) as response:
                    assert response.status == 200
    _, extra = await addresses(live)
    assert extra["clients"] == ["ollama-js/0.6", "cline/3"]
    told = [record.getMessage() for record in caplog.records if "found Impetus" in record.getMessage()]
    assert told == [f"{name} found Impetus on port {free_port}" for name in ("ollama-js/0.6", "cline/3")]
    assert len(changes) == 2


async def test_a_foreign_page_is_refused_there_too_and_no_finder(live, free_port: int) -> None:
    await listen(live, free_port, on=True)
    async with live.session.get(
        f"http://127.0.0.1:{free_port}/v1/models", headers={"Origin": "https://evil.example"}
    ) as answer:
        assert answer.status == 403
    _, extra = await addresses(live)
    assert extra["clients"] == []


@pytest.mark.parametrize("port", [0, 80, 1023, 65536, "11434", None])
async def test_a_silly_port_is_refused(live, port: object) -> None:
    async with live.session.post(live.url + "/impetus/v1/listen", json={"port": port, "on": True}) as response:
        assert response.status == 400
        assert (await response.json())["error"]["param"] == "port"


async def test_the_servers_own_port_is_no_further_one(live) -> None:
    own = int(live.url.rsplit(":", 1)[1])
    async with live.session.post(live.url + "/impetus/v1/listen", json={"port": own, "on": True}) as response:
        assert (response.status, (await response.json())["error"]["param"]) == (400, "port")
    assert len(await addresses(live)) == 1


async def test_a_server_that_does_not_serve_opens_no_port(live, free_port: int) -> None:
    server = ApiServer(live.runtime, ServerConfig(port=int(live.url.rsplit(":", 1)[1])))
    async with server:
        assert server.state == "failed"
        with pytest.raises(InvalidRequest):
            await server.also_listen(free_port, on=True)
