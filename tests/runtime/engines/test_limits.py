"""Real engines that are told to do less than they could."""

import asyncio
from pathlib import Path

import pytest
from engine_tools import GREEDY, Engine, answer, find_starter, opened

from impetus.runtime.frames import Limits, LoadOptions, PrefixOptions
from impetus.runtime.request import GenerateRequest, TokenPrompt

OPTIONS = LoadOptions(context_length=1024, threads=1, max_sequences=2, prefix=PrefixOptions(ram_bytes=64 << 20))


def prompt(first: int, tokens: int = 300) -> GenerateRequest:
    return GenerateRequest("m", TokenPrompt(tuple(first + place % 50 for place in range(tokens))), GREEDY, max_tokens=1)


async def kept_bytes(engine: Engine, at_least: int) -> int:
    """Asks small things until the engine reports that what ended is kept: that is done while nothing runs."""
    async with asyncio.timeout(60):
        while True:
            await asyncio.sleep(0.5)  # what is kept is saved once nothing came for a moment
            await answer(engine, prompt(9000, 4))
            stats = await engine.until(running=0)
            if stats.prefix_bytes >= at_least:
                return stats.prefix_bytes


@pytest.mark.engine
async def test_caches_shrink_at_once_and_are_used_again_as_soon_as_they_may() -> None:
    async with opened("llama", find_starter(), options=OPTIONS) as engine:
        for first in (1000, 2000):
            await answer(engine, prompt(first))
        before = await kept_bytes(engine, 8 << 20)
        reports = len(engine.reports)
        engine.limit(Limits(cache_share=0.0))
        async with asyncio.timeout(5):
            while len(engine.reports) == reports or engine.reports[-1].prefix_bytes:
                engine.reported.clear()
                await engine.reported.wait()
        assert before > 8 << 20
        engine.limit(Limits())
        for first in (3000, 4000):
            await answer(engine, prompt(first))
        assert await kept_bytes(engine, 8 << 20)


async def test_what_runs_goes_on_and_what_comes_waits_while_fewer_are_wanted() -> None:
    async with opened("echo", Path("echo"), options=LoadOptions(echo_tps=50, max_sequences=8)) as engine:
        engine.limit(Limits(most_running=2))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(answer(engine, GenerateRequest("m", TokenPrompt(tuple(range(100)))))) for _ in range(4)]
            await engine.until(running=2, waiting=2)
        assert all(task.result().done.reason == "stop" for task in tasks)
