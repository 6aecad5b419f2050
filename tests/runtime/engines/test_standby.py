import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from engine_tools import ENVIRONMENT, answer, chat, is_gone, make_engine, workers

from impetus.runtime.engines.choice import EngineName
from impetus.runtime.engines.standby import Conditions, Standby, Standbys
from impetus.runtime.engines.worker_process import WorkerProcess
from impetus.runtime.errors import EngineCrashed, LoadFailed


@dataclass
class Surroundings:
    """What a standby asks, and how to wait for what it does."""

    wanted: EngineName | None
    busy: bool
    room: bool
    asked: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    standby: Standby = field(init=False)

    def is_busy(self) -> bool:
        self.asked += 1
        self.changed.set()
        return self.busy

    def has_room(self) -> bool:
        return self.room

    async def prepared(self) -> int:
        while not self.standby.is_prepared:
            await self.change()
        assert self.standby.pid is not None
        return self.standby.pid

    async def change(self) -> None:
        self.changed.clear()
        await self.changed.wait()


@asynccontextmanager
async def surroundings(
    *, wanted: EngineName | None = "echo", busy: bool = False, room: bool = True
) -> AsyncGenerator[Surroundings]:
    around = Surroundings(wanted, busy, room)
    conditions = Conditions(ENVIRONMENT, around.is_busy, around.has_room, around.changed.set, calm_s=0.01)
    around.standby = Standby(conditions, lambda: around.wanted)
    try:
        async with asyncio.timeout(30):
            yield around
    finally:
        await around.standby.close()
    assert workers() == []


async def test_a_load_takes_over_what_stands_by_and_another_one_follows() -> None:
    async with surroundings() as around:
        around.standby.review()
        pid = await around.prepared()
        engine = make_engine()
        try:
            await engine.start(around.standby.take("echo"))
            assert engine.pid == pid
            assert (around.standby.pid, around.standby.is_prepared) == (None, False)
            assert (await answer(engine, chat("hello"))).text == "hello"
            around.standby.review()
            assert await around.prepared() != pid
            assert engine.alive
        finally:
            await engine.close()


async def test_a_worker_may_be_taken_over_before_it_is_prepared() -> None:
    async with surroundings() as around:
        around.standby.review()
        while around.standby.pid is None:
            await around.change()
        engine = make_engine()
        try:
            await engine.start(around.standby.take("echo"))
            assert (await answer(engine, chat("soon"))).text == "soon"
        finally:
            await engine.close()


async def test_a_crash_of_a_worker_that_was_taken_over_is_its_engines() -> None:
    async with surroundings() as around:
        around.standby.review()
        await around.prepared()
        exit_: asyncio.Future[EngineCrashed | None] = asyncio.get_running_loop().create_future()
        engine = make_engine(on_exit=exit_.set_result)
        await engine.start(around.standby.take("echo"))
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        error = await exit_
        assert error is not None
        assert error.how == "SIGKILL"
        assert around.standby.pid is None


async def test_a_worker_that_was_killed_just_before_a_load_is_replaced() -> None:
    async with surroundings() as around:
        around.standby.review()
        pid = await around.prepared()
        os.kill(pid, signal.SIGKILL)
        worker = around.standby.take("echo")
        assert worker is not None
        assert worker.alive  # the loop has not looked yet
        engine = make_engine()
        try:
            await engine.start(worker)
            assert engine.pid != pid
            assert (await answer(engine, chat("fresh"))).text == "fresh"
        finally:
            await engine.close()


async def test_a_worker_that_refuses_a_model_is_not_replaced() -> None:
    async with surroundings(wanted="llama") as around:
        around.standby.review()
        await around.prepared()
        engine = make_engine("llama", Path("/nowhere/at/all.gguf"))
        with pytest.raises(LoadFailed):
            await engine.start(around.standby.take("llama"))
        assert workers() == []


async def test_a_worker_for_another_engine_is_not_handed_over() -> None:
    async with surroundings() as around:
        around.standby.review()
        pid = await around.prepared()
        assert around.standby.take("llama") is None
        assert around.standby.pid == pid


async def test_where_none_is_wanted_any_more_the_worker_is_ended() -> None:
    async with surroundings() as around:
        around.standby.review()
        pid = await around.prepared()
        around.wanted = None
        around.standby.review()
        while around.standby.pid is not None:
            await around.change()
        assert around.standby.take("echo") is None
        while not is_gone(pid):
            await around.change()


@pytest.mark.parametrize(("wanted", "room"), [(None, True), ("echo", False)])
async def test_without_need_or_room_none_is_started(wanted: EngineName | None, *, room: bool) -> None:
    async with surroundings(wanted=wanted, room=room) as around:
        for _ in range(3):
            asked = around.asked
            around.standby.review()
            while around.asked == asked:
                await around.change()
        assert around.standby.pid is None


async def test_it_waits_for_the_engines_to_be_idle() -> None:
    async with surroundings(busy=True) as around:
        around.standby.review()
        while around.asked < 5:
            await around.change()
        assert around.standby.pid is None
        around.busy = False
        await around.prepared()


async def test_engines_that_are_never_idle_do_not_keep_it_away_for_ever() -> None:
    async with surroundings(busy=True) as around:
        around.standby.review()
        await around.prepared()


async def test_a_worker_that_dies_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impetus.runtime.engines.standby.FIRST_PAUSE_S", 0.01)
    async with surroundings() as around:
        around.standby.review()
        pid = await around.prepared()
        os.kill(pid, signal.SIGKILL)
        while around.standby.is_prepared and around.standby.pid == pid:
            await around.change()
        assert await around.prepared() != pid


async def test_a_dead_worker_is_not_handed_over_and_a_load_does_without() -> None:
    async with surroundings() as around:
        dead = await WorkerProcess.spawn(ENVIRONMENT, around.standby)
        await dead.kill()
        engine = make_engine()
        try:
            await engine.start(dead)
            assert (await answer(engine, chat("fresh"))).text == "fresh"
        finally:
            await engine.close()


async def test_closing_ends_a_worker_that_is_being_started() -> None:
    async with surroundings() as around:
        around.standby.review()
        while not around.asked:
            await around.change()
    around.standby.review()
    assert around.standby.pid is None


async def test_each_engine_that_is_wanted_gets_a_worker_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impetus.runtime.engines.standby.BUSY_LOOKS", 10_000)
    changed = asyncio.Event()
    wanted: list[EngineName] = ["scripted", "echo"]
    most_unprepared = 0

    def count() -> None:
        nonlocal most_unprepared
        most_unprepared = max(most_unprepared, len(standbys.pids) - len(standbys.prepared))
        changed.set()

    async def until(pids: int) -> None:
        while not len(standbys.pids) == len(standbys.prepared) == pids:
            changed.clear()
            await changed.wait()

    standbys = Standbys(Conditions(ENVIRONMENT, lambda: False, lambda: True, count, calm_s=0.01), lambda: wanted)
    try:
        async with asyncio.timeout(30):
            standbys.review()
            await until(2)
            assert most_unprepared == 1
            assert standbys.prepared == {"scripted", "echo"}
            assert standbys.take("llama") is None
            taken = standbys.take("echo")
            assert taken is not None
            await taken.kill()
            assert standbys.prepared == {"scripted"}
            standbys.review()
            await until(2)
            wanted.remove("scripted")
            standbys.review()
            await until(1)
            assert standbys.prepared == {"echo"}
            standbys.pause(paused=True)
            await until(0)
            standbys.pause(paused=False)
            await until(1)
    finally:
        await standbys.close()
    assert workers() == []
