"""An engine, seen from our side: a worker's process that was given a model, and is asked for answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path

from ..errors import ContextOverflow, EngineCrashed, EngineError, ImpetusError, InvalidRequest, LoadFailed, Overloaded
from ..frames import (
    Accepted,
    Answered,
    Ask,
    Cancel,
    FromEngine,
    Generate,
    Hold,
    Limits,
    Load,
    LoadOptions,
    LoadRefused,
    Prepared,
    Progress,
    Ready,
    Refused,
    Release,
    Stats,
    Step,
    ToEngine,
)
from ..questions import Answer, AnswerKind, Question
from ..request import GenerateRequest
from .stream import Batch, Stream
from .worker_process import WorkerProcess


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
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._next_id = 1
        self._worker: WorkerProcess | None = None
        self._ready: asyncio.Future[Ready] | None = None
        self._served = False
        self._heard = False
        """Whether the process said anything of the load, or nothing in time."""
        self._closing = False
        self.stats: Stats | None = None
        """The engine's newest report of itself."""
        self.limits = Limits()
        """What the engine was told last."""

    @property
    def pid(self) -> int | None:
        """The process's number; None when there is none."""
        return self._worker.pid if self._worker is not None else None

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._worker is not None and self._worker.alive

    @property
    def running(self) -> int:
        """How many generations and questions are under way."""
        return len(self._streams) + len(self._asked)

    async def start(self, standby: WorkerProcess | None = None) -> Ready:
        """Starts a process, or takes over one that stands by, and waits until it holds the model.

        Raises:
            LoadFailed: it refused, took too long, or died; no process is left then, nor after a cancellation.
        """
        if standby is not None and standby.alive:
            try:
                return await self._start(standby)
            except LoadFailed:
                if self._heard:
                    raise
            # It had ended, or could not even begin: that says more about how it stood by than about the model.
            self._log.info("the process that stood by ended before it loaded anything; another one is started")
        return await self._start(None)

    async def _start(self, standby: WorkerProcess | None) -> Ready:
        """Loads the model in a process that stands by, or in a new one; raises as `start` does."""
        self._heard = False
        self._ready = asyncio.get_running_loop().create_future()
        try:
            if standby is not None:
                self._worker = standby
                standby.listener = self
            else:
                self._worker = await self._spawn()
            self._send(self._load_frame)
            async with asyncio.timeout(self._load_timeout_s):
                ready = await self._ready
        except TimeoutError:
            self._heard = True  # it had all the time there is
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
            What arrived since the last time: `Accepted` first, then `Begun`, `Done` last.

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

    async def ask(self, question: Question, kind: type[AnswerKind]) -> AnswerKind:
        """Asks a question and waits for its answer, which is of this kind; a cancellation reaches the engine.

        Raises:
            InvalidRequest, ContextOverflow, Overloaded, EngineError: the engine refused it.
            EngineCrashed: the process ended.
        """
        if not self.alive or self._closing:
            raise EngineError(f"The engine of '{self._model_id}' is not running.")
        number = self._next_id
        self._next_id += 1
        asked = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._send(Ask(number, question))
            answer = await asked
        finally:
            del self._asked[number]
            if asked.cancelled():
                self._send(Cancel(number))
        if not isinstance(answer, kind):
            raise EngineError(f"The engine of '{self._model_id}' answered another question than it was asked.")
        return answer

    def limit(self, limits: Limits) -> None:
        """Tells the engine to do less than it could, or as usual again, where that is new to it."""
        if limits != self.limits:
            self.limits = limits
            self._send(limits)

    async def close(self) -> None:
        """Ends the process: asks it, then insists, then kills it. Generations under way end with an error."""
        if self._worker is not None:
            self._closing = True
            await self._worker.close()

    # What the worker tells.

    def worker_wrote(self, frames: Sequence[FromEngine]) -> None:
        """Hands each frame to whom it is for, and wakes every reader once."""
        touched: set[Stream] = set()
        for frame in frames:
            self._take(frame, touched)
        for stream in touched:
            stream.wake()

    def worker_said(self, line: str) -> None:
        """Logs what the engine said."""
        self._log.debug("%s", line)

    def worker_ended(self, how: str, last_words: tuple[str, ...]) -> None:
        """Tells everyone who waits that the engine is gone."""
        error = EngineCrashed(self._model_id, how=how, last_words=last_words)
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(self._load_failed(_death_while_loading(how, last_words)))
            # The waiter may be gone already, by a time-out; then nobody is left to be told.
            self._ready.exception()
        ending = EngineError(f"'{self._model_id}' was unloaded while it answered.") if self._closing else error
        for stream in tuple(self._streams.values()):
            stream.fail(ending)
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(ending)
        if self._served and self._on_exit is not None:
            self._on_exit(None if self._closing else error)

    def _load_failed(self, why: str) -> LoadFailed:
        return LoadFailed(self._model_id, why, path=self._load_frame.path)

    async def _spawn(self) -> WorkerProcess:
        try:
            return await WorkerProcess.spawn(self._environment, self)
        except OSError as error:
            raise LoadFailed(self._model_id, f"its process could not be started: {error}") from error

    def _take(self, frame: FromEngine, touched: set[Stream]) -> None:
        match frame:
            case Step():
                self._take_step(frame, touched)
            case Accepted():
                if (stream := self._streams.get(frame.id)) is not None:
                    stream.put(frame)
                    touched.add(stream)
            case Answered():
                if (asked := self._asked.get(frame.id)) is not None and not asked.done():
                    asked.set_result(frame.answer)
            case Refused():
                if (stream := self._streams.get(frame.id)) is not None:
                    stream.fail(_to_error(frame))
                elif (asked := self._asked.get(frame.id)) is not None and not asked.done():
                    asked.set_exception(_to_error(frame))
            case Stats():
                self.stats = frame
                if self._on_stats is not None:
                    self._on_stats(frame)
            case Progress():
                self._heard = True
                if self._on_progress is not None:
                    self._on_progress(frame.fraction)
            case Ready():
                if self._ready is not None and not self._ready.done():
                    self._ready.set_result(frame)
            case LoadRefused():
                self._heard = True
                if self._ready is not None and not self._ready.done():
                    self._ready.set_exception(self._load_failed(frame.why))
            case Prepared():
                pass  # a worker that was taken over before it had imported everything

    def _take_step(self, step: Step, touched: set[Stream]) -> None:
        # The busiest lines of our half: once for every token of every stream.
        streams = self._streams
        for begun in step.begun:
            stream = streams.get(begun.id)
            if stream is not None:
                stream.put(begun)
                touched.add(stream)
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
        if self._worker is not None:
            self._worker.send(frame)

    async def _kill(self) -> None:
        if self._worker is not None:
            await self._worker.kill()


def _death_while_loading(how: str, lines: tuple[str, ...]) -> str:
    tail = f" Its last words: {' | '.join(lines[-3:])}" if lines else ""
    return f"its process ended while it loaded ({how}).{tail}"


def _to_error(refused: Refused) -> ImpetusError:
    match refused.kind:
        case "overflow":
            return ContextOverflow(refused.prompt_tokens, refused.context_length, param=refused.param or "messages")
        case "invalid":
            return InvalidRequest(refused.message, param=refused.param, code="invalid_value")
        case "overloaded":
            return Overloaded(refused.message)
        case _:
            return EngineError(refused.message)
