import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from impetus.runtime.errors import ContextOverflow
from impetus.runtime.events import Admitted, Event, Finished, PrefixReport, TextDelta
from impetus.runtime.frames import Accepted, Begun, Delta, Done
from impetus.runtime.request import GenerateRequest, Sampling, TextPrompt
from impetus.runtime.scheduling.choices import Batch, generate_choices


class ScriptedEngine:
    """Answers each choice with its seed, one letter a batch."""

    def __init__(self, *, fail_seed: int | None = None, endless: bool = False) -> None:
        self.fail_seed = fail_seed
        self.endless = endless
        self.open = 0

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Batch, None]:
        self.open += 1
        try:
            if request.sampling.seed == self.fail_seed:
                raise ContextOverflow(9, 8)
            yield [Accepted(1, 3)]
            yield [Begun(1, report(request))]
            while self.endless:
                await asyncio.sleep(0)
                yield [Delta(1, "x")]
            for letter in f"seed {request.sampling.seed}":
                await asyncio.sleep(0)
                yield [Delta(1, letter)]
            yield [Done(1, "stop", 3, 6, 1, 0.1, 0.2, draft_tokens=8, accepted_tokens=5)]
        finally:
            self.open -= 1


def report(request: GenerateRequest) -> PrefixReport:
    return PrefixReport(1, 0, request.sampling.seed or 0)


def request(n: int) -> GenerateRequest:
    return GenerateRequest(model="m", prompt=TextPrompt("p"), n=n, sampling=Sampling(seed=7))


async def collect(engine: ScriptedEngine, n: int) -> list[Event]:
    async with asyncio.timeout(10), aclosing(generate_choices(engine, request(n), model="m", context_length=8)) as batches:
        return [event async for batch in batches for event in batch]


@pytest.mark.parametrize("n", [1, 2, 5])
async def test_admitted_comes_once_and_each_choice_has_its_text_and_its_end(n: int) -> None:
    events = await collect(ScriptedEngine(), n)
    assert events[0] == Admitted("m", 3, 8)
    assert [type(event) for event in events].count(Admitted) == 1
    for index in range(n):
        text = "".join(event.text for event in events if isinstance(event, TextDelta) and event.index == index)
        assert text == f"seed {7 + index}"
        assert [event.index for event in events if isinstance(event, Finished)].count(index) == 1


@pytest.mark.parametrize("n", [1, 3])
async def test_one_failing_choice_fails_the_request_and_ends_the_others(n: int) -> None:
    engine = ScriptedEngine(fail_seed=7 + n - 1)
    with pytest.raises(ContextOverflow):
        await collect(engine, n)
    assert engine.open == 0


@pytest.mark.parametrize("n", [1, 3])
async def test_closing_the_stream_closes_every_choice(n: int) -> None:
    engine = ScriptedEngine(endless=True)
    async with asyncio.timeout(10):
        async with aclosing(generate_choices(engine, request(n), model="m", context_length=8)) as batches:
            seen = 0
            async for batch in batches:
                seen += len(batch)
                if seen > 20:
                    break
        assert engine.open == 0


@pytest.mark.parametrize("n", [1, 3])
async def test_the_first_choices_prompt_is_told_of_before_any_text(n: int) -> None:
    told: list[PrefixReport] = []
    choices = generate_choices(ScriptedEngine(), request(n), model="m", context_length=8, on_prefix=told.append)
    ends: list[Finished] = []
    async with asyncio.timeout(10), aclosing(choices) as batches:
        async for batch in batches:
            for event in batch:
                assert told or not isinstance(event, TextDelta) or event.index != 0
                if isinstance(event, Finished):
                    ends.append(event)
    assert told == [PrefixReport(1, 0, 7)]
    assert {end.index: end.prefix for end in ends} == {index: PrefixReport(1, 0, 7 + index) for index in range(n)}
    assert {(end.cached_tokens, end.draft_tokens, end.accepted_tokens) for end in ends} == {(1, 8, 5)}
