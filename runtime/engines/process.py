"""An engine's process, seen from our side: it is started, asked, listened to, and always ended."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import cast

from ..errors import ContextOverflow, EngineCrashed, EngineError, ImpetusError, InvalidRequest, LoadFailed, Overloaded
from ..frames import (
    Accepted,
    Cancel,
    FromEngine,
    Generate,
    Hold,
    Load,
    LoadOptions,
    LoadRefused,
    Progress,
    Ready,
    Refused,
    Release,
    Shutdown,
    Stats,
    Step,
    ToEngine,
    encode,
)
from ..request import GenerateRequest
from .frame_reader import BrokenStream, FrameReader
from .stream import Batch, Stream

LEAVE_S = 2.0
"""How long an engine may take to leave by itself, and again after it was asked by a signal."""
DRAIN_S = 1.0
"""How long the pipes of a dead engine may stay open."""
STDERR_LINES = 50
LINE_BYTES = 4000


class EngineProcess:
    """One process that holds one model.

    It belongs to one event loop. `start` comes first and once; after `close`, or a crash, it is of no further use.
    """

    def __init__(
        self,
        *,
        model_id: str,
        path: Path,
        backend: str,
        options: LoadOptions,
        environment: Mapping[str, str],
        load_timeout_s: float = 300,
        on_stats: Callable[[Stats], None] | None = None,
        on_exit: Callable[[EngineCrashed | None], None] | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> None:
        self._model_id = model_id
        self._load_frame = Load(backend, model_id, str(path), options)
        self._environment = dict(environment)
        self._load_timeout_s = load_timeout_s
        self._on_stats = on_stats
        self._on_exit = on_exit
        self._on_progress = on_progress
        self._log = logging.getLogger(f"impetus.engines.{model_id}")
        self._streams: dict[int, Stream] = {}
        self._next_id = 1
        self._transport: asyncio.SubprocessTransport | None = None
        self._stdin: asyncio.WriteTransport | None = None
        self._reader = FrameReader()
        self._stderr = _Lines(self._log)
        self._ready: asyncio.Future[Ready] | None = None
        self._ended: asyncio.Future[None] | None = None
        self._served = False
        self._closing = False
        self._broken: str | None = None
        self.stats: Stats | None = None
        """The engine's newest report of itself."""

    @property
    def pid(self) -> int | None:
        """The process's number; None when there is none."""
        return self._transport.get_pid() if self._transport is not None and self.alive else None

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._ended is not None and not self._ended.done() and self._transport is not None

    @property
    def running(self) -> int:
        """How many generations are under way."""
        return len(self._streams)

    async def start(self) -> Ready:
        """Starts the process and waits until it holds the model.

        Raises:
            LoadFailed: it refused, took too long, or died; no process is left then, nor after a cancellation.
        """
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        self._ended = loop.create_future()
        try:
            await self._spawn()
            async with asyncio.timeout(self._load_timeout_s):
                ready = await self._ready
        except TimeoutError:
            await self._kill()
            raise LoadFailed(self._model_id, f"it was not ready after {self._load_timeout_s:.0f} s.") from None
        except BaseException:
            await self._kill()
            raise
        self._served = True
        return ready

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Batch, None]:
        """Runs one choice; closing the generator cancels it.

        Yields:
            What arrived since the last time: `Accepted` first, `Done` last.

        Raises:
            InvalidRequest, ContextOverflow, Overloaded, EngineError: the engine refused it.
            EngineCrashed: the process ended.
        """
        if not self.alive or self._closing:
            raise EngineError(f"The engine of '{self._model_id}' is not running.")
        stream = Stream(self._next_id, self._set_held)
        self._next_id += 1
        self._streams[stream.id] = stream
        try:
            self._send(Generate(stream.id, request))
            while batch := await stream.read():
                yield batch
        finally:
            self._streams.pop(stream.id, None)
            if not stream.finished:
                self._send(Cancel(stream.id))

    async def close(self) -> None:
        """Ends the process: asks it, then insists, then kills it. Generations under way end with an error."""
        if self._ended is None or self._transport is None:
            return
        self._closing = True
        try:
            self._send(Shutdown())
            if not await self._has_ended(LEAVE_S):
                self._signal(signal.SIGTERM)
                await self._has_ended(LEAVE_S)
        finally:
            await self._kill()

    # What the pipes tell, called by `_Pipes`.

    def received(self, data: bytes) -> None:
        """Takes what the engine wrote."""
        if self._broken is not None:
            return
        try:
            frames = self._reader.feed(data)
        except BrokenStream as error:
            self._broken = f"it wrote something that is no frame: {error}"
            self._log.error("%s", self._broken)
            self._signal(signal.SIGKILL)
            return
        touched: set[Stream] = set()
        for frame in frames:
            self._take(frame, touched)
        for stream in touched:
            stream.wake()

    def received_stderr(self, data: bytes) -> None:
        """Takes what the engine said."""
        self._stderr.feed(data)

    def ended(self, code: int) -> None:
        """Takes note that the process is gone and everything it wrote was read."""
        if self._ended is None or self._ended.done():
            return
        self._stderr.finish()
        self._ended.set_result(None)
        if self._transport is not None:
            # Its pipes are of no more use, and nobody calls `close` after a crash.
            self._transport.close()
        how = self._broken or _how_it_ended(code)
        error = EngineCrashed(self._model_id, how=how, last_words=self._stderr.lines)
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(LoadFailed(self._model_id, _death_while_loading(how, self._stderr.lines)))
            # The waiter may be gone already, by a time-out; then nobody is left to be told.
            self._ready.exception()
        for stream in tuple(self._streams.values()):
            stream.fail(EngineError(f"'{self._model_id}' was unloaded while it answered.") if self._closing else error)
        if self._served and self._on_exit is not None:
            self._on_exit(None if self._closing else error)

    async def _spawn(self) -> None:
        try:
            # -P: what lies in the user's current folder must not stand in for a module of ours.
            transport, _ = await asyncio.get_running_loop().subprocess_exec(
                lambda: _Pipes(self),
                *(sys.executable, "-P", "-m", "impetus.runtime.worker"),
                env=self._environment,
                start_new_session=True,
            )
        except OSError as error:
            raise LoadFailed(self._model_id, f"its process could not be started: {error}") from error
        self._transport = transport
        self._stdin = cast("asyncio.WriteTransport", transport.get_pipe_transport(0))
        self._send(self._load_frame)

    def _take(self, frame: FromEngine, touched: set[Stream]) -> None:
        match frame:
            case Step():
                self._take_step(frame, touched)
            case Accepted():
                if (stream := self._streams.get(frame.id)) is not None:
                    stream.put(frame)
                    touched.add(stream)
            case Refused():
                if (stream := self._streams.get(frame.id)) is not None:
                    stream.fail(_to_error(frame))
            case Stats():
                self.stats = frame
                if self._on_stats is not None:
                    self._on_stats(frame)
            case Progress():
                if self._on_progress is not None:
                    self._on_progress(frame.fraction)
            case Ready():
                if self._ready is not None and not self._ready.done():
                    self._ready.set_result(frame)
            case LoadRefused():
                if self._ready is not None and not self._ready.done():
                    self._ready.set_exception(LoadFailed(self._model_id, frame.why))

    def _take_step(self, step: Step, touched: set[Stream]) -> None:
        # The busiest lines of our half: once for every token of every stream.
        streams = self._streams
        for delta in step.deltas:
            stream = streams.get(delta.id)
            if stream is not None:
                stream.put(delta)
                touched.add(stream)
        for done in step.done:
            stream = streams.get(done.id)
            if stream is not None:
                stream.put(done)
                stream.finished = True
                touched.add(stream)

    def _set_held(self, stream_id: int, held: bool) -> None:
        self._send(Hold(stream_id) if held else Release(stream_id))

    def _send(self, frame: ToEngine) -> None:
        if self._stdin is not None and not self._stdin.is_closing():
            self._stdin.write(encode(frame))

    def _signal(self, number: signal.Signals) -> None:
        if self._transport is not None and self._transport.get_returncode() is None:
            try:
                self._transport.send_signal(number)
            except ProcessLookupError:
                return

    async def _has_ended(self, wait_s: float) -> bool:
        if self._ended is None:
            return True
        await asyncio.wait([self._ended], timeout=wait_s)
        return self._ended.done()

    async def _kill(self) -> None:
        """Makes sure that no process is left, also when the caller is cancelled meanwhile."""
        if self._transport is None:
            return
        self._signal(signal.SIGKILL)
        try:
            await self._has_ended(LEAVE_S)
        finally:
            self._transport.close()


