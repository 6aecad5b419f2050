"""Questions to real engine processes."""

import asyncio
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from engine_tools import answer, chat, make_engine, opened
from tiny_embedding import write_bert

from impetus.runtime.errors import ContextOverflow, EngineCrashed, EngineError, InvalidRequest
from impetus.runtime.frames import LoadOptions
from impetus.runtime.questions import Embed, Embedded, Ranked, Tokenize, Tokenized

pytestmark = pytest.mark.engine

OPTIONS = LoadOptions(threads=1)
LARGE = Embed(("the cat sat on the mat and the dog ran " * 4,) * 2048)
"""More than a second's work."""


async def test_questions_run_side_by_side_and_each_gets_its_own_answer(tmp_path: Path) -> None:
    async with opened("llama-embedding", write_bert(tmp_path / "bert.gguf"), options=OPTIONS) as engine:
        assert engine.ready.context_length == 128
        large = asyncio.create_task(engine.ask(LARGE, Embedded))
        small = await asyncio.gather(*(engine.ask(Embed((text,)), Embedded) for text in ("cat", "dog", "cat")))
        assert not large.done(), "a small request must not wait for a large one"
        assert engine.running == 1
        cat, dog, again = (np.frombuffer(one.vectors[0], "<f4") for one in small)
        assert cat == pytest.approx(again, abs=1e-3)
        assert float(cat @ dog) < 0.999
        answered = await large
        assert len(answered.vectors) == 2048
        assert answered.prompt_tokens == 2048 * (4 * 10 + 2)
        assert engine.running == 0


async def test_one_who_leaves_ends_the_work(tmp_path: Path) -> None:
    async with opened("llama-embedding", write_bert(tmp_path / "bert.gguf"), options=OPTIONS) as engine:
        leaving = [asyncio.create_task(engine.ask(LARGE, Embedded)) for _ in range(40)]
        await engine.ask(Embed(("cat",)), Embedded)
        for task in leaving:
            task.cancel()
        await asyncio.wait(leaving)
        # All of it together would take minutes.
        async with asyncio.timeout(10):
            assert len((await engine.ask(Embed(("cat",)), Embedded)).vectors) == 1
        assert engine.running == 0


async def test_refusals_arrive_as_errors(tmp_path: Path) -> None:
    async with opened("llama-embedding", write_bert(tmp_path / "bert.gguf"), options=OPTIONS) as engine:
        with pytest.raises(ContextOverflow, match=r"128 tokens\. However, your input\[1\] resulted in 202 tokens") as caught:
            await engine.ask(Embed(("cat", "cat " * 200)), Embedded)
        assert caught.value.param == "input[1]"
        with pytest.raises(InvalidRequest, match="does not write text"):
            await answer(engine, chat("hi"))
        with pytest.raises(EngineError, match="another question"):
            await engine.ask(Tokenize(("cat",)), Ranked)


async def test_a_killed_engine_fails_its_questions(tmp_path: Path) -> None:
    async with opened("llama-embedding", write_bert(tmp_path / "bert.gguf"), options=OPTIONS) as engine:
        large = asyncio.create_task(engine.ask(LARGE, Embedded))
        await engine.ask(Tokenize(("cat",)), Tokenized)
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(EngineCrashed, match="SIGKILL"):
            await large
        with pytest.raises(EngineError, match="not running"):
            await engine.ask(Tokenize(("cat",)), Tokenized)


async def test_an_unloaded_engine_says_so(tmp_path: Path) -> None:
    engine = make_engine("llama-embedding", write_bert(tmp_path / "bert.gguf"), options=OPTIONS)
    await engine.start()
    large = asyncio.create_task(engine.ask(LARGE, Embedded))
    await engine.ask(Tokenize(("cat",)), Tokenized)
    await engine.close()
    with pytest.raises(EngineError, match="unloaded while it answered"):
        await large
