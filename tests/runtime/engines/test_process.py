import asyncio
import os
import signal
import time
from contextlib import aclosing

import pytest
from engine_tools import answer, chat, is_gone, make_engine, opened, workers

from impetus.runtime.engines.stream import HOLD_AT
from impetus.runtime.errors import ContextOverflow, EngineCrashed, EngineError, InvalidRequest, LoadFailed
from impetus.runtime.frames import Accepted, Delta, LoadOptions
from impetus.runtime.request import GenerateRequest, TextPrompt

ENDLESS = chat("on and on", max_tokens=100_000, echo_tps=100)


async def test_an_answer_comes_in_order() -> None:
    async with asyncio.timeout(20), opened() as engine:
        found = await answer(engine, chat("Hello, big world! 🦊"))
        assert found.text == "Hello, big world! 🦊"
        assert found.accepted.prompt_tokens == found.done.prompt_tokens == 6
        assert (found.done.reason, found.done.completion_tokens) == ("stop", 6)
        assert engine.running == 0
        stats = await engine.until(running=0)
        assert stats is engine.stats


async def test_every_token_is_a_delta_of_its_own() -> None:
    async with asyncio.timeout(20), opened() as engine:
        found = await answer(engine, chat("a b c", max_tokens=5000))
        assert len(found.deltas) == found.done.completion_tokens == 5000
        assert found.done.reason == "length"


async def test_streams_do_not_mix() -> None:
    async with asyncio.timeout(30), opened() as engine:
        texts = [f"stream {number} says {number * 7}" for number in range(40)]
        answers = await asyncio.gather(*(answer(engine, chat(text)) for text in texts))
        assert [found.text for found in answers] == texts


async def test_a_stop_string_ends_the_text_before_it() -> None:
    async with asyncio.timeout(20), opened() as engine:
        found = await answer(engine, chat("one two three four", stop=("ee f", "never")))
        assert (found.text, found.done.reason) == ("one two thr", "stop")


async def test_more_than_fit_wait_for_their_turn() -> None:
    async with asyncio.timeout(20), opened(options=LoadOptions(max_sequences=1)) as engine:
        async with aclosing(engine.generate(ENDLESS)) as first:
            assert isinstance((await anext(first))[0], Accepted)
            second = asyncio.create_task(answer(engine, chat("second")))
            await engine.until(running=1, waiting=1)
            assert not second.done()
        assert (await second).text == "second"


async def test_one_that_waits_can_be_cancelled() -> None:
    async with asyncio.timeout(20), opened(options=LoadOptions(max_sequences=1)) as engine:
        async with aclosing(engine.generate(ENDLESS)) as first:
            await anext(first)
            async with aclosing(engine.generate(ENDLESS)) as second:
                await anext(second)
                await engine.until(running=1, waiting=1)
            await engine.until(running=1, waiting=0)
        await engine.until(running=0)


async def test_a_reader_that_leaves_stops_its_generation() -> None:
    async with asyncio.timeout(20), opened() as engine:
        async with aclosing(engine.generate(ENDLESS)) as batches:
            await anext(batches)
        stats = await engine.until(running=0)
        assert stats.kv_used_tokens == 0
        assert engine.running == 0


async def test_a_task_that_is_cancelled_stops_its_generation() -> None:
    async with asyncio.timeout(20), opened() as engine:
        task = asyncio.create_task(answer(engine, ENDLESS))
        await engine.until(running=1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await engine.until(running=0)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (chat("word " * 200), ContextOverflow),
        (chat("hi", max_tokens=0), InvalidRequest),
        (chat("hi", echo_tps=-1.0), InvalidRequest),
    ],
)
async def test_what_cannot_be_served_is_refused(request_: GenerateRequest, error: type[Exception]) -> None:
    async with asyncio.timeout(20), opened(options=LoadOptions(context_length=100)) as engine:
        with pytest.raises(error) as caught:
            await answer(engine, request_)
        if isinstance(caught.value, ContextOverflow):
            assert (caught.value.prompt_tokens, caught.value.context_length) == (201, 100)
        assert (await answer(engine, chat("next"))).text == "next"


