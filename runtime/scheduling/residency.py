"""Which models are in memory: loads, evicts, restarts and unloads them."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import cast

import msgspec

from ..engines.choice import EngineChoice, EngineName, choose_engine
from ..engines.process import EngineProcess
from ..engines.standby import Conditions, Standbys
from ..engines.supervisor import RestartBackoff
from ..errors import EngineCrashed, EngineError, ImpetusError, LoadFailed, Overloaded, UnservableModel
from ..formats.header import Header
from ..frames import Limits, Stats
from ..models.model import Model, ModelState, ModelStatus
from ..tuning.load_plan import LoadPlan
from ..tuning.wishes import NO_WISHES, LoadWishes
from .governor import Governor
from .memory_grant import Holding
from .resident import Resident
from .smaller_plan import is_useful, tell_sizes

log = logging.getLogger(__name__)

SWITCH_GRACE_S = 10.0
"""How long an unload waits for the model's running requests before it ends them."""
STANDBY_ROOM_BYTES = 1 << 30
"""So much must be free beyond what is left to the system before a process stands by for the next load."""


class Residency:
    """Owns every engine process; one load at a time, so that memory is granted with open eyes."""

    def __init__(
        self,
        *,
        plan: Callable[[Model, LoadWishes, int | None], LoadPlan],
        governor: Governor,
        environment: Mapping[str, str],
        max_loaded: int,
        load_timeout_s: float,
        on_change: Callable[[], None],
        next_engines: Callable[[], Sequence[EngineName]] = lambda: (),
        keep_alive_s: float = math.inf,
        choose: Callable[[Header], EngineChoice] = choose_engine,
        pinned: Callable[[], AbstractSet[str]] = frozenset,
    ) -> None:
        """Puts it together; nothing is started yet.

        Args:
            plan: decides how a model is held, by what is wanted of this load, and by so many bytes where that is a number.
            governor: grants the memory.
            environment: of the engines' processes, whole.
            max_loaded: so many models are in memory at once.
            load_timeout_s: a load that takes longer is given up.
            on_change: called when a model's status or a process changed.
            next_engines: those that may be asked for next; a process stands by for each that there is room for.
            keep_alive_s: how long a model stays in memory unused, where no request said otherwise since it was loaded.
            choose: says which engine holds a model.
            pinned: the ids of models that never make room for others.
        """
        self._keep_alive_s = keep_alive_s
        self._choose = choose
        self._pinned = pinned
        self._limits = Limits()
        self._fewer = False
        self._plan = plan
        self._governor = governor
        self._environment = environment
        self._max_loaded = max_loaded
        self._load_timeout_s = load_timeout_s
        self._on_change = on_change
        self._residents: dict[str, Resident] = {}
        self._one_load = asyncio.Lock()
        self._closing = False
        conditions = Conditions(
            environment=environment,
            is_busy=lambda: any(resident.running or resident.loading for resident in self.residents()),
            has_room=lambda: governor.has_room(STANDBY_ROOM_BYTES, self._held()),
            on_change=on_change,
        )
        self._standbys = Standbys(conditions, next_engines)

    def status(self, model: Model) -> ModelStatus:
        """What is done with a model now."""
        resident = self._residents.get(model.id)
        return ModelStatus(model) if resident is None else replace(resident.status, model=model)

    def residents(self) -> tuple[Resident, ...]:
        """Every model that was ever asked for."""
        return tuple(self._residents.values())

    def stats(self) -> Mapping[str, Stats]:
        """The newest report of each loaded engine, by model id."""
        return {
            resident.model.id: resident.engine.stats
            for resident in self._residents.values()
            if resident.engine is not None and resident.engine.stats is not None
        }

    def pids(self) -> Iterable[int]:
        """The processes of the engines, also those that stand by."""
        engines = [resident.engine for resident in self._residents.values() if resident.engine is not None]
        return [*(engine.pid for engine in engines if engine.pid is not None), *self._standbys.pids]

    def review_standby(self) -> None:
        """Says that other models may be asked for than before."""
        self._standbys.review()

    @asynccontextmanager
    async def use(
        self, model: Model, *, load: bool, keep_alive_s: float | None = None
    ) -> AsyncGenerator[tuple[EngineProcess, int]]:
        """Holds a model in memory while a request runs in it, and loads it first where that is allowed.

        Args:
            model: which one.
            load: whether it may be loaded.
            keep_alive_s: how long it stays unused afterwards; None leaves that as it is.

        Yields:
            The engine and the context length it serves.

        Raises:
            LoadFailed, UnservableModel, Overloaded: it is not in memory and cannot come there now.
        """
        resident = self._resident(model)
        engine = resident.engine if resident.state == "ready" else None
        if engine is None:
            if not load:
                raise UnservableModel(model.id, "it is not loaded, and models.load_on_request is off.")
            engine = await self.load(model)
        resident.running += 1
        resident.idle.clear()
        if keep_alive_s is not None:
            resident.keep_alive_s = keep_alive_s
        self._set_expiry(resident)
        try:
            yield engine, resident.ready.context_length if resident.ready is not None else 0
        finally:
            resident.running -= 1
            if resident.running == 0:
                resident.idle.set()
            self._set_expiry(resident)

    def keep(self, model: Model, keep_alive_s: float) -> None:
        """Says how long a model stays in memory unused from now on; 0 lets it go as soon as nothing runs in it."""
        resident = self._resident(model)
        if resident.state == "ready":
            resident.keep_alive_s = keep_alive_s
            self._set_expiry(resident)

    async def load(self, model: Model, wishes: LoadWishes | None = None) -> EngineProcess:
        """Brings a model into memory; callers at the same time share one load.

        Args:
            model: which one.
            wishes: how it is to be held until it is unloaded; one held otherwise is loaded anew. None takes it as it is.

        Raises:
            LoadFailed, UnservableModel, Overloaded: it cannot be had now.
        """
        if model.problem is not None:
            raise UnservableModel(model.id, model.problem)
        resident = self._resident(model)
        resident.model = model
        if wishes is not None and wishes != resident.wishes:
            await self._let_go(resident)
            resident.wishes = wishes
        if resident.state == "ready" and resident.engine is not None:
            return resident.engine
        if resident.loading is None:
            resident.loading = asyncio.create_task(self._load(resident), name=f"load {model.id}")
            resident.loading.add_done_callback(lambda task: self._load_ended(resident, task))
        loading = resident.loading
        try:
            # A caller that leaves must not end a load that others wait for, or that the next request needs anyway.
            return await asyncio.shield(loading)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if loading.cancelled() and caller is not None and not caller.cancelling():
                raise LoadFailed(model.id, "it was unloaded while it loaded.") from None
            raise

    def wishes(self, model: Model) -> LoadWishes:
        """How a model is held, above the settings."""
        return self._resident(model).wishes

    async def lengthen(self, model: Model, wishes: LoadWishes, why: str) -> None:
        """Loads a model anew, for a longer context, once nothing runs in it.

        Args:
            model: which one.
            wishes: how it is to be held.
            why: the decision in one line, for people.

        Raises:
            LoadFailed, UnservableModel, Overloaded: it cannot be had so now; the next request loads it as usual.
        """
        resident = self._resident(model)
        while resident.running:
            await resident.idle.wait()
        await self.load(model, wishes)
        self._governor.note("longer", why)

    async def _let_go(self, resident: Resident) -> None:
        """Begins to unload a model, so that the next load makes a new engine; one that still loads is waited for."""
        if resident.engine is not None:
            self._begin_unload(resident)
        while (loading := resident.loading) is not None:
            self._begin_unload(resident)
            await asyncio.wait([loading])

    async def unload(self, model_id: str) -> None:
        """Ends a model's engine and gives its memory back; running requests get a short grace."""
        resident = self._residents.get(model_id)
        if resident is not None:
            await asyncio.shield(self._begin_unload(resident))

    def limit(self, limits: Limits, *, fewer: bool) -> None:
        """Tells every engine, and each that comes, to do less than it could, or as usual again.

        Args:
            limits: what holds for all of them.
            fewer: whether each runs half as many requests as it does now.
        """
        self._limits, self._fewer = limits, fewer
        for resident in self.residents():
            self._send_limits(resident)
        self._standbys.pause(paused=not limits.background)

    def unload_idle(self, idle_s: float) -> None:
        """Unloads the models that nobody used for so long, but for pinned ones."""
        pinned, now_s = self._pinned(), time.monotonic()
        for resident in self.residents():
            unused = resident.state == "ready" and not resident.running and now_s - resident.used_s >= idle_s
            if unused and resident.model.id not in pinned:
                self._governor.note("unload", f"{resident.model.id} is unloaded: memory is very short, and nobody uses it")
                self._begin_unload(resident)

    def growth_bytes(self, model: Model) -> int:
        """What one more token of a loaded model's context takes, beyond what was written at the load."""
        resident = self._residents.get(model.id)
        return 0 if resident is None else resident.growth_bytes

    async def switch(self, model: Model) -> None:
        """Unloads every other model and loads this one; it waits for the others only where memory is short.

        Raises:
            LoadFailed, UnservableModel, Overloaded: it cannot be had now; the others are unloaded all the same.
        """
        others = [resident for resident in self.residents() if resident.model.id != model.id and resident.state != "unloaded"]
        leaving = [self._begin_unload(resident) for resident in others]
        try:
            await self.load(model)
        finally:
            if leaving:
                await asyncio.wait(leaving)

    async def close(self) -> None:
        """Ends every engine at once."""
        self._closing = True
        for resident in self.residents():
            self._set_expiry(resident)
        stopped = [task for resident in self.residents() for task in self._stop_tasks(resident)]
        for resident in self.residents():
            if resident.leaving is not None:
                # It waits for no request any more, but its engine is still ended in good order.
                resident.leaving.cancel()
                stopped.append(cast("asyncio.Task[object]", resident.leaving))
        if stopped:
            await asyncio.wait(stopped)
        await asyncio.gather(self._standbys.close(), *(self._end(resident) for resident in self.residents()))

    async def _load(self, resident: Resident) -> EngineProcess:
        model = resident.model
        # What is on its way out goes first: two engines of one model would need the memory twice.
        if resident.leaving is not None:
            await asyncio.wait([resident.leaving])
        self._move(resident, "loading")
        async with self._one_load:
            choice = self._choose(model.header)
            if choice.engine is None:
                raise UnservableModel(model.id, choice.problem or "no engine runs it.")
            plan = await asyncio.to_thread(self._plan, model, resident.wishes, None)
            plan = await self._make_room(resident, plan)
            engine = EngineProcess(
                model_id=model.id,
                path=model.path,
                backend=choice.engine,
                options=plan.options,
                environment=self._environment,
                load_timeout_s=self._load_timeout_s,
                on_exit=lambda error: self._engine_left(resident, error),
                on_progress=lambda fraction: self._progressed(resident, fraction),
            )
            started_s = time.monotonic()
            for reason in filter(None, (choice.reason, *plan.reasons)):
                log.info("%s: %s", model.id, reason)
            ready = await engine.start(self._standbys.take(choice.engine))
            if not engine.alive:
                raise LoadFailed(model.id, "its engine ended as soon as it was ready.")
            resident.ready = ready
        resident.engine = engine
        resident.load_s = time.monotonic() - started_s
        resident.memory_bytes = plan.needed_bytes
        resident.growth_bytes = plan.growth_bytes_per_token
        self._send_limits(resident)
        resident.backoff.note_healthy()
        self._move(resident, "ready")
        self._set_expiry(resident)
        log.info(
            "loaded %s in %.1f s: %s, context %d",
            model.id,
            resident.load_s,
            resident.ready.engine,
            resident.ready.context_length,
        )
        for name, text in resident.ready.details.items():
            log.info("%s: %s: %s", model.id, name, text)
        return engine

    async def _make_room(self, resident: Resident, plan: LoadPlan) -> LoadPlan:
        """Waits until a model has the room it needs, and sees to it; gives the plan that fits.

        Raises:
            LoadFailed: it does not fit, with the arithmetic.
            Overloaded: it will, once others are no longer busy.
        """
        model, usual, why_smaller = resident.model, plan, ""
        if (why := self._governor.refuse_tensor(model.header, plan.options)) is not None:
            self._governor.note("refuse", f"{model.id} is not loaded: {why}")
            raise LoadFailed(model.id, why)
        while True:
            others = [other for other in self.residents() if other.model.id != model.id and other.engine is not None]
            leaving = [other.leaving for other in others if other.leaving is not None]
            full = len(others) - len(leaving) >= self._max_loaded
            held = self._held(but=model)
            verdict = await asyncio.to_thread(
                self._governor.judge, plan.needed_bytes, held, full=full, may_shrink=not why_smaller
            )
            match verdict.answer:
                case "grant":
                    if plan is usual:
                        self._governor.note("grant", f"{model.id} is loaded: {verdict.text}")
                    else:
                        self._governor.note("smaller", f"{model.id} is loaded with {tell_sizes(plan, usual)}: {why_smaller}")
                    return plan
                case "wait":
                    await asyncio.wait(leaving, return_when=asyncio.FIRST_COMPLETED)
                case "evict":
                    leaver = self._residents[verdict.evict or ""]
                    # While the memory was read, a request may have come for it, or it may have left by itself.
                    if leaver.engine is not None and leaver.leaving is None and not leaver.running:
                        self._governor.note("evict", f"{verdict.evict} makes room for {model.id}: nobody used it for longest")
                        self._begin_unload(leaver)
                case "smaller":
                    why_smaller = verdict.text
                    smaller = await asyncio.to_thread(self._plan, model, resident.wishes, verdict.room_bytes)
                    if is_useful(smaller, usual):
                        plan = smaller
                case "busy":
                    raise Overloaded(
                        f"There is no room for '{model.id}' while {verdict.text}; try again shortly.", retry_after_s=5
                    )
                case "refuse":
                    self._governor.note("refuse", f"{model.id} is not loaded: {verdict.text}")
                    raise LoadFailed(model.id, verdict.text)

    def _held(self, *, but: Model | None = None) -> list[Holding]:
        """What every model but one holds of the memory."""
        pinned = self._pinned()
        return [
            resident.holding(pinned=resident.model.id in pinned)
            for resident in self.residents()
            if resident.engine is not None and (but is None or resident.model.id != but.id)
        ]

    def _send_limits(self, resident: Resident) -> None:
        """Tells an engine how much less than usual it is to do."""
        if not self._fewer:
            resident.most_running = None
        elif resident.most_running is None:
            resident.most_running = max(1, -(-resident.running // 2))
        limits = msgspec.structs.replace(self._limits, most_running=resident.most_running)
        if resident.engine is not None:
            resident.engine.limit(limits)

    def _resident(self, model: Model) -> Resident:
        return self._residents.setdefault(model.id, Resident(model, self._keep_alive_s))

    def _set_expiry(self, resident: Resident) -> None:
        resident.note_use(None if self._closing else partial(self._expire, resident))

    def _expire(self, resident: Resident) -> None:
        if resident.state == "ready" and not resident.running and not self._closing:
            log.info("%s was unused for %.0f s", resident.model.id, resident.keep_alive_s)
            self._begin_unload(resident)

    def _begin_unload(self, resident: Resident) -> asyncio.Task[None]:
        """Takes a model out of service at once, and ends its process in a task."""
        stopped = self._stop_tasks(resident)
        resident.wishes = NO_WISHES
        if resident.leaving is None:
            if resident.engine is not None:
                self._move(resident, "unloading")
            resident.leaving = asyncio.create_task(self._leave(resident, stopped), name=f"unload {resident.model.id}")
        return resident.leaving

    async def _leave(self, resident: Resident, stopped: Sequence[asyncio.Task[object]]) -> None:
        try:
            if stopped:
                await asyncio.wait(stopped)
            resident.backoff = RestartBackoff()
            if resident.engine is not None:
                async with asyncio.timeout(SWITCH_GRACE_S):
                    await resident.idle.wait()
        except TimeoutError:
            log.warning("%s is unloaded although %d requests still run in it", resident.model.id, resident.running)
        finally:
            await self._end(resident)
            resident.leaving = None
            resident.keep_alive_s = self._keep_alive_s
            self._move(resident, "unloaded")
        log.info("unloaded %s", resident.model.id)

    def _load_ended(self, resident: Resident, task: asyncio.Task[EngineProcess]) -> None:
        resident.loading = None
        resident.progress = None
        if task.cancelled():
            self._move(resident, "unloaded" if resident.leaving is None else "unloading")
        elif (error := task.exception()) is not None:
            # What was wanted may be why it failed; the next request must not want it too.
            resident.wishes = NO_WISHES
            if isinstance(error, Overloaded):
                self._move(resident, "unloaded")
                return
            message = error.message if isinstance(error, ImpetusError) else f"{type(error).__name__}: {error}"
            if isinstance(error, EngineError):
                log.error("%s", message)
            else:
                log.error("%s", message, exc_info=error if not isinstance(error, ImpetusError) else None)
            self._move(resident, "failed", failure=message)

    def _engine_left(self, resident: Resident, error: EngineCrashed | None) -> None:
        """The process ended: by itself with an error, or because it was closed."""
        if error is None or resident.engine is None:
            return
        resident.engine = None
        resident.ready = None
        log.error("%s", error.message)
        self._move(resident, "failed", failure=error.message)
        if not self._closing:
            resident.restart = asyncio.create_task(self._restart(resident), name=f"restart {resident.model.id}")

    async def _restart(self, resident: Resident) -> None:
        delay_s = resident.backoff.next_delay_s()
        log.info("%s is started again in %.1f s", resident.model.id, delay_s)
        await asyncio.sleep(delay_s)
        if resident.state == "failed":
            try:
                await self.load(resident.model)
            except ImpetusError:
                log.info("%s stays unloaded until it is asked for", resident.model.id)

    def _stop_tasks(self, resident: Resident) -> list[asyncio.Task[object]]:
        """Cancels what is under way for a model, and gives it."""
        tasks = [cast("asyncio.Task[object]", task) for task in (resident.restart, resident.loading) if task is not None]
        resident.restart = None
        for task in tasks:
            task.cancel()
        return tasks

    async def _end(self, resident: Resident) -> None:
        engine, resident.engine, resident.ready = resident.engine, None, None
        if engine is not None:
            await engine.close()

    def _progressed(self, resident: Resident, fraction: float) -> None:
        resident.progress = fraction
        self._on_change()

    def _move(self, resident: Resident, state: ModelState, *, failure: str | None = None) -> None:
        resident.state = state
        resident.failure = failure
        if state in {"ready", "unloaded", "failed"}:
            self._standbys.review()
        self._on_change()
