import asyncio
import os
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from engine_tools import workers

from impetus.runtime.engines import choice
from impetus.runtime.errors import ContextOverflow, EngineCrashed, Overloaded, UnknownModel, UnservableModel
from impetus.runtime.events import Admitted, Event, Finished, PrefixReport, TextDelta
from impetus.runtime.journal import RequestRecord, Stage
from impetus.runtime.models.model import Model, ModelStatus
from impetus.runtime.models.registry import Registry
from impetus.runtime.request import ChatPrompt, GenerateRequest, Message, TextPart, TextPrompt
from impetus.runtime.runtime import Runtime

OpenRuntime = Callable[..., AbstractAsyncContextManager[Runtime]]


def chat(text: str, **fields: Any) -> GenerateRequest:
    prompt = ChatPrompt((Message("user", (TextPart(text),)),))
    return GenerateRequest(**{"model": "echo", "prompt": prompt, **fields})


def opened_record(runtime: Runtime, model: str = "echo") -> RequestRecord:
    return runtime.journal.open(model=model, client="test", route="/test")


async def run(runtime: Runtime, request: GenerateRequest, record: RequestRecord | None = None) -> list[Event]:
    record = record or opened_record(runtime, request.model)
    async with asyncio.timeout(30), aclosing(runtime.generate(request, record)) as batches:
        return [event async for batch in batches for event in batch]


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def status(runtime: Runtime, model_id: str = "echo") -> ModelStatus:
    return next(status for status in runtime.statuses() if status.model.id == model_id)


async def until(runtime: Runtime, condition: Callable[[], bool]) -> None:
    changed = asyncio.Event()
    remove = runtime.listen(changed.set)
    try:
        async with asyncio.timeout(30):
            while not condition():
                await changed.wait()
                changed.clear()
    finally:
        remove()


async def until_journal(runtime: Runtime, condition: Callable[[], bool]) -> None:
    changed = asyncio.Event()
    remove = runtime.journal.listen(lambda _: changed.set())
    try:
        async with asyncio.timeout(30):
            while not condition():
                await changed.wait()
                changed.clear()
    finally:
        remove()


async def until_stage(runtime: Runtime, record: RequestRecord, stage: Stage) -> None:
    await until_journal(runtime, lambda: record.stage == stage)


async def until_inside(runtime: Runtime, count: int) -> None:
    """Waits until so many requests have come past admission."""
    inside = ("loading", "prefill", "decode")
    await until_journal(runtime, lambda: sum(record.stage in inside for record in runtime.journal) >= count)


async def test_a_request_loads_its_model_and_streams_its_answer(opened: OpenRuntime) -> None:
    async with opened() as runtime:
        record = opened_record(runtime)
        assert status(runtime).state == "unloaded"
        events = await run(runtime, chat("one two three"), record)
        assert isinstance(events[0], Admitted)
        assert events[0].model == "echo"
        assert isinstance(events[-1], Finished)
        assert "one two three" in text_of(events)
        assert status(runtime).state == "ready"
        assert record.stage == "done"
        assert record.completion_tokens == events[-1].completion_tokens > 0
        assert record.prompt_tokens == events[-1].prompt_tokens > 0
        assert record.ttft_s is not None
        assert runtime.journal.tokens_by_model == {"echo": record.completion_tokens}


async def test_every_engine_ends_with_the_runtime(opened: OpenRuntime) -> None:
    async with opened() as runtime:
        await runtime.load("echo")
        pid = status(runtime).pid
        assert pid is not None
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)


async def test_load_unload_and_load_again(opened: OpenRuntime) -> None:
    async with opened() as runtime:
        await runtime.load("echo")
        first = status(runtime).pid
        await runtime.unload("echo")
        assert (status(runtime).state, status(runtime).pid) == ("unloaded", None)
        await runtime.load("echo")
        assert status(runtime).pid not in (None, first)


async def test_loads_at_the_same_time_are_one_load(opened: OpenRuntime) -> None:
    async with opened() as runtime:
        await asyncio.gather(*(run(runtime, chat("x")) for _ in range(8)))
        assert len(workers()) == 1


async def test_where_the_prompt_came_from_is_known_while_it_runs_and_after_a_cancel(opened: OpenRuntime) -> None:
    async with opened() as runtime:
        record = opened_record(runtime)
        request = chat("x y z", max_tokens=100_000, echo_tps=20.0, n=2)
        async with asyncio.timeout(30), aclosing(runtime.generate(request, record)) as batches:
            async for _ in batches:
                if record.prefix is not None:
                    break
        assert record.stage == "cancelled"
        assert record.prefix == PrefixReport(0, 0, 3)
        assert (record.prompt_tokens, record.cached_tokens, record.draft_tokens) == (3, 0, None)
        assert runtime.journal.prompt_tokens_by_origin["echo", "computed"] == 3


