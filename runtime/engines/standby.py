"""Workers without a model: started ahead of time, so that a load need not wait for a process and its libraries."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ..frames import FromEngine, Prepare, Prepared
from .choice import EngineName
from .supervisor import RestartBackoff
from .worker_process import WorkerProcess

CALM_S = 2.0
"""How long after a load or an unload a worker is started: the first tokens of whoever asked for that come first."""
BUSY_LOOKS = 30
"""So many times the start is put off by `CALM_S` while the engines work; then it takes its share of the cores anyway."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 600.0
"""Between two starts of workers that die."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Conditions:
    """How a worker is started, and what is asked before that."""

    environment: Mapping[str, str]
    """Of the worker, whole."""
    is_busy: Callable[[], bool]
    """Whether models are being loaded or answers computed."""
    has_room: Callable[[], bool]
    """Whether the machine has memory to spare for one more; may block."""
    on_change: Callable[[], None]
    """Called when a worker came, was prepared or went."""
    calm_s: float = CALM_S
    """How long is waited after a `review`."""


class Standby:
    """Keeps at most one worker ready. It belongs to one event loop; after `close` it is of no further use.

    Args:
        conditions: how the worker is started, and when.
        wanted: the engine that is likely to be needed next; None for none.
    """

    def __init__(self, conditions: Conditions, wanted: Callable[[], EngineName | None]) -> None:
        self._conditions = conditions
        self._wanted = wanted
        self._worker: WorkerProcess | None = None
        self._engine: EngineName | None = None
        self._changed = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._backoff = RestartBackoff(first_s=FIRST_PAUSE_S, longest_s=LONGEST_PAUSE_S)
        self._pause_s = 0.0
        self._closing = False
        self._paused = False
        self._prepared = False

    @property
    def pid(self) -> int | None:
        """The process that stands by; None where there is none."""
        return self._worker.pid if self._worker is not None else None

    @property
    def is_prepared(self) -> bool:
        """Whether a worker stands by that has imported its engine."""
        return self._worker is not None and self._prepared

    def review(self) -> None:
        """Says that what is wanted may have changed; after a calm time a worker is started or ended."""
        if self._closing:
            return
        self._changed.set()
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name="keep a worker ready")

    def pause(self, *, paused: bool) -> None:
        """Ends the worker and starts no other, or goes on as usual."""
        if paused != self._paused:
            self._paused = paused
            self.review()

    def take(self, engine: EngineName) -> WorkerProcess | None:
        """Hands over the worker, where one stands by for this engine; it belongs to the caller from then on."""
        if self._worker is None or not self._worker.alive or self._engine != engine:
            return None
        worker, self._worker = self._worker, None
        return worker

    async def close(self) -> None:
        """Ends the worker, and starts no other."""
        self._closing = True
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        await self._end()

    # What the worker tells, as long as it stands by.

    def worker_wrote(self, frames: Sequence[FromEngine]) -> None:
        """Takes note that the engine is imported."""
        if any(isinstance(frame, Prepared) for frame in frames):
            self._prepared = True
            self._backoff.note_healthy()
            self._conditions.on_change()

    def worker_said(self, line: str) -> None:
        """Logs what the worker said."""
        log.debug("%s", line)

    def worker_ended(self, how: str, last_words: tuple[str, ...]) -> None:
        """Looks for another one, where it was not ended here."""
        if self._worker is not None:
            self._worker = None
            log.warning("the worker that stood by ended (%s). %s", how, " | ".join(last_words[-3:]))
            self._pause_s = self._backoff.next_delay_s()
            self._conditions.on_change()
            self.review()

    async def _keep(self) -> None:
        while True:
            await self._changed.wait()
            await self._calm()
            wanted = None if self._paused else self._wanted()
            if wanted is not None and not await asyncio.to_thread(self._conditions.has_room):
                log.info("no worker stands by: memory is short")
                wanted = None
            if self._worker is not None and self._engine != wanted:
                await self._end()
            if self._worker is None and wanted is not None:
                await self._start(wanted)

    async def _calm(self) -> None:
        pause_s, self._pause_s = self._pause_s, 0.0
        await asyncio.sleep(pause_s)
        for _ in range(BUSY_LOOKS):
            self._changed.clear()
            await asyncio.sleep(self._conditions.calm_s)
            if self._paused or not self._conditions.is_busy():
                return

    async def _start(self, engine: EngineName) -> None:
        self._engine, self._prepared = engine, False
        try:
            self._worker = await WorkerProcess.spawn(self._conditions.environment, self)
        except OSError as error:
            log.warning("no worker can stand by: %s", error)
            return
        if self._worker.alive:
            self._worker.send(Prepare(engine))
            self._conditions.on_change()
        else:
            self._worker = None

    async def _end(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            # It holds nothing that could be lost.
            await worker.kill()
            self._conditions.on_change()


class Standbys:
    """Keeps a worker ready for each engine that is likely to be needed next; they are started one after the other.

    It belongs to one event loop; after `close` it is of no further use.

    Args:
        conditions: how each is started, and when.
        wanted: the engines that are likely to be needed, what is worth most first.
    """

    def __init__(self, conditions: Conditions, wanted: Callable[[], Sequence[EngineName]]) -> None:
        self._conditions = conditions
        self._wanted = wanted
        self._standbys: dict[EngineName, Standby] = {}
        self._next: tuple[EngineName, ...] = ()
        self._closing = False
        self._paused = False

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that stand by."""
        return tuple(standby.pid for standby in self._standbys.values() if standby.pid is not None)

    @property
    def prepared(self) -> Collection[EngineName]:
        """The engines for which a worker stands by that has imported them."""
        return {engine for engine, standby in self._standbys.items() if standby.is_prepared}

    def review(self) -> None:
        """Says that what is wanted may have changed; after a calm time workers are started or ended."""
        if self._closing:
            return
        # Asked once: to look through all models takes a while, and each worker looks many times before it is started.
        self._next = tuple(self._wanted())
        for engine in self._next:
            if engine not in self._standbys:
                self._standbys[engine] = self._make(engine)
        for standby in self._standbys.values():
            standby.review()

    def pause(self, *, paused: bool) -> None:
        """Ends the workers and starts no others, or goes on as usual."""
        self._paused = paused
        for standby in self._standbys.values():
            standby.pause(paused=paused)

    def take(self, engine: EngineName) -> WorkerProcess | None:
        """Hands over the worker, where one stands by for this engine; it belongs to the caller from then on."""
        standby = self._standbys.get(engine)
        return None if standby is None else standby.take(engine)

    async def close(self) -> None:
        """Ends the workers, and starts no others."""
        self._closing = True
        await asyncio.gather(*(standby.close() for standby in self._standbys.values()))

    def _make(self, engine: EngineName) -> Standby:
        conditions = replace(self._conditions, is_busy=lambda: self._conditions.is_busy() or self._comes_before(engine))
        standby = Standby(conditions, lambda: engine if engine in self._next else None)
        standby.pause(paused=self._paused)
        return standby

    def _comes_before(self, engine: EngineName) -> bool:
        """Whether another one is being prepared, or is to be started first."""
        before = self._next[: self._next.index(engine)] if engine in self._next else ()
        others = (self._standbys[other] for other in before if other in self._standbys)
        if any(not other.is_prepared for other in others):
            return True
        return any(other.pid is not None and not other.is_prepared for other in self._standbys.values())
