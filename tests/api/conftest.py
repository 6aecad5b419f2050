"""A live server with the echo engine, on a port of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from blockbuster import blockbuster_ctx

from impetus.api.server import ApiServer
from impetus.runtime.config import AliasConfig, Config, EngineConfig, HubConfig, ModelsConfig, ServerConfig
from impetus.runtime.home import find_home
from impetus.runtime.journal import RequestRecord, Stage
from impetus.runtime.logbook import LogBook
from impetus.runtime.opening import open_runtime
from impetus.runtime.runtime import Runtime


@dataclass(frozen=True)
class Live:
    """A server that serves, and a client for it."""

    runtime: Runtime
    server: ApiServer
    url: str
    session: aiohttp.ClientSession

    async def until(self, stage: Stage) -> RequestRecord:
        """Waits until the newest request has come to a stage."""
        reached = asyncio.Event()
        remove = self.runtime.journal.listen(lambda record: reached.set())
        try:
            async with asyncio.timeout(20):
                while not (newest := self.runtime.journal.newest(1)) or newest[0].stage != stage:
                    reached.clear()
                    await reached.wait()
        finally:
            remove()
        return newest[0]


Serve = Callable[..., AbstractAsyncContextManager[Live]]


@asynccontextmanager
async def serve_echo(
    folder: Path,
    *,
    starter: bool = False,
    scripted: bool = False,
    context_length: int = 0,
    aliases: dict[str, object] | None = None,
    hub: str = "",
    **server: Any,
) -> AsyncIterator[Live]:
    """Opens a runtime with the echo engine, maybe the scripted one and the starter model too, and a server; `hub` stands in for
    the Hub.

    Whatever of the API blocks the loop is an error.
    """
    config = Config(
        server=ServerConfig(port=0, **server),
        models=ModelsConfig(huggingface_cache=False, starter=starter, load_at_start=False),
        engine=EngineConfig(context_length=context_length),
        hub=HubConfig(endpoint=hub),
        aliases=msgspec.convert(aliases or {}, dict[str, AliasConfig]),
    )
    runtime = open_runtime(
        config,
        home=find_home(str(folder)),
        config_path=folder / "impetus.toml",
        logbook=LogBook(),
        environment=os.environ,
        usable_cpus=2,
        echo=True,
        scripted=scripted,
    )
    with blockbuster_ctx(scanned_modules=["impetus.api", "impetus.runtime"]):
        async with runtime, ApiServer(runtime, config.server) as api, aiohttp.ClientSession() as session:
            assert api.url is not None, api.problem
            async with asyncio.timeout(10):
                await runtime.scanned.wait()
            yield Live(runtime, api, api.url, session)


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Opens a live server with the settings that the test wants."""
    return lambda **server: serve_echo(tmp_path, **server)


@pytest.fixture
async def live(serve: Serve) -> AsyncIterator[Live]:
    """A live server with the default settings."""
    async with serve() as live:
        yield live
