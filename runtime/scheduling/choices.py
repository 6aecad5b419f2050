"""Several choices of one request as one stream of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Protocol

import msgspec

from ..events import Admitted, CallBegun, CallDelta, Event, Finished, PrefixReport, ReasoningDelta, Spoken, TextDelta
from ..frames import Accepted, Begun, Delta, Done
from ..request import GenerateRequest

Batch = list[Accepted | Begun | Delta | Done]


class Engine(Protocol):
    """What is needed of an engine here."""

    def generate(self, request: GenerateRequest) -> AsyncGenerator[Batch, None]:
        """Runs one choice."""
        ...


async def generate_choices(
    engine: Engine,
    request: GenerateRequest,
    *,
    model: str,
    context_length: int,
    on_prefix: Callable[[PrefixReport], None] | None = None,
) -> AsyncGenerator[list[Event], None]:
    """Runs all choices of a request side by side.

    Args:
        engine: runs each of them.
        request: what is asked.
        model: the id that serves it.
        context_length: what that model is held with.
        on_prefix: told where the first choice's prompt comes from, as soon as it begins to be computed.

    Yields:
        Batches of events in the order `events.py` states; `Admitted` comes once.
    """
    admitted = False
    prefixes: dict[int, PrefixReport] = {}
    async with aclosing(_one(engine, request) if request.n == 1 else _several(engine, request)) as batches:
        async for index, batch in batches:
            events: list[Event] = []
            for frame in batch:
                match frame:
                    case Delta():
                        events.append(_spoken(index, frame))
                    case Accepted():
                        if not admitted:
                            events.append(Admitted(model, frame.prompt_tokens, context_length))
                            admitted = True
                    case Begun():
                        prefixes[index] = frame.report
                        if index == 0 and on_prefix is not None:
                            on_prefix(frame.report)
                    case Done():
                        events.append(_finished(index, frame, prefixes.get(index)))
            if events:
                yield events


def _spoken(index: int, delta: Delta) -> Spoken:
    match delta.kind:
        case "text":
            return TextDelta(index, delta.text, delta.logprobs)
        case "reasoning":
            return ReasoningDelta(index, delta.text)
        case "call":
            return CallBegun(index, delta.call, delta.call_id, delta.text)
        case "arguments":
            return CallDelta(index, delta.call, delta.text)


def _finished(index: int, done: Done, prefix: PrefixReport | None) -> Finished:
    return Finished(
        index=index,
        reason=done.reason,
        prompt_tokens=done.prompt_tokens,
        completion_tokens=done.completion_tokens,
        cached_tokens=done.cached_tokens,
        prefix=prefix,
        draft_tokens=done.draft_tokens,
        accepted_tokens=done.accepted_tokens,
        prefill_s=done.prefill_s,
        decode_s=done.decode_s,
        reasoning_tokens=done.reasoning_tokens,
        stop_text=done.stop_text,
    )


async def _one(engine: Engine, request: GenerateRequest) -> AsyncGenerator[tuple[int, Batch], None]:
    async with aclosing(engine.generate(request)) as batches:
        async for batch in batches:
            yield 0, batch


async def _several(engine: Engine, request: GenerateRequest) -> AsyncGenerator[tuple[int, Batch], None]:
    queue: asyncio.Queue[tuple[int, Batch] | BaseException | None] = asyncio.Queue(maxsize=4 * request.n)

    async def run(index: int) -> None:
        seed = request.sampling.seed
        sampling = msgspec.structs.replace(request.sampling, seed=None if seed is None else seed + index)
        choice = msgspec.structs.replace(request, n=1, sampling=sampling)
        try:
            async with aclosing(engine.generate(choice)) as batches:
                async for batch in batches:
                    await queue.put((index, batch))
        except Exception as error:
            await queue.put(error)
        else:
            await queue.put(None)

    tasks = [asyncio.create_task(run(index), name=f"choice {index}") for index in range(request.n)]
    try:
        left = request.n
        while left:
            item = await queue.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                left -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
