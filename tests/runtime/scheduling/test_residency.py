import asyncio
import math
import os
import signal
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from engine_tools import workers

from impetus.runtime.engines.choice import EngineName
from impetus.runtime.errors import LoadFailed, Overloaded, UnservableModel
from impetus.runtime.formats.header import Header
from impetus.runtime.frames import Limits, LoadOptions
from impetus.runtime.models.model import Model
from impetus.runtime.scheduling.decisions import Decisions
from impetus.runtime.scheduling.governor import Governor
from impetus.runtime.scheduling.memory_grant import MemoryNow
from impetus.runtime.scheduling.residency import SWITCH_GRACE_S, Residency
from impetus.runtime.tuning.plan import LoadPlan
from impetus.runtime.tuning.wishes import LoadWishes

GIB = 1024**3


def echo_model(name: str, problem: str | None = None) -> Model:
    return Model(name, Path(name), "builtin", Header("echo", 0), problem)


A, B, C = (echo_model(name) for name in "abc")


class Machine:
    """What the governor is told; loading a model takes what it needs."""

    def __init__(self, *, total: int = 16 * GIB, available: int = 16 * GIB) -> None:
        self.total, self.available = total, available

    def read(self) -> MemoryNow:
        return MemoryNow(self.total, self.available)


class Watched:
    """A residency, and how to wait for its changes."""

    def __init__(self, owner: Residency, changed: asyncio.Event, decisions: Decisions) -> None:
        self.owner, self._changed, self.decisions = owner, changed, decisions

    def decided(self) -> list[str]:
        """The kinds of all decisions, oldest first."""
        return [decision.kind for decision in reversed(self.decisions.newest(100))]

    def states(self) -> dict[str, str]:
        return {resident.model.id: resident.state for resident in self.owner.residents()}

    async def change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def reached(self, model_id: str, state: str) -> None:
        while self.states().get(model_id) != state:
            await self.change()


@asynccontextmanager
async def residency(
    *,
    max_loaded: int = 2,
    needed: int = 0,
    machine: Machine | None = None,
    next_engines: Sequence[EngineName] = (),
    keep_alive_s: float = math.inf,
    plan: Callable[[Model, LoadWishes, int | None], LoadPlan] | None = None,
    pinned: frozenset[str] = frozenset(),
) -> AsyncGenerator[Watched]:
    changed, machine, decisions = asyncio.Event(), machine or Machine(), Decisions()
    owner = Residency(
        plan=plan or (lambda _model, _wishes, _budget: LoadPlan(LoadOptions(), needed, ())),
        governor=Governor(read_memory=lambda: machine.read(), decisions=decisions),
        environment={"PATH": os.environ["PATH"]},
        max_loaded=max_loaded,
        load_timeout_s=30,
        on_change=changed.set,
        next_engines=lambda: next_engines,
        keep_alive_s=keep_alive_s,
        pinned=lambda: pinned,
    )
    try:
        async with asyncio.timeout(60):
            yield Watched(owner, changed, decisions)
    finally:
        await owner.close()


async def test_the_model_unused_for_longest_makes_room() -> None:
    async with residency() as watched:
        await watched.owner.load(A)
        await watched.owner.load(B)
        async with watched.owner.use(A, load=True):
            pass
        await watched.owner.load(C)
        assert watched.states() == {"a": "ready", "b": "unloaded", "c": "ready"}


async def test_a_busy_model_is_never_evicted() -> None:
    async with residency(max_loaded=1) as watched, watched.owner.use(A, load=True):
        with pytest.raises(Overloaded, match=r"'b'.*a is busy"):
            await watched.owner.load(B)
        assert watched.states() == {"a": "ready", "b": "unloaded"}


async def test_a_model_that_is_asked_for_while_the_memory_is_read_is_not_evicted() -> None:
    machine = Machine()
    async with residency(max_loaded=1, machine=machine) as watched, AsyncExitStack() as stack:
        await watched.owner.load(A)
        loop = asyncio.get_running_loop()

        def read() -> MemoryNow:
            machine.read = lambda: MemoryNow(16 * GIB, 16 * GIB)
            used = stack.enter_async_context(watched.owner.use(A, load=False))
            asyncio.run_coroutine_threadsafe(used, loop).result(10)
            return machine.read()

        machine.read = read
        with pytest.raises(Overloaded, match=r"'b'.*a is busy"):
            await watched.owner.load(B)
        assert watched.states() == {"a": "ready", "b": "unloaded"}
        assert watched.decided() == ["grant"]


