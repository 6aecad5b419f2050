"""Further ports of this machine on which the same application answers: those where clients look by themselves."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from ..runtime.errors import InvalidRequest
from .ports import find_holder

if TYPE_CHECKING:
    from aiohttp import web

log = logging.getLogger(__name__)

PortState = Literal["listening", "waiting", "off"]
"""`waiting`: somebody else holds it, and it is tried again and again."""

LOOPBACK = "127.0.0.1"
LOOPBACK_6 = "::1"
RETRY_S = 5.0
"""How often a port that somebody else holds is tried again."""
MOST_PORTS = 8
MOST_CLIENTS = 32
"""So many clients are remembered for each port."""
_KNOCK_S = 0.5


@dataclass(frozen=True, slots=True)
class ExtraPort:
    """One port as it stands now."""

    port: int
    state: PortState
    problem: str | None = None
    """Who holds it, in words for the user."""
    clients: tuple[str, ...] = ()
    """Who came to it, in the order of their first requests."""


@dataclass(slots=True, eq=False)
class _Wanted:
    """A port that is ours, or shall be as soon as it is free."""

    problem: str | None = None
    sites: list[web.TCPSite] = field(default_factory=list["web.TCPSite"])
    clients: dict[str, None] = field(default_factory=dict[str, None])


class ExtraPorts:
    """Opens and lets go of ports between `start` and `stop`; always on loopback, whatever the main address is."""

    def __init__(self) -> None:
        self._wanted: dict[int, _Wanted] = {}
        self._lock = asyncio.Lock()
        self._runner: web.AppRunner | None = None
        self.main_url: str | None = None
        """Where the server itself listens; None while it does not."""
        self._listeners: list[Callable[[], None]] = []
        self._retrying: asyncio.Task[None] | None = None

    def listen(self, listener: Callable[[], None]) -> None:
        """Calls `listener` at each change of `all`, for as long as this lives."""
        self._listeners.append(listener)

    def start(self, runner: web.AppRunner, *, main_url: str) -> None:
        """Takes the runner whose application answers, and its own address."""
        self._runner, self.main_url = runner, main_url

    async def stop(self) -> None:
        """Ends the tries; the runner's own end closes what is open."""
        if self._retrying is not None:
            self._retrying.cancel()
            await asyncio.wait([self._retrying])
        self._runner = self.main_url = None
        self._wanted.clear()

    def all(self) -> tuple[ExtraPort, ...]:
        """The ports that are wanted."""
        return tuple(self.find(port) for port in self._wanted)

    def find(self, port: int) -> ExtraPort:
        """One port, wanted or not."""
        wanted = self._wanted.get(port)
        if wanted is None:
            return ExtraPort(port, "off")
        return ExtraPort(port, "listening" if wanted.sites else "waiting", wanted.problem, tuple(wanted.clients))

    async def open(self, port: int) -> None:
        """Listens on a port, now or once whoever holds it is gone.

        Raises:
            InvalidRequest: there are too many, it is the main port, or the server does not serve.
        """
        async with self._lock:
            if port in self._wanted:
                return
            if self._runner is None or self.main_url is None:
                raise InvalidRequest("The server does not serve, so it cannot listen on further ports.", param="port")
            if port == urlsplit(self.main_url).port:
                raise InvalidRequest(f"Port {port} is the server's own; it cannot be opened again or closed.", param="port")
            if len(self._wanted) >= MOST_PORTS:
                raise InvalidRequest(f"{MOST_PORTS} further ports are open; let go of one of them first.", param="port")
            self._wanted[port] = wanted = _Wanted()
            await self._try(self._runner, port, wanted)
            self._tell()
        if not wanted.sites and (self._retrying is None or self._retrying.done()):
            self._retrying = asyncio.create_task(self._retry(), name="retry extra ports")

    async def let_go(self, port: int) -> None:
        """Stops listening on a port and closes its idle connections, so that another program can have it at once."""
        async with self._lock:
            wanted = self._wanted.pop(port, None)
            if wanted is None:
                return
            for site in wanted.sites:
                await site.stop()
            self._close_connections(port)
            log.info("let go of port %d", port)
            self._tell()

    def note(self, port: int, client: str) -> None:
        """Takes note that a client came to a port; its first time is told in the log."""
        wanted = self._wanted.get(port)
        if wanted is None or client in wanted.clients or len(wanted.clients) >= MOST_CLIENTS:
            return
        wanted.clients[client] = None
        log.info("%s found Impetus on port %d", client, port)
        self._tell()

    async def _try(self, runner: web.AppRunner, port: int, wanted: _Wanted) -> None:
        """Opens a port, or notes who holds it."""
        from aiohttp import web

        try:
            if await _is_answered(port):
                raise OSError(errno.EADDRINUSE, "somebody answers there")
            site = web.TCPSite(runner, LOOPBACK, port)
            await site.start()
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            why = await asyncio.to_thread(find_holder, port) if taken else error.strerror or str(error)
            problem = f"Port {port} is {'taken' if taken else 'not to be had'}: {why}."
            if problem != wanted.problem:
                log.warning("%s It is tried again.", problem)
            wanted.problem = problem
            return
        wanted.problem = None
        wanted.sites = [site]
        # `localhost` is ::1 first for many clients; a machine without it is no fault.
        with suppress(OSError):
            second = web.TCPSite(runner, LOOPBACK_6, port)
            await second.start()
            wanted.sites.append(second)
        log.info("also serving at http://%s:%d", LOOPBACK, port)

    async def _retry(self) -> None:
        """Tries until no port is waited for."""
        while any(not wanted.sites for wanted in self._wanted.values()):
            await asyncio.sleep(RETRY_S)
            async with self._lock:
                for port, wanted in self._wanted.items():
                    if not wanted.sites and self._runner is not None:
                        before = wanted.problem
                        await self._try(self._runner, port, wanted)
                        if wanted.problem != before:
                            self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    def _close_connections(self, port: int) -> None:
        server = self._runner.server if self._runner is not None else None
        for connection in server.connections if server is not None else ():
            transport = connection.transport
            name = transport.get_extra_info("sockname") if transport is not None else None
            if name is not None and name[1] == port:
                connection.close()


async def _is_answered(port: int) -> bool:
    """Whether somebody listens on a port, on whichever address: some systems would let two programs share it."""
    try:
        async with asyncio.timeout(_KNOCK_S):
            _, writer = await asyncio.open_connection(LOOPBACK, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True
