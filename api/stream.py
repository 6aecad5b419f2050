"""Writes one answer as events or lines: batch by batch, with heartbeats, and no longer than somebody reads them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from types import TracebackType
from typing import Protocol, Self

from aiohttp import web

from ..runtime.errors import ImpetusError
from ..runtime.events import Event
from .errors import Failure, describe, describe_unforeseen
from .keys import REQUEST_ID, SETTINGS

log = logging.getLogger(__name__)

STALL_S = 60.0
"""How long a client may leave the bytes sent to it unread before its connection is cut."""
SSE = "text/event-stream; charset=utf-8"
NDJSON = "application/x-ndjson"
_HEADERS = {
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


class Wire(Protocol):
    """How a dialect writes a stream."""

    def to_wire(self, batch: Iterable[Event]) -> bytes:
        """Gives the bytes for what arrived."""
        ...

    def heartbeat(self) -> bytes:
        """Gives bytes that mean nothing and count as a sign of life."""
        ...

    def ending(self) -> bytes:
        """Gives what follows the last event."""
        ...

    def failing(self, failure: Failure) -> bytes:
        """Gives the dialect's error event; nothing follows it."""
        ...


class EventStream:
    """One answer on its socket, watched over while it is open.

    The head goes out with the first bytes. A task of its own sends a heartbeat whenever nothing was sent for a while, and
    cuts the connection of a client that reads nothing any more; so a batch costs no timer.
    """

    def __init__(
        self, request: web.Request, wire: Wire, *, heartbeat_s: float, stall_s: float = STALL_S, content_type: str = SSE
    ) -> None:
        self.response = web.StreamResponse(headers={**_HEADERS, "Content-Type": content_type})
        self._request = request
        self._wire = wire
        self._heartbeat_s = heartbeat_s
        self._stall_s = stall_s
        self._loop = asyncio.get_running_loop()
        self._sent_at_s = self._loop.time()
        self._watch: asyncio.Task[None] | None = None
        self._closing = False

    async def __aenter__(self) -> Self:
        """Starts to watch."""
        self._watch = asyncio.create_task(self._keep_watch(), name="watch a stream")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ends the watch; the answer is ended by `close`, if at all."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])

    @property
    def begun(self) -> bool:
        """Whether the head is out, so that a failure can no longer be a status."""
        return self.response.prepared

    @property
    def abandoned(self) -> bool:
        """Whether the client is gone."""
        transport = self._request.transport
        return transport is None or transport.is_closing()

    async def send(self, data: bytes) -> None:
        """Writes bytes; waits while the client's buffers are full. Raises ConnectionError once the client is gone."""
        self._sent_at_s = self._loop.time()
        if not self.response.prepared:
            await self.response.prepare(self._request)
        await self.response.write(data)

    async def close(self) -> None:
        """Ends the answer in good order."""
        self._closing = True
        await self.response.write_eof()

    async def _keep_watch(self) -> None:
        """Runs until the answer is over; what the client does is told to the handler by its own write."""
        seen = (self._sent_at_s, 0)
        seen_at_s = self._loop.time()
        while (transport := self._request.transport) is not None:
            now_s = self._loop.time()
            unsent_bytes = transport.get_write_buffer_size()
            if unsent_bytes == 0 or (self._sent_at_s, unsent_bytes) != seen:
                seen, seen_at_s = (self._sent_at_s, unsent_bytes), now_s
            elif now_s - seen_at_s >= self._stall_s:
                log.warning("cut the stream of %s: nothing was read for %.0f s", self._request[REQUEST_ID], self._stall_s)
                transport.abort()
                return
            due_s = self._sent_at_s + self._heartbeat_s - now_s
            if unsent_bytes == 0 and due_s <= 0 and not self._closing:
                try:
                    await self.send(self._wire.heartbeat())
                except ConnectionError:
                    return
                due_s = self._heartbeat_s
            await asyncio.sleep(min(due_s if due_s > 0 else self._heartbeat_s, self._stall_s))


async def stream_answer(
    request: web.Request, batches: AsyncGenerator[list[Event], None], wire: Wire, *, content_type: str = SSE
) -> web.StreamResponse:
    """Streams a generation to its end; an error before the head is raised, a later one is the dialect's error event.

    Raises:
        ImpetusError: as `Runtime.generate` does, while nothing was sent yet.
    """
    stream = EventStream(request, wire, heartbeat_s=request.app[SETTINGS].heartbeat_s, content_type=content_type)
    async with stream, aclosing(batches):
        try:
            async for batch in batches:
                await stream.send(wire.to_wire(batch))
            await stream.send(wire.ending())
        except ImpetusError as error:
            if not stream.begun:
                raise
            log.info("%s: %s", request[REQUEST_ID], error.message)
            await stream.send(wire.failing(describe(error)))
        except Exception as error:
            if isinstance(error, ConnectionError) and stream.abandoned:
                return stream.response
            if not stream.begun:
                raise
            log.exception("%s failed", request[REQUEST_ID])
            await stream.send(wire.failing(describe_unforeseen(request[REQUEST_ID])))
        await stream.close()
    return stream.response
