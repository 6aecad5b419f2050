"""How a stream is kept alive, ended and cut: over real sockets, with a generation whose pace the test sets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from impetus.api import stream as stream_module
from impetus.api.errors import Failure
from impetus.api.keys import SETTINGS
from impetus.api.middleware import catch_errors, give_id
from impetus.api.stream import stream_answer
from impetus.runtime.config import ServerConfig
from impetus.runtime.errors import EngineCrashed, InvalidRequest
from impetus.runtime.events import Event, TextDelta

Batches = AsyncGenerator[list[Event], None]


class Plain:
    """A dialect of bare words."""

    def to_wire(self, batch: Iterable[Event]) -> bytes:
        return b"".join(f"{event.text}|".encode() for event in batch if isinstance(event, TextDelta))

    def heartbeat(self) -> bytes:
        return b"beat|"

    def ending(self) -> bytes:
        return b"end|"

    def failing(self, failure: Failure) -> bytes:
        return f"error {failure.code}|".encode()


@asynccontextmanager
async def serving(
    batches: Callable[[], Batches], *, heartbeat_s: float = 10.0
) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await stream_answer(request, batches(), Plain())

    app = web.Application(middlewares=[give_id, catch_errors])
    app[SETTINGS] = ServerConfig(heartbeat_s=heartbeat_s)
    app.router.add_get("/", handle)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession() as session:
            yield session, f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def test_batches_are_written_as_they_come_and_ended() -> None:
    gate = asyncio.Event()

    async def batches() -> Batches:
        yield [TextDelta(0, "a"), TextDelta(0, "b")]
        await gate.wait()
        yield [TextDelta(0, "c")]

    async with serving(batches) as (session, url), session.get(url) as response:
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert await response.content.readuntil(b"b|") == b"a|b|"
        gate.set()
        assert await response.read() == b"c|end|"


async def test_the_head_goes_out_with_a_first_batch_that_has_no_text() -> None:
    gate = asyncio.Event()

    async def batches() -> Batches:
        yield []
        await gate.wait()

    async with serving(batches) as (session, url), session.get(url) as response:
        assert response.status == 200
        gate.set()
        assert await response.read() == b"end|"


async def test_an_error_before_the_first_batch_is_a_plain_status() -> None:
    async def batches() -> Batches:
        raise InvalidRequest("No.", param="n", code="invalid_value")
        yield []

    async with serving(batches) as (session, url), session.get(url) as response:
        assert response.status == 400
        assert (await response.json())["error"]["param"] == "n"


@pytest.mark.parametrize(
    ("error", "code"), [(EngineCrashed("m", how="SIGKILL"), "engine_crashed"), (ValueError("bug"), "internal_error")]
)
async def test_an_error_after_the_head_is_an_event_and_the_end(error: Exception, code: str) -> None:
    async def batches() -> Batches:
        yield [TextDelta(0, "a")]
        raise error

    async with serving(batches) as (session, url), session.get(url) as response:
        assert response.status == 200
        assert await response.read() == f"a|error {code}|".encode()


async def test_a_silent_stream_beats_and_its_head_goes_out_with_the_first_beat() -> None:
    gate = asyncio.Event()

    async def batches() -> Batches:
        await gate.wait()
        yield [TextDelta(0, "a")]

    async with serving(batches, heartbeat_s=0.05) as (session, url), session.get(url) as response:
        assert await response.content.readexactly(10) == b"beat|beat|"
        gate.set()
        rest = await response.read()
        assert rest.replace(b"beat|", b"") == b"a|end|"


async def test_a_late_error_after_a_beat_comes_in_band() -> None:
    gate = asyncio.Event()

    async def batches() -> Batches:
        await gate.wait()
        raise InvalidRequest("No.", code="invalid_value")
        yield []

    async with serving(batches, heartbeat_s=0.05) as (session, url), session.get(url) as response:
        assert response.status == 200
        gate.set()
        assert (await response.read()).endswith(b"error invalid_value|")


async def test_a_busy_stream_does_not_beat() -> None:
    loop = asyncio.get_running_loop()

    async def batches() -> Batches:
        ends_s = loop.time() + 0.5
        while loop.time() < ends_s:
            yield [TextDelta(0, "a")]
            await asyncio.sleep(0.01)

    async with serving(batches, heartbeat_s=0.2) as (session, url), session.get(url) as response:
        assert b"beat" not in await response.read()


async def test_a_client_that_leaves_closes_the_generation() -> None:
    closed = asyncio.Event()

    async def batches() -> Batches:
        try:
            while True:
                yield [TextDelta(0, "a")]
                await asyncio.sleep(0.01)
        finally:
            closed.set()

    async with serving(batches) as (session, url):
        async with session.get(url) as response:
            await response.content.readuntil(b"|")
            response.close()
        async with asyncio.timeout(5):
            await closed.wait()


async def test_a_client_that_leaves_before_the_first_token_closes_the_generation() -> None:
    begun, closed = asyncio.Event(), asyncio.Event()

    async def batches() -> Batches:
        begun.set()
        try:
            await asyncio.Event().wait()
            yield []
        finally:
            closed.set()

    async with serving(batches) as (session, url):
        asking = asyncio.create_task(session.get(url).__aenter__())
        async with asyncio.timeout(5):
            await begun.wait()
            asking.cancel()
            await closed.wait()
        await asyncio.wait([asking])


async def test_a_client_that_reads_nothing_is_cut_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module.EventStream.__init__, "__kwdefaults__", {"stall_s": 0.5})
    closed = asyncio.Event()

    async def batches() -> Batches:
        try:
            while True:
                yield [TextDelta(0, "x" * 100_000)]
        finally:
            closed.set()

    async with serving(batches, heartbeat_s=0.1) as (_, url):
        with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1].strip("/")))) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(10):
                await closed.wait()


async def test_a_slow_client_that_goes_on_reading_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module.EventStream.__init__, "__kwdefaults__", {"stall_s": 0.4})

    async def batches() -> Batches:
        for _ in range(120):
            yield [TextDelta(0, "x" * 100_000)]

    async with serving(batches, heartbeat_s=0.1) as (session, url), session.get(url) as response:
        total = 0
        while piece := await response.content.read(400_000):
            total += len(piece)
            await asyncio.sleep(0.05)
        assert total > 12_000_000


async def test_a_broken_pipe_behind_us_is_no_client_that_left() -> None:
    async def batches() -> Batches:
        yield [TextDelta(0, "a")]
        raise BrokenPipeError

    async with serving(batches) as (session, url), session.get(url) as response:
        assert await response.read() == b"a|error internal_error|"
