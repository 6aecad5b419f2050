"""A model with a context that an agent's instructions alone fill is loaded anew with a longer one."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tiny_models import tiny_llama

from impetus.runtime.errors import ContextOverflow, LoadFailed, Overloaded
from impetus.runtime.events import Event, Finished
from impetus.runtime.home import find_home
from impetus.runtime.models.model import ModelStatus
from impetus.runtime.request import ChatPrompt, GenerateRequest, Message, Role, TextPart, TextPrompt, Tool
from impetus.runtime.runtime import Runtime
from impetus.runtime.scheduling.longer_context import needs_more
from impetus.runtime.tuning.wishes import LoadWishes

TRAINED = 256
WORDS = "def open file read " * 100


def ask(*turns: tuple[Role, str], tools: str = "") -> GenerateRequest:
    messages = tuple(Message(role, (TextPart(text),)) for role, text in turns)
    offered = (Tool("read", tools),) if tools else ()
    return GenerateRequest("tiny", ChatPrompt(messages, offered), max_tokens=2)


async def run(runtime: Runtime, request: GenerateRequest) -> list[Event]:
    record = runtime.journal.open(model="tiny", client="test", route="/test")
    return [event async for batch in runtime.generate(request, record) for event in batch]


def status(runtime: Runtime) -> ModelStatus:
    return next(status for status in runtime.statuses() if status.model.id == "tiny")


@pytest.fixture
def opened_tiny(tmp_path: Path, opened):
    """Opens a runtime with a model of a short context in its folder."""

    @asynccontextmanager
    async def open_tiny(**engine: object) -> AsyncGenerator[Runtime]:
        folder = find_home(str(tmp_path)).models_dir
        folder.mkdir(parents=True, exist_ok=True)
        tiny_llama(folder / "tiny.gguf", context_length=TRAINED)
        async with opened(engine={"threads": 1, "standby": False, **engine}) as runtime:
            await runtime.load("tiny")
            yield runtime

    return open_tiny


@pytest.mark.engine
async def test_instructions_that_do_not_fit_get_a_longer_context(opened_tiny) -> None:
    async with asyncio.timeout(60), opened_tiny() as runtime:
        assert status(runtime).context_length == TRAINED
        # Two at once: one load serves both.
        together = await asyncio.gather(*(run(runtime, ask(("system", WORDS), ("user", name))) for name in "ab"))
        assert all(isinstance(events[-1], Finished) for events in together)
        length = status(runtime).context_length
        assert length is not None
        assert length > TRAINED
        assert runtime.governors.decisions.counts["memory", "longer"] == 1
        again = await run(runtime, ask(("system", "short"), ("user", "a")))
        assert isinstance(again[-1], Finished)
        assert status(runtime).context_length == length
        await runtime.unload("tiny")
        await runtime.load("tiny")
        assert status(runtime).context_length == TRAINED


@pytest.mark.engine
async def test_a_still_longer_prompt_gets_a_still_longer_context_up_to_eight_times(opened_tiny) -> None:
    async with asyncio.timeout(60), opened_tiny() as runtime:
        await run(runtime, ask(("system", WORDS[: len(WORDS) // 2]), ("user", "a")))
        first = status(runtime).context_length
        await run(runtime, ask(("system", WORDS * 2), ("user", "a")))
        second = status(runtime).context_length
        assert TRAINED < first < second <= 8 * TRAINED
        with pytest.raises(ContextOverflow) as caught:
            await run(runtime, ask(("system", WORDS * 8), ("user", "a")))
        assert caught.value.context_length == second == status(runtime).context_length


@pytest.mark.engine
async def test_what_a_client_can_shorten_is_refused_as_usual(opened_tiny) -> None:
    async with asyncio.timeout(60), opened_tiny() as runtime:
        for request in (
            ask(("system", "short"), ("user", WORDS)),
            ask(("system", WORDS[:200]), ("user", "a"), ("assistant", WORDS), ("user", "b")),
            GenerateRequest("tiny", TextPrompt(WORDS), max_tokens=2),
        ):
            with pytest.raises(ContextOverflow) as caught:
                await run(runtime, request)
            assert caught.value.context_length == TRAINED
        assert status(runtime).context_length == TRAINED


@pytest.mark.engine
@pytest.mark.parametrize("engine", [{"stretch": "off"}, {"context_length": TRAINED}, {"context_length": TRAINED + 64}])
async def test_settings_bound_the_context(opened_tiny, engine: dict[str, object]) -> None:
    async with asyncio.timeout(60), opened_tiny(**engine) as runtime:
        with pytest.raises(ContextOverflow) as caught:
            await run(runtime, ask(("system", WORDS), ("user", "a")))
        assert caught.value.context_length == status(runtime).context_length == TRAINED


@pytest.mark.engine
async def test_a_context_that_was_named_at_the_load_stays(opened_tiny) -> None:
    async with asyncio.timeout(60), opened_tiny() as runtime:
        await runtime.load("tiny", LoadWishes(context_length=TRAINED))
        with pytest.raises(ContextOverflow):
            await run(runtime, ask(("system", WORDS), ("user", "a")))
        assert status(runtime).context_length == TRAINED


@pytest.mark.engine
async def test_it_waits_for_the_answers_that_run(opened_tiny) -> None:
    async with asyncio.timeout(60), opened_tiny() as runtime:
        record = runtime.journal.open(model="tiny", client="test", route="/test")
        # An answer that has begun holds the model until its reader has all of it.
        running = runtime.generate(GenerateRequest("tiny", TextPrompt("a"), max_tokens=20), record)
        await anext(running)
        longer = asyncio.create_task(run(runtime, ask(("system", WORDS), ("user", "a"))))
        rest = [event async for batch in running for event in batch]
        assert isinstance(rest[-1], Finished)
        assert isinstance((await longer)[-1], Finished)
        assert (status(runtime).context_length or 0) > TRAINED


@pytest.mark.engine
@pytest.mark.parametrize(("failure", "tries"), [(LoadFailed("tiny", "no."), 1), (Overloaded("busy"), 2)])
async def test_a_length_that_cannot_be_had_is_not_tried_again_and_one_that_may_be_had_later_is(
    opened_tiny, monkeypatch: pytest.MonkeyPatch, failure: Exception, tries: int
) -> None:
    async with asyncio.timeout(60), opened_tiny() as runtime:
        tried: list[object] = []

        async def fail(*arguments: object) -> None:
            tried.append(arguments)
            raise failure

        monkeypatch.setattr(runtime._residency, "lengthen", fail)
        for _ in range(2):
            with pytest.raises(ContextOverflow):
                await run(runtime, ask(("system", WORDS), ("user", "a")))
        assert len(tried) == tries


def test_instructions_and_tools_are_what_a_client_cannot_shorten() -> None:
    overflow = ContextOverflow(1000, 800)
    assert needs_more(ask(("system", "x" * 450), ("user", "y" * 550)), overflow)
    assert not needs_more(ask(("system", "x" * 350), ("user", "y" * 650)), overflow)
    assert needs_more(ask(("user", "y" * 100), tools="x" * 900), overflow)
    assert not needs_more(GenerateRequest("m", TextPrompt("x" * 1000)), overflow)