async def test_a_model_that_does_not_fit_is_refused_with_the_arithmetic() -> None:
    async with residency(needed=10 * GIB, machine=Machine(available=9 * GIB)) as watched:
        with pytest.raises(LoadFailed) as caught:
            await watched.owner.load(A)
        for figure in ("10.0 GiB", "9.0 GiB", "1.6 GiB"):
            assert figure in caught.value.message
        assert watched.owner.status(A).failure == caught.value.message


async def test_the_next_load_does_not_wait_for_one_that_makes_room_where_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impetus.runtime.engines.worker_process.LEAVE_S", 20)
    async with residency(max_loaded=1) as watched:
        first = await watched.owner.load(A)
        assert first.pid is not None
        # It cannot leave before it is let go.
        os.kill(first.pid, signal.SIGSTOP)
        await watched.owner.load(B)
        assert watched.states() == {"a": "unloading", "b": "ready"}
        assert first.alive
        os.kill(first.pid, signal.SIGCONT)
        await watched.reached("a", "unloaded")
        assert not first.alive


async def test_where_memory_is_short_the_next_load_waits_until_it_is_given_back() -> None:
    machine = Machine()
    async with residency(needed=8 * GIB, machine=machine) as watched:
        first = await watched.owner.load(A)
        machine.read = lambda: MemoryNow(16 * GIB, 6 * GIB if first.alive else 14 * GIB)
        await watched.owner.load(B)
        assert not first.alive
        assert watched.states() == {"a": "unloaded", "b": "ready"}


async def test_a_switch_leaves_one_model_and_stops_the_loads_of_others() -> None:
    async with residency(max_loaded=3) as watched:
        await watched.owner.load(A)
        loading = asyncio.create_task(watched.owner.load(B))
        await watched.reached("b", "loading")
        await watched.owner.switch(C)
        with pytest.raises(LoadFailed, match="unloaded while it loaded"):
            await loading
        assert watched.states() == {"a": "unloaded", "b": "unloaded", "c": "ready"}


async def test_an_unload_also_ends_a_load_that_waits_for_another_unload() -> None:
    async with residency() as watched:
        async with watched.owner.use(A, load=True):
            first = asyncio.create_task(watched.owner.unload("a"))
            await watched.reached("a", "unloading")
            again = asyncio.create_task(watched.owner.load(A))
            await asyncio.sleep(0)
            second = asyncio.create_task(watched.owner.unload("a"))
            with pytest.raises(LoadFailed, match="unloaded while it loaded"):
                await again
        await asyncio.gather(first, second)
        assert watched.states() == {"a": "unloaded"}


async def test_closing_does_not_wait_for_the_requests_an_unload_waits_for() -> None:
    async with residency() as watched, watched.owner.use(A, load=True) as (engine, _):
        unload = asyncio.create_task(watched.owner.unload("a"))
        await watched.reached("a", "unloading")
        async with asyncio.timeout(SWITCH_GRACE_S / 2):
            await watched.owner.close()
        assert not engine.alive
        await asyncio.gather(unload, return_exceptions=True)


async def test_a_process_stands_by_for_the_next_load() -> None:
    async with residency(next_engines=["echo"]) as watched:
        first = await watched.owner.load(A)
        while len(pids := set(watched.owner.pids())) < 2:
            await watched.change()
        second = await watched.owner.load(B)
        assert {first.pid, second.pid} == pids


async def test_an_unload_ends_a_load_and_tells_who_waits_for_it() -> None:
    async with residency() as watched:
        load = asyncio.create_task(watched.owner.load(A))
        await watched.reached("a", "loading")
        await watched.owner.unload("a")
        with pytest.raises(LoadFailed, match="unloaded while it loaded"):
            await load
        assert watched.states() == {"a": "unloaded"}
        await watched.owner.load(A)
        assert watched.states() == {"a": "ready"}