class _Pipes(asyncio.SubprocessProtocol):
    """Hands over what comes from the process, and knows when all of it has come."""

    def __init__(self, engine: EngineProcess) -> None:
        self._engine = engine
        self._transport: asyncio.SubprocessTransport | None = None
        self._open = {1, 2}
        self._exited = False
        self._too_long: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1:
            self._engine.received(data)
        else:
            self._engine.received_stderr(data)

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
        self._engine.ended(0 if code is None else code)


class _Lines:
    """The newest lines of a process's stderr."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._part = b""
        self._lines: deque[str] = deque(maxlen=STDERR_LINES)

    @property
    def lines(self) -> tuple[str, ...]:
        """Oldest first."""
        return tuple(self._lines)

    def feed(self, data: bytes) -> None:
        """Takes what arrived; a line without an end is cut."""
        *whole, self._part = (self._part + data).split(b"\n")
        if len(self._part) > LINE_BYTES:
            whole.append(self._part)
            self._part = b""
        for line in whole:
            self._add(line)

    def finish(self) -> None:
        """Takes the last line, which may have no end."""
        self._add(self._part)
        self._part = b""

    def _add(self, line: bytes) -> None:
        text = line[:LINE_BYTES].decode("utf-8", "replace").rstrip()
        if text:
            self._lines.append(text)
            self._log.debug("%s", text)


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _death_while_loading(how: str, lines: tuple[str, ...]) -> str:
    tail = f" Its last words: {' | '.join(lines[-3:])}" if lines else ""
    return f"its process ended while it loaded ({how}).{tail}"


def _to_error(refused: Refused) -> ImpetusError:
    match refused.kind:
        case "overflow":
            return ContextOverflow(refused.prompt_tokens, refused.context_length)
        case "invalid":
            return InvalidRequest(refused.message, param=refused.param)
        case "overloaded":
            return Overloaded(refused.message)
        case _:
            return EngineError(refused.message)
