"""The whole program: the runtime, the API server and the dashboard, in one event loop."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from .api.server import ApiServer
from .runtime.presence import announce
from .runtime.runtime import Runtime


async def run_dashboard(runtime: Runtime) -> int:
    """Runs server and dashboard until the user quits the dashboard; gives the exit code."""
    from .tui.app import ControlCenter  # here, as `impetus serve` never loads Textual

    server = ApiServer(runtime, runtime.config.server)
    app = ControlCenter(runtime, server)
    async with runtime:
        serving = asyncio.create_task(_serve_once_painted(server, runtime, app.painted), name="serve")
        try:
            with _on_signals(app.exit):
                await app.run_async()
        finally:
            serving.cancel()
            await asyncio.wait([serving])
    return app.return_code or 0


async def _serve_once_painted(server: ApiServer, runtime: Runtime, painted: asyncio.Event) -> None:
    await painted.wait()
    async with server:
        with announce(runtime.home.state_dir, server.url):
            _spare_the_collector()
            await asyncio.Event().wait()


async def run_server(runtime: Runtime) -> int:
    """Runs the server alone until SIGTERM or Ctrl+C; gives the exit code."""
    stop = asyncio.Event()
    async with runtime, ApiServer(runtime, runtime.config.server) as server:
        if server.url is None:
            sys.stderr.write(f"impetus: {server.problem}\n")
            return 1
        with announce(runtime.home.state_dir, server.url), _on_signals(stop.set):
            await runtime.scanned.wait()
            _spare_the_collector()
            sys.stdout.write(f"Impetus is serving at {server.url}\n")
            sys.stdout.flush()
            await stop.wait()
    return 0


@contextmanager
def _on_signals(act: Callable[[], object]) -> Generator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, act)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)


def _spare_the_collector() -> None:
    """Takes what lives until the end out of the collector's sight: a full collection would hold up every stream."""
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    from .cli import main

    sys.exit(main())