async def test_a_caller_that_leaves_does_not_end_a_shared_load() -> None:
    async with residency() as watched:
        first, second = (asyncio.create_task(watched.owner.load(A)) for _ in range(2))
        await watched.reached("a", "loading")
        first.cancel()
        engine = await second
        assert engine.alive
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_an_unload_waits_for_running_requests() -> None:
    async with residency() as watched:
        async with AsyncExitStack() as stack:
            engine, _ = await stack.enter_async_context(watched.owner.use(A, load=True))
            unload = asyncio.create_task(watched.owner.unload("a"))
            await watched.reached("a", "unloading")
            assert engine.alive
        await unload
        assert not engine.alive


async def test_a_request_for_a_model_that_is_being_unloaded_loads_it_again() -> None:
    async with residency() as watched:
        async with AsyncExitStack() as stack:
            first, _ = await stack.enter_async_context(watched.owner.use(A, load=True))
            unload = asyncio.create_task(watched.owner.unload("a"))
            await watched.reached("a", "unloading")
            again = asyncio.create_task(watched.owner.load(A))
            await asyncio.sleep(0)
        await unload
        second = await again
        assert (first.alive, second.alive, watched.states()) == (False, True, {"a": "ready"})


async def test_idle_models_are_unloaded_and_used_ones_kept() -> None:
    async with residency(keep_alive_s=0.1) as watched:
        await watched.owner.load(A)
        async with watched.owner.use(B, load=True):
            await watched.reached("a", "unloaded")
            assert watched.states()["b"] == "ready"
        await watched.reached("b", "unloaded")


async def test_a_request_says_how_long_its_model_stays() -> None:
    async with residency() as watched:
        async with watched.owner.use(A, load=True, keep_alive_s=60):
            pass
        leaves_s = watched.owner.status(A).unload_at_s
        assert leaves_s is not None
        assert 50 < leaves_s - time.monotonic() <= 60
        async with watched.owner.use(A, load=True):
            pass
        assert watched.owner.status(A).unload_at_s > leaves_s
        async with watched.owner.use(A, load=True, keep_alive_s=math.inf):
            pass
        assert watched.owner.status(A).unload_at_s is None
        async with watched.owner.use(A, load=True, keep_alive_s=0):
            assert watched.states() == {"a": "ready"}
        await watched.reached("a", "unloaded")
        await watched.owner.load(A)
        assert watched.owner.status(A).unload_at_s is None


async def test_a_model_that_is_told_to_leave_waits_for_what_runs_in_it() -> None:
    async with residency() as watched:
        async with watched.owner.use(A, load=True):
            watched.owner.keep(A, 0)
            await asyncio.sleep(0)
            assert watched.states() == {"a": "ready"}
        await watched.reached("a", "unloaded")


async def test_a_model_with_a_problem_is_not_tried() -> None:
    async with residency() as watched:
        with pytest.raises(UnservableModel, match="cut short"):
            await watched.owner.load(echo_model("damaged", "the file is cut short"))
        with pytest.raises(UnservableModel, match="not loaded"):
            async with watched.owner.use(A, load=False):
                pass


def as_wanted(model: Model, wishes: LoadWishes, budget_bytes: int | None) -> LoadPlan:
    if wishes.context_length == 13:
        raise LoadFailed(model.id, "that is too little.")
    return LoadPlan(LoadOptions(context_length=wishes.context_length or 1000), 0, ())


async def test_what_is_wanted_of_a_load_holds_until_it_is_unloaded() -> None:
    async with residency(plan=as_wanted) as watched:
        owner = watched.owner
        first = await owner.load(A, LoadWishes(context_length=200))
        assert owner.status(A).context_length == 200
        assert await owner.load(A) is await owner.load(A, LoadWishes(context_length=200)) is first
        async with owner.use(A, load=True) as (engine, context_length):
            assert (engine, context_length) == (first, 200)
        second = await owner.load(A, LoadWishes(context_length=300))
        assert (second is first, owner.status(A).context_length) == (False, 300)
        await owner.unload("a")
        await owner.load(A)
        assert owner.status(A).context_length == 1000


async def test_a_crash_forgets_nothing_that_was_wanted_and_a_failed_load_does() -> None:
    async with residency(plan=as_wanted) as watched:
        owner = watched.owner
        engine = await owner.load(A, LoadWishes(context_length=200))
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        await watched.reached("a", "failed")
        await watched.reached("a", "ready")
        assert owner.status(A).context_length == 200
        with pytest.raises(LoadFailed, match="too little"):
            await owner.load(A, LoadWishes(context_length=13))
        await owner.load(A)
        assert owner.status(A).context_length == 1000


