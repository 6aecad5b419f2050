"""Tells those who follow live what changes: one feed for all, a bounded mailbox for each.

While nobody follows, nothing is listened to. A message is encoded once for all readers. A reader that is slow finds the
newest of each kind, and where too much of it is pending, one whole status instead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from ..hw.sample import Sample
from ..runtime.errors import Overloaded
from ..runtime.journal import RequestRecord
from ..runtime.runtime import Runtime
from .dialects.control import StatusAnswer, to_request_entry
from .dialects.live import LiveMessage, RequestMoved, Sampled, to_changed, to_full_status
from .errors import RequestRefused

log = logging.getLogger(__name__)

MOST_FOLLOWERS = 64
MOST_PENDING = 256
"""Messages kept for a slow reader; one more and all of them give way to a whole status."""
PAUSE_S = 0.25
"""Between two `changed` messages."""
PING_S = 10.0
CLOSE_S = 0.3
"""How long a follower may take to say goodbye when the server stops."""
_MOST_HEARD_BYTES = 4096
"""Followers have nothing to say."""

_encode = msgspec.json.Encoder().encode


class Mailbox:
    """What one reader has not got yet: the newest message of each kind, oldest kind first."""

    def __init__(self) -> None:
        self._pending: dict[str, bytes] = {}
        self._stale = True
        self._filled = asyncio.Event()
        self._filled.set()

    def __len__(self) -> int:
        return len(self._pending)

    def put(self, kind: str, message: bytes) -> None:
        """Adds a message in place of an older one of its kind."""
        if self._stale:
            return
        self._pending.pop(kind, None)
        self._pending[kind] = message
        if len(self._pending) > MOST_PENDING:
            self._pending.clear()
            self._stale = True
        self._filled.set()

    async def take(self) -> list[bytes] | None:
        """Waits for messages and gives all of them; None says that the reader needs a whole status first."""
        await self._filled.wait()
        self._filled.clear()
        stale, messages = self._stale, list(self._pending.values())
        self._stale = False
        self._pending.clear()
        return None if stale else messages


class LiveFeed:
    """Owns the followers; listens to runtime and machine while there are any."""

    def __init__(self, runtime: Runtime, *, read_status: Callable[[str], StatusAnswer]) -> None:
        """Takes what is listened to, and what reads a whole status for an address."""
        self._runtime = runtime
        self._read_status = read_status
        self._followers: dict[web.WebSocketResponse, Mailbox] = {}
        self._removers: list[Callable[[], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._telling: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    @property
    def followers(self) -> int:
        """How many follow."""
        return len(self._followers)

    async def follow(self, request: web.Request) -> web.WebSocketResponse:
        """Tells one follower everything until either side leaves.

        Raises:
            RequestRefused: it asks for no WebSocket.
            Overloaded: there are too many followers.
        """
        socket = web.WebSocketResponse(heartbeat=PING_S, timeout=CLOSE_S, max_msg_size=_MOST_HEARD_BYTES)
        if not socket.can_prepare(request).ok:
            raise RequestRefused("This route is a WebSocket: connect with ws:// in place of http://.")
        if len(self._followers) >= MOST_FOLLOWERS:
            raise Overloaded(f"{MOST_FOLLOWERS} clients follow already.", retry_after_s=10.0)
        transport = request.transport
        await socket.prepare(request)
        mailbox = self._join(socket)
        tasks = [
            asyncio.create_task(self._write(socket, mailbox, str(request.url.origin())), name="tell a follower"),
            asyncio.create_task(_hear(socket), name="hear a follower"),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self._leave(socket)
            if transport is not None and transport.is_closing() and transport.get_write_buffer_size():
                transport.abort()  # who does not read would keep it open for as long as the system waits
        return socket

    async def close(self) -> None:
        """Says goodbye to all followers, and cuts those that do not answer."""
        leaving = [
            asyncio.create_task(_say_goodbye(socket), name="say goodbye to a follower") for socket in tuple(self._followers)
        ]
        if leaving:
            await asyncio.wait(leaving)

    def changed(self) -> None:
        """Takes note that models, downloads, ports or governors are different; told at a bounded pace."""
        self._changed.set()

    def _join(self, socket: web.WebSocketResponse) -> Mailbox:
        mailbox = self._followers[socket] = Mailbox()
        if len(self._followers) == 1:
            self._loop = asyncio.get_running_loop()
            self._removers = [
                self._runtime.listen(self.changed),
                self._runtime.journal.listen(self._take_request),
                self._runtime.governors.decisions.listen(lambda _: self.changed()),
                self._runtime.monitor.listen(self._on_sample_in_thread),
            ]
            self._telling = asyncio.create_task(self._tell_changes(), name="tell changes")
        return mailbox

    async def _leave(self, socket: web.WebSocketResponse) -> None:
        del self._followers[socket]
        if self._followers:
            return
        while self._removers:
            self._removers.pop()()
        telling, self._telling, self._loop = self._telling, None, None
        if telling is not None:
            telling.cancel()
            await asyncio.wait([telling])

    async def _write(self, socket: web.WebSocketResponse, mailbox: Mailbox, url: str) -> None:
        with suppress(ConnectionError):
            while True:
                messages = await mailbox.take()
                if messages is None:
                    messages = [_encode(to_full_status(self._read_status(url)))]
                for message in messages:
                    await socket.send_frame(message, WSMsgType.TEXT)

    async def _tell_changes(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._offer("changed", to_changed(self._read_status("")))
            await asyncio.sleep(PAUSE_S)

    def _take_request(self, record: RequestRecord) -> None:
        self._offer(record.id, RequestMoved(to_request_entry(record)))

    def _on_sample_in_thread(self, sample: Sample) -> None:
        loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(self._take_sample, sample)

    def _take_sample(self, sample: Sample) -> None:
        self._offer("sample", Sampled(sample, self._runtime.throughput.total()))
        if any(record.ended_s is None for record in self._runtime.journal):
            self.changed()  # their tokens are

    def _offer(self, kind: str, message: LiveMessage) -> None:
        encoded = _encode(message)
        for mailbox in self._followers.values():
            mailbox.put(kind, encoded)


async def _hear(socket: web.WebSocketResponse) -> None:
    """Reads until the follower leaves, so that its pings and its goodbye are answered."""
    async for _ in socket:
        pass


async def _say_goodbye(socket: web.WebSocketResponse) -> None:
    with suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(2 * CLOSE_S):
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"the server stops")
