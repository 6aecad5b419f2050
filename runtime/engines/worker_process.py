"""A worker's process, seen from our side: it is started, spoken to, listened to, and always ended. It knows no model."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Protocol, cast

from ..frames import FromEngine, Shutdown, ToEngine, encode
from .frame_reader import BrokenStream, FrameReader

LEAVE_S = 2.0
"""How long a worker may take to leave by itself, and again after it was asked by a signal."""
DRAIN_S = 1.0
"""How long the pipes of a dead worker may stay open."""
STDERR_LINES = 50
LINE_BYTES = 4000

log = logging.getLogger(__name__)


class Listener(Protocol):
    """Who a worker belongs to, and what it is told."""

    def worker_wrote(self, frames: Sequence[FromEngine]) -> None:
        """Takes what the worker wrote, in order."""
        ...

    def worker_said(self, line: str) -> None:
        """Takes a line of the worker's stderr."""
        ...

    def worker_ended(self, how: str, last_words: tuple[str, ...]) -> None:
        """Takes note that the process is gone and everything it wrote was read; how is as "SIGKILL" or "exit code 1"."""
        ...


class WorkerProcess:
    """One process. It belongs to one event loop, and to one listener at a time."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        """Who is told; another one from the moment the worker changes hands."""
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.SubprocessTransport | None = None
        self._stdin: asyncio.WriteTransport | None = None
        self._reader = FrameReader()
        self._stderr = _Lines()
        self._broken: str | None = None

    @classmethod
    async def spawn(cls, environment: Mapping[str, str], listener: Listener) -> WorkerProcess:
        """Starts a process.

        Raises:
            OSError: it cannot be started; none is left then, nor after a cancellation.
        """
        worker = cls(listener)
        # -P: what lies in the user's current folder must not stand in for a module of ours.
        await asyncio.get_running_loop().subprocess_exec(
            lambda: _Pipes(worker),
            *(sys.executable, "-P", "-m", "impetus.runtime.worker"),
            env=dict(environment),
            start_new_session=True,
        )
        return worker

    @property
    def pid(self) -> int | None:
        """The process's number; None when there is none."""
        return self._transport.get_pid() if self._transport is not None and self.alive else None

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._transport is not None and not self._ended.done()

    def send(self, frame: ToEngine) -> None:
        """Writes a frame; one that nobody can read any more is dropped."""
        if self._stdin is not None and not self._stdin.is_closing():
            self._stdin.write(encode(frame))

    async def close(self) -> None:
        """Ends the process: asks it, then insists, then kills it."""
        try:
            self.send(Shutdown())
            if not await self._has_ended(LEAVE_S):
                self._signal(signal.SIGTERM)
                await self._has_ended(LEAVE_S)
        finally:
            await self.kill()

    async def kill(self) -> None:
        """Makes sure that no process is left, also when the caller is cancelled meanwhile."""
        if self._transport is None:
            return
        self._signal(signal.SIGKILL)
        try:
            await self._has_ended(LEAVE_S)
        except asyncio.CancelledError:
            # A killed process is gone in no time; left alone it would stay behind as a zombie where the loop ends now.
            await self._has_ended(LEAVE_S)
            raise
        finally:
            self._transport.close()

    # What the pipes tell, called by `_Pipes`.

    def connected(self, transport: asyncio.SubprocessTransport) -> None:
        """Takes the ends of the pipes, before anything comes through them."""
        self._transport = transport
        self._stdin = cast("asyncio.WriteTransport", transport.get_pipe_transport(0))

    def received(self, data: bytes) -> None:
        """Takes what the process wrote."""
        if self._broken is not None:
            return
        try:
            frames = self._reader.feed(data)
        except BrokenStream as error:
            self._broken = f"it wrote something that is no frame: {error}"
            log.error("a worker is ended: %s", self._broken)
            self._signal(signal.SIGKILL)
            return
        if frames:
            self.listener.worker_wrote(frames)

    def received_stderr(self, data: bytes) -> None:
        """Takes what the process said."""
        for line in self._stderr.feed(data):
            self.listener.worker_said(line)

    def ended(self, code: int) -> None:
        """Takes note that the process is gone and everything it wrote was read."""
        if self._ended.done():
            return
        for line in self._stderr.finish():
            self.listener.worker_said(line)
        self._ended.set_result(None)
        if self._transport is not None:
            # Its pipes are of no more use, and nobody calls `close` after a crash.
            self._transport.close()
        self.listener.worker_ended(self._broken or _how_it_ended(code), self._stderr.newest)

    def _signal(self, number: signal.Signals) -> None:
        if self._transport is not None and self._transport.get_returncode() is None:
            try:
                self._transport.send_signal(number)
            except ProcessLookupError:
                return

    async def _has_ended(self, wait_s: float) -> bool:
        await asyncio.wait([self._ended], timeout=wait_s)
        return self._ended.done()


class _Pipes(asyncio.SubprocessProtocol):
    """Hands over what comes from the process, and knows when all of it has come."""

    def __init__(self, worker: WorkerProcess) -> None:
        self._worker = worker
        self._transport: asyncio.SubprocessTransport | None = None
        self._open = {1, 2}
        self._exited = False
        self._too_long: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self._worker.connected(self._transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1:
            self._worker.received(data)
        else:
            self._worker.received_stderr(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        del exc
        self._open.discard(fd)
        self._look()

    def process_exited(self) -> None:
        self._exited = True
        if self._open:
            # A process that the engine started may hold on to its pipes; nobody waits for that one.
            self._too_long = asyncio.get_running_loop().call_later(DRAIN_S, self._tell)
        self._look()

    def _look(self) -> None:
        if self._exited and not self._open:
            if self._too_long is not None:
                self._too_long.cancel()
            self._tell()

    def _tell(self) -> None:
        code = self._transport.get_returncode() if self._transport is not None else None
        self._worker.ended(0 if code is None else code)


class _Lines:
    """The lines of a process's stderr, of which the newest are kept."""

    def __init__(self) -> None:
        self._part = b""
        self._lines: deque[str] = deque(maxlen=STDERR_LINES)

    @property
    def newest(self) -> tuple[str, ...]:
        """Oldest first."""
        return tuple(self._lines)

    def feed(self, data: bytes) -> list[str]:
        """Takes what arrived and gives the lines that are whole; one without an end is cut."""
        *whole, self._part = (self._part + data).split(b"\n")
        if len(self._part) > LINE_BYTES:
            whole.append(self._part)
            self._part = b""
        return self._keep(whole)

    def finish(self) -> list[str]:
        """Gives the last line, which may have no end."""
        whole, self._part = [self._part], b""
        return self._keep(whole)

    def _keep(self, lines: list[bytes]) -> list[str]:
        texts = [line[:LINE_BYTES].decode("utf-8", "replace").rstrip() for line in lines]
        kept = [text for text in texts if text]
        self._lines.extend(kept)
        return kept


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