async def test_a_reader_that_leaves_cancels_its_request(opened: OpenRuntime) -> None:
    async with opened() as runtime:
        record = opened_record(runtime)
        async with asyncio.timeout(30):
            async with aclosing(runtime.generate(chat("x", max_tokens=100_000, echo_tps=20.0), record)) as batches:
                async for _ in batches:
                    break
            assert record.stage == "cancelled"
            await run(runtime, chat("still there"))
        assert status(runtime).running == 0


async def test_an_unknown_model_names_those_there_are(opened: OpenRuntime) -> None:
    async with opened() as runtime:
        record = opened_record(runtime, "ecko")
        with pytest.raises(UnknownModel) as caught:
            await run(runtime, chat("x", model="ecko"), record)
        assert caught.value.known == ("echo",)
        assert record.stage == "failed"
        assert record.error == caught.value.message


async def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(opened: OpenRuntime) -> None:
    async with opened() as runtime:
        await runtime.load("echo")
        context_length = status(runtime).context_length
        assert context_length is not None
        with pytest.raises(ContextOverflow) as caught:
            await run(runtime, GenerateRequest(model="echo", prompt=TextPrompt("word " * (context_length + 10))))
        assert caught.value.context_length == context_length
        assert caught.value.prompt_tokens > context_length


async def test_without_load_on_request_only_loaded_models_answer(opened: OpenRuntime) -> None:
    async with opened(models={"load_on_request": False}) as runtime:
        with pytest.raises(UnservableModel, match="load_on_request"):
            await run(runtime, chat("x"))
        await runtime.load("echo")
        assert "x" in text_of(await run(runtime, chat("x")))


async def test_a_killed_engine_fails_its_requests_at_once_and_comes_back(opened: OpenRuntime) -> None:
    async with opened() as runtime:
        await runtime.load("echo")
        pid = status(runtime).pid
        assert pid is not None
        record = opened_record(runtime)
        answer = asyncio.create_task(run(runtime, chat("x", max_tokens=10**6, echo_tps=50.0), record))
        await until_stage(runtime, record, "decode")
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(EngineCrashed, match="SIGKILL"):
            await answer
        assert record.stage == "failed"
        assert "SIGKILL" in (record.error or "")
        async with asyncio.timeout(5):
            assert "again" in text_of(await run(runtime, chat("again")))
        assert status(runtime).pid != pid


async def test_a_killed_idle_engine_is_started_again(opened: OpenRuntime) -> None:
    async with opened() as runtime:
        await runtime.load("echo")
        pid = status(runtime).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(runtime, lambda: status(runtime).state == "failed")
        assert "SIGKILL" in (status(runtime).failure or "")
        await until(runtime, lambda: status(runtime).state == "ready")
        assert status(runtime).pid != pid


async def test_more_requests_than_may_wait_are_told_to_come_later(opened: OpenRuntime) -> None:
    async with opened(scheduler={"max_queue": 1}, engine={"max_sequences": 1}) as runtime:
        await runtime.load("echo")
        slow = [asyncio.create_task(run(runtime, chat("x", max_tokens=10**6, echo_tps=1.0))) for _ in range(2)]
        await until_inside(runtime, 2)
        with pytest.raises(Overloaded):
            await run(runtime, chat("x"))
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        assert "x" in text_of(await run(runtime, chat("x")))


async def test_a_model_that_no_engine_runs_says_why(
    opened: OpenRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models" / "someone" / "tiny"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    (folder / "config.json").write_text('{"model_type": "novel"}')
    # As an installation without torch, which might know it.
    monkeypatch.setattr(choice, "_is_installed", lambda package: package not in ("torch", "transformers"))
    async with opened() as runtime:
        known = next(status.model for status in runtime.statuses() if status.model.id != "echo")
        assert known.header.format == "safetensors"
        with pytest.raises(UnservableModel, match=r"impetus-llm\[torch\].*mlx-lm does not know the architecture 'novel'"):
            await run(runtime, chat("x", model=known.id))


async def test_settings_are_written_and_hold_at_once(opened: OpenRuntime) -> None:
    async with opened() as runtime:
        runtime.write_setting("dashboard", "theme", "impetus-light")
        assert runtime.config.dashboard.theme == "impetus-light"
        assert 'theme = "impetus-light"' in runtime.config_path.read_text()


async def test_the_disk_is_looked_through_once_at_a_time(opened: OpenRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = Registry.scan
    together = threading.Barrier(2)
    met = 0

    def meet(registry: Registry) -> tuple[Model, ...]:
        nonlocal met
        with suppress(threading.BrokenBarrierError):
            together.wait(0.2)
            met += 1
        return scan(registry)

    async with opened() as runtime:
        monkeypatch.setattr(Registry, "scan", meet)
        await asyncio.gather(runtime.rescan(), runtime.rescan())
        assert met == 0