async def test_wishes_that_come_together_are_met_one_after_the_other() -> None:
    async with residency(plan=as_wanted) as watched:
        owner = watched.owner
        loads = [owner.load(A, LoadWishes(context_length=length)) for length in (200, 300, 400)]
        ended = await asyncio.gather(owner.load(A), *loads, return_exceptions=True)
        assert all(isinstance(end, LoadFailed) for end in ended[:-1])
        assert (owner.status(A).state, owner.status(A).context_length) == ("ready", 400)


async def test_closing_ends_every_process_also_one_that_loads() -> None:
    async with residency() as watched:
        await watched.owner.load(A)
        loading = asyncio.create_task(watched.owner.load(B))
        await watched.reached("b", "loading")
    await asyncio.gather(loading, return_exceptions=True)
    assert workers() == []


def in_gib(model: Model, wishes: LoadWishes, budget_bytes: int | None) -> LoadPlan:
    """Half of what a model takes is its context, a GiB for 8192 tokens; it has 32768 of them where there is room."""
    room = 8 * GIB if budget_bytes is None else budget_bytes
    contexts = max(1, min(4, (room - 4 * GIB) // GIB))
    return LoadPlan(LoadOptions(context_length=contexts * 8192), (4 + contexts) * GIB, ())


async def test_a_model_that_fits_with_a_shorter_context_is_loaded_so_and_told() -> None:
    async with residency(plan=in_gib, machine=Machine(available=8 * GIB)) as watched:
        await watched.owner.load(A)
        assert watched.owner.status(A).context_length == 16384
        assert watched.decided() == ["smaller"]
        text = watched.decisions.newest(1)[0].text
        assert "6.0 GiB instead of 8.0 GiB, a context of 16384 instead of 32768 tokens" in text
        assert "it needs 8.0 GiB, but 8.0 GiB are available" in text


async def test_pinned_models_stay_and_nobody_is_sent_away_in_vain() -> None:
    async with residency(needed=4 * GIB, pinned=frozenset({"a"}), max_loaded=3) as watched:
        await watched.owner.load(A)
        await watched.owner.load(B)
        await watched.owner.load(C)
        assert watched.states() == {"a": "ready", "b": "unloaded", "c": "ready"}
        assert watched.decided() == ["grant", "grant", "evict", "grant"]
    async with residency(plan=in_gib, pinned=frozenset({"a"})) as watched:
        await watched.owner.load(A)
        with pytest.raises(LoadFailed, match=r"models may take 9.6 GiB together .* and hold 8.0 GiB. Unpin a"):
            await watched.owner.load(B)
        assert watched.states() == {"a": "ready", "b": "failed"}
        assert watched.decided() == ["grant", "refuse"]


async def test_very_short_memory_unloads_what_nobody_uses() -> None:
    async with residency(pinned=frozenset({"a"}), max_loaded=3) as watched:
        for model in (A, B, C):
            await watched.owner.load(model)
        async with watched.owner.use(C, load=False):
            watched.owner.unload_idle(60)
            assert watched.states() == {"a": "ready", "b": "ready", "c": "ready"}
            watched.owner.unload_idle(0)
            await watched.reached("b", "unloaded")
            assert watched.states() == {"a": "ready", "b": "unloaded", "c": "ready"}
        assert watched.decided()[-1] == "unload"


async def test_every_engine_is_told_to_do_less_also_one_that_comes_after_another() -> None:
    limits = Limits(prefill_duty=0.5)
    async with residency() as watched:
        first = await watched.owner.load(A)
        watched.owner.limit(limits, fewer=False)
        await watched.owner.unload("a")
        second = await watched.owner.load(A)
        assert first is not second
        assert (first.limits, second.limits) == (limits, limits)
        watched.owner.limit(Limits(), fewer=False)
        assert (first.limits, second.limits) == (limits, Limits())


async def test_nothing_stands_by_while_engines_are_to_do_less() -> None:
    async with residency(next_engines=["echo"]) as watched:
        await watched.owner.load(A)
        while len(set(watched.owner.pids())) < 2:
            await watched.change()
        watched.owner.limit(Limits(background=False, cache_share=0.25), fewer=True)
        while len(set(watched.owner.pids())) > 1:
            await watched.change()
        watched.owner.limit(Limits(), fewer=False)
        while len(set(watched.owner.pids())) < 2:
            await watched.change()
