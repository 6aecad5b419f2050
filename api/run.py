"""The one door from a handler to the runtime."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from aiohttp import web

from ..runtime.errors import ContextOverflow, Overloaded
from ..runtime.events import Event, speaks
from ..runtime.questions import AnswerKind, Question
from ..runtime.request import ChatPrompt, GenerateRequest
from .agents import is_qwen_code
from .keys import LOOPS, REQUEST_ID, RUNTIME
from .loops import tell, tell_busy

_LONGEST_CLIENT_NAME = 60


def open_run(request: web.Request, generation: GenerateRequest) -> AsyncGenerator[list[Event], None]:
    """Opens the journal record and gives the runtime's stream of batches; the caller holds it by `aclosing`."""
    runtime = request.app[RUNTIME]
    record = runtime.journal.open(model=generation.model, client=name_client(request), route=request.path)
    request[REQUEST_ID] = record.id
    return _end_loops(request, generation, runtime.generate(generation, record))


async def _end_loops(
    request: web.Request, generation: GenerateRequest, batches: AsyncGenerator[list[Event], None]
) -> AsyncGenerator[list[Event], None]:
    """Answers in words where an error would only be met with the same request again."""
    client, loops = request.headers.get("User-Agent", ""), request.app[LOOPS]
    admitted = served = False
    async with aclosing(batches):
        try:
            async for batch in batches:
                # One that is admitted may still meet a full memory.
                if not served and (served := speaks(batch)):
                    loops.was_served(client, generation.model)
                admitted = True
                yield batch
        except ContextOverflow as error:
            if not isinstance(generation.prompt, ChatPrompt) or not loops.goes_on(client, generation.model, error):
                raise
            yield tell(generation.model, error)
        except Overloaded as error:
            if not (is_qwen_code(request) and loops.waits_on(client, generation.model)):
                raise
            told = tell_busy(generation.model, error)
            yield told[1:] if admitted else told


async def ask(
    request: web.Request, model: str, question: Question, kind: type[AnswerKind], *, keep_alive_s: float | None = None
) -> AnswerKind:
    """Opens the journal record and asks a model a question; raises as `Runtime.ask` does."""
    runtime = request.app[RUNTIME]
    record = runtime.journal.open(model=model, client=name_client(request), route=request.path)
    request[REQUEST_ID] = record.id
    return await runtime.ask(model, question, kind, record, keep_alive_s=keep_alive_s)


async def run_in_turn(request: web.Request, generations: Sequence[GenerateRequest]) -> AsyncGenerator[list[Event], None]:
    """Runs requests one after the other.

    Yields:
        The batches of each as `Runtime.generate` gives them; an `Admitted` marks where the next one begins.
    """
    for generation in generations:
        async with aclosing(open_run(request, generation)) as batches:
            async for batch in batches:
                yield batch


async def run_together(request: web.Request, generations: Sequence[GenerateRequest]) -> list[list[Event]]:
    """Runs requests at the same time and gives all events of each; the first error ends them all."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_collect(request, generation), name="collect a run") for generation in generations]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def _collect(request: web.Request, generation: GenerateRequest) -> list[Event]:
    events: list[Event] = []
    async with aclosing(open_run(request, generation)) as batches:
        async for batch in batches:
            events += batch
    return events


def name_client(request: web.Request) -> str:
    """Who asks: the user agent's first word."""
    words = request.headers.get("User-Agent", "").split(maxsplit=1)
    return words[0][:_LONGEST_CLIENT_NAME] if words else "unknown"
