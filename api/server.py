"""The API's server: listens while it is open, and says how it fares."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from ..runtime.config import ServerConfig
from ..runtime.errors import InvalidRequest
from ..runtime.loopback import is_loopback
from ..runtime.runtime import Runtime
from .ports import find_holder

if TYPE_CHECKING:
    from aiohttp import web

    from .extra_ports import ExtraPort, ExtraPorts

log = logging.getLogger(__name__)

ServerState = Literal["starting", "serving", "failed", "stopped"]

SHUTDOWN_S = 0.5
"""How long running answers may still take when the server closes; then they are cut."""
BACKLOG = 512


class ApiServer:
    """Listens on the configured address while it is open.

    An async context manager. An address that cannot be had is no exception, as the dashboard goes on without it: then
    `state` is `failed` and `problem` says what to do.
    """

    def __init__(self, runtime: Runtime, settings: ServerConfig) -> None:
        self.state: ServerState = "starting"
        self.problem: str | None = None
        """Why it failed, in words for the user."""
        self.url: str | None = None
        """As "http://127.0.0.1:8080"; None while it does not listen."""
        self._runtime = runtime
        self._settings = settings
        self._runner: web.AppRunner | None = None
        self._extra_ports: ExtraPorts | None = None
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Adds a listener for changes of `state` and of the further ports; gives the function that removes it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def extra_ports(self) -> tuple[ExtraPort, ...]:
        """The further ports that are wanted, and how each fares."""
        return self._extra_ports.all() if self._extra_ports is not None else ()

    async def also_listen(self, port: int, *, on: bool) -> None:
        """Begins to listen on a further port, or lets go of it; raises InvalidRequest."""
        if self._extra_ports is None:
            raise InvalidRequest("The server does not serve, so it cannot listen on further ports.")
        await (self._extra_ports.open(port) if on else self._extra_ports.let_go(port))

    async def __aenter__(self) -> Self:
        """Begins to listen, or fails with a `problem`."""
        self._turn("starting")
        # aiohttp takes a third of a second to import: not before the dashboard's first paint, and not in its loop.
        await asyncio.to_thread(import_module, ".app", __package__)
        from aiohttp import web

        from .app import make_app
        from .http_log import open_http_log
        from .keys import EXTRA_PORTS

        if not is_loopback(self._settings.host) and not self._settings.api_key:
            self._fail(
                f"Other machines could reach Impetus on {self._settings.host}, so it needs a key there: "
                "set `api_key` under [server] in impetus.toml, or `host` to 127.0.0.1."
            )
            return self
        app = make_app(self._runtime, self._settings)
        self._runner = web.AppRunner(
            app,
            handler_cancellation=True,
            access_log=None,
            logger=open_http_log(),
            shutdown_timeout=SHUTDOWN_S,
        )
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._settings.host, self._settings.port, backlog=BACKLOG).start()
        except OSError as error:
            await self._runner.cleanup()
            self._runner = None
            self._fail(await self._explain(error))
            return self
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._turn("serving")
        log.info("serving at %s", self.url)
        self._extra_ports = app[EXTRA_PORTS]
        self._extra_ports.start(self._runner, main_url=self.url)
        self._extra_ports.listen(self._tell)
        for extra in dict.fromkeys(self._settings.also_listen):
            if extra != port:
                await self._extra_ports.open(extra)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stops listening and ends what still runs."""
        if self._extra_ports is not None:
            await self._extra_ports.stop()
            self._extra_ports = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self.url = None
        self._turn("stopped")

    async def _explain(self, error: OSError) -> str:
        """Says why an address cannot be had and what to change."""
        host, port = self._settings.host, self._settings.port
        change = "`port` under [server] in impetus.toml, or start with --port"
        if error.errno == errno.EADDRINUSE:
            holder = await asyncio.to_thread(find_holder, port)
            return f"Port {port} on {host} is taken: {holder}. Stop it, or choose another port: {change}."
        if error.errno in (errno.EACCES, errno.EPERM):
            return f"Port {port} on {host} is not permitted to this user. Choose one above 1023: {change}."
        if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
            return f"'{host}' is no address of this machine. Set `host` under [server] in impetus.toml to 127.0.0.1."
        return f"Cannot listen on {host}, port {port}: {error.strerror or error}."

    def _fail(self, problem: str) -> None:
        self.problem = problem
        log.error("%s", problem)
        self._turn("failed")

    def _turn(self, state: ServerState) -> None:
        self.state = state
        self._tell()

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            listener()
