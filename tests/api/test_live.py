"""The WebSocket that tells what changes."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import time

import aiohttp
import msgspec
import pytest

from impetus.api import live as feed_module
from impetus.api.dialects.live import Changed, FullStatus, LiveMessage, RequestMoved, Sampled
from impetus.api.live import MOST_PENDING, Mailbox
from impetus.api.server import ApiServer
from impetus.hw.sample import Sample
from impetus.runtime.config import ServerConfig

CHAT = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}], "max_tokens": 5}
DECODE = msgspec.json.Decoder(LiveMessage).decode


async def follow(live, **headers: str) -> aiohttp.ClientWebSocketResponse:
    return await live.session.ws_connect(live.url + "/impetus/v1/live", headers=headers)


async def receive(ws: aiohttp.ClientWebSocketResponse):
    return DECODE(await ws.receive_str(timeout=10))


async def receive_until(ws: aiohttp.ClientWebSocketResponse, fits):
    async with asyncio.timeout(10):
        while not fits(message := await receive(ws)):
            pass
    return message


def feed(live) -> feed_module.LiveFeed:
    from impetus.api.keys import LIVE

    return live.server._runner.app[LIVE]


async def until_followed_by(live, count: int) -> None:
    for _ in range(1000):
        if feed(live).followers == count:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"{feed(live).followers} follow, not {count}")


async def test_everything_comes_first(live) -> None:
    async with await follow(live) as ws:
        first = await receive(ws)
        assert isinstance(first, FullStatus)
        assert [model.id for model in first.models] == ["echo"]
        assert first.url == live.url
        assert [address.url for address in first.addresses] == [live.url]


async def test_a_requests_whole_life_is_told_in_order(live) -> None:
    async with await follow(live) as ws:
        await receive(ws)
        slow = CHAT | {"echo_tps": 50}
        async with live.session.post(live.url + "/v1/chat/completions", json=slow, headers={"User-Agent": "cline/3"}) as answer:
            await answer.read()
        stages: list[str] = []
        async with asyncio.timeout(10):
            while stages[-1:] != ["done"]:
                message = await receive(ws)
                if isinstance(message, RequestMoved):
                    stages.append(message.request.stage)
                    assert message.request.client == "cline/3"
        order = ["queued", "loading", "prefill", "decode", "done"]
        assert stages == [stage for stage in order if stage in stages]
        assert message.request.completion_tokens == 5


async def test_a_loaded_model_and_a_further_port_are_changes(live) -> None:
    async with await follow(live) as ws:
        await receive(ws)
        await live.runtime.load("echo")
        await receive_until(ws, lambda news: isinstance(news, Changed) and news.models[0].state == "ready")
        with socket.create_server(("127.0.0.1", 0)) as held:
            port = held.getsockname()[1]
            await live.server.also_listen(port, on=True)
            news = await receive_until(ws, lambda news: isinstance(news, Changed) and len(news.addresses) == 2)
        assert (news.addresses[1].port, news.addresses[1].state) == (port, "waiting")


async def test_readings_come_from_the_monitors_thread(live) -> None:
    async with await follow(live) as ws:
        await receive(ws)
        await asyncio.to_thread(live.runtime.monitor._publish, Sample(at_s=4.5, cpu_percent=12.5))
        news = await receive_until(ws, lambda news: isinstance(news, Sampled) and news.sample.at_s == 4.5)
        assert news.sample.cpu_percent == 12.5


async def test_what_a_governor_decides_is_a_change(live) -> None:
    memory = live.runtime.governors.memory
    now_s = time.monotonic() + 1000
    async with await follow(live) as ws:
        first = await receive(ws)
        assert {one.governor: one.state for one in first.governors} == {"memory": "normal", "heat": "ok"}
        for after_s in (0, 3):
            memory.observe(Sample(at_s=now_s + after_s, memory_pressure="critical"))
        news = await receive_until(ws, lambda news: isinstance(news, Changed) and news.governors[0].state != "normal")
        assert (news.governors[0].governor, news.governors[0].state) == ("memory", "critical")
        assert news.governors[0].actions


async def test_tokens_of_running_requests_are_told_with_each_reading(live) -> None:
    async with await follow(live) as ws:
        await receive(ws)
        long = CHAT | {"stream": True, "echo_tps": 100, "max_tokens": 5000}
        long["messages"] = [{"role": "user", "content": "word " * 1000}]
        async with live.session.post(live.url + "/v1/chat/completions", json=long) as answer:
            await answer.content.readline()
            await receive_until(ws, lambda news: isinstance(news, Changed) and any(r.completion_tokens for r in news.running))


async def test_several_follow_and_nothing_is_listened_to_once_all_left(live) -> None:
    journal, decisions = live.runtime.journal, live.runtime.governors.decisions
    listeners, judges = len(journal._listeners), len(decisions._listeners)
    sockets = [await follow(live) for _ in range(3)]
    for ws in sockets:
        assert isinstance(await receive(ws), FullStatus)
    assert feed(live).followers == 3
    assert len(journal._listeners) == listeners + 1
    assert len(decisions._listeners) == judges + 1
    record = journal.open(model="m", client="c", route="r")
    for ws in sockets:
        await receive_until(ws, lambda news: isinstance(news, RequestMoved) and news.request.id == record.id)
        await ws.close()
    await until_followed_by(live, 0)
    assert len(journal._listeners) == listeners
    assert len(decisions._listeners) == judges


async def test_a_follower_that_reads_nothing_is_bounded_and_finds_everything_later(live) -> None:
    """Over a bare socket, so that nothing reads behind the test's back."""
    port = int(live.url.rsplit(":", 1)[1])
    loop = asyncio.get_running_loop()
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        await loop.sock_connect(raw, ("127.0.0.1", port))
        key = base64.b64encode(os.urandom(16)).decode()
        head = (
            f"GET /impetus/v1/live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await loop.sock_sendall(raw, head.encode())
        await until_followed_by(live, 1)
        [mailbox] = feed(live)._followers.values()
        most = 0
        for _ in range(40):
            for _ in range(200):
                live.runtime.journal.open(model="m" * 200, client="c", route="r")
            await asyncio.sleep(0)
            most = max(most, len(mailbox))
        assert 0 < most <= MOST_PENDING
        await live.runtime.load("echo")
        raw.setblocking(False)
        async with asyncio.timeout(20):
            received = b""
            while received.count(b'"type":"status"') < 2:
                received += await loop.sock_recv(raw, 1 << 20)
    await until_followed_by(live, 0)


async def test_news_of_one_kind_take_each_others_place() -> None:
    mailbox = Mailbox()
    assert await mailbox.take() is None
    for kind, message in (("a", b"1"), ("b", b"2"), ("a", b"3")):
        mailbox.put(kind, message)
    assert await mailbox.take() == [b"2", b"3"]
    for number in range(MOST_PENDING + 10):
        mailbox.put(str(number), b"x")
    assert len(mailbox) == 0
    assert await mailbox.take() is None
    mailbox.put("a", b"4")
    assert await mailbox.take() == [b"4"]


@pytest.mark.parametrize(
    ("settings", "headers", "status"),
    [
        ({}, {"Origin": "https://evil.example"}, 403),
        ({}, {"Host": "evil.example"}, 403),
        ({"api_key": "k"}, {}, 401),
        ({"api_key": "k"}, {"Authorization": "Bearer k"}, 101),
        ({}, {"Origin": "http://localhost:3000"}, 101),
    ],
)
async def test_it_is_guarded_as_every_route(serve, settings: dict, headers: dict, status: int) -> None:
    async with serve(**settings) as live:
        if status == 101:
            async with await follow(live, **headers) as ws:
                assert isinstance(await receive(ws), FullStatus)
            return
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await follow(live, **headers)
        assert caught.value.status == status


async def test_a_plain_request_is_told_what_this_is(live) -> None:
    async with live.session.get(live.url + "/impetus/v1/live") as response:
        assert response.status == 400
        assert "WebSocket" in (await response.json())["error"]["message"]


async def test_too_many_followers_are_told_to_come_later(live, monkeypatch) -> None:
    monkeypatch.setattr(feed_module, "MOST_FOLLOWERS", 1)
    async with await follow(live) as ws:
        await receive(ws)
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await follow(live)
        assert caught.value.status == 503


async def test_who_talks_too_much_is_cut(live) -> None:
    async with await follow(live) as ws:
        await receive(ws)
        await ws.send_str("x" * 10_000)
        async with asyncio.timeout(10):
            while (message := await ws.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert message.data == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


async def test_the_servers_end_says_goodbye_to_all_soon(live) -> None:
    server = ApiServer(live.runtime, ServerConfig(port=0))
    loop = asyncio.get_running_loop()
    async with server:
        url = f"{server.url}/impetus/v1/live"
        polite = await live.session.ws_connect(url)
        await receive(polite)
        rude = await live.session.ws_connect(url, autoclose=False)
        await receive(rude)
        reading = asyncio.create_task(polite.receive())
        began_s = loop.time()
    assert loop.time() - began_s < 3
    async with asyncio.timeout(5):
        message = await reading
        while message.type is aiohttp.WSMsgType.TEXT:
            message = await polite.receive()
    assert message.data == aiohttp.WSCloseCode.GOING_AWAY
    assert message.extra == "the server stops"
    await rude.close()