async def test_a_long_answer_ends_with_the_context() -> None:
    async with asyncio.timeout(20), opened(options=LoadOptions(context_length=100)) as engine:
        found = await answer(engine, GenerateRequest("m", TextPrompt("a b c d e"), max_tokens=10_000))
        assert (found.done.reason, found.done.completion_tokens) == ("length", 95)


async def test_a_slow_reader_holds_up_only_itself_and_loses_nothing() -> None:
    total = 120_000
    request = chat("a b c d", max_tokens=total, echo_tps=0)
    async with asyncio.timeout(120), opened() as engine:
        async with aclosing(engine.generate(request)) as slow:
            batch = await anext(slow)
            assert (await answer(engine, request)).done.completion_tokens == total
            count = sum(isinstance(frame, Delta) for frame in batch)
            largest = 0
            async for batch in slow:
                largest = max(largest, len(batch))
                count += sum(isinstance(frame, Delta) for frame in batch)
        assert count == total
        # What the engine wrote until it read that it is held depends on the machine's load; unheld, all of it would be there.
        assert HOLD_AT <= largest < total / 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
async def test_a_crash_reaches_every_stream_at_once_with_the_signals_name(number: signal.Signals) -> None:
    exits: list[EngineCrashed | None] = []
    async with asyncio.timeout(20), opened(on_exit=exits.append) as engine:
        tasks = [asyncio.create_task(answer(engine, ENDLESS)) for _ in range(3)]
        await engine.until(running=3)
        assert engine.pid is not None
        os.kill(engine.pid, number)
        began_s = time.monotonic()
        for task in tasks:
            with pytest.raises(EngineCrashed) as caught:
                await task
            assert caught.value.how == number.name
        assert time.monotonic() - began_s < 1
        assert [error.how for error in exits if error is not None] == [number.name]
        assert (engine.alive, engine.pid, engine.running) == (False, None, 0)
        with pytest.raises(EngineError):
            await answer(engine, ENDLESS)
    assert len(exits) == 1


async def test_closing_ends_the_process_and_tells_its_readers() -> None:
    exits: list[EngineCrashed | None] = []
    async with asyncio.timeout(20), opened(on_exit=exits.append) as engine:
        pid = engine.pid
        assert pid is not None
        task = asyncio.create_task(answer(engine, ENDLESS))
        await engine.until(running=1)
        await engine.close()
        assert is_gone(pid)
        with pytest.raises(EngineError, match="unloaded"):
            await task
        await engine.close()
    assert exits == [None]


async def test_a_stopped_process_is_killed_in_the_end() -> None:
    async with asyncio.timeout(20), opened() as engine:
        pid = engine.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        await engine.close()
        assert is_gone(pid)


async def test_closing_what_never_started_does_nothing() -> None:
    engine = make_engine()
    await engine.close()
    assert not engine.alive


async def test_a_load_that_is_refused_leaves_no_process() -> None:
    engine = make_engine("abacus")
    async with asyncio.timeout(20):
        with pytest.raises(LoadFailed, match="abacus"):
            await engine.start()
    assert not engine.alive
    assert workers() == []


async def test_a_load_that_takes_too_long_leaves_no_process() -> None:
    engine = make_engine(load_timeout_s=0.01)
    async with asyncio.timeout(20):
        with pytest.raises(LoadFailed, match="not ready"):
            await engine.start()
    assert not engine.alive
    assert workers() == []


async def test_a_load_that_is_cancelled_leaves_no_process() -> None:
    engine = make_engine()
    # Long enough for the process to be there, too short for it to be ready.
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await engine.start()
    assert not engine.alive
    assert workers() == []


async def test_a_process_that_dies_while_it_loads_says_how_and_its_last_words() -> None:
    # A path that Python cannot start from: the interpreter itself complains and leaves.
    engine = make_engine()
    engine._environment["PYTHONHOME"] = "/nowhere"
    async with asyncio.timeout(20):
        with pytest.raises(LoadFailed, match=r"exit code 1\b.*last words"):
            await engine.start()
    assert not engine.alive
