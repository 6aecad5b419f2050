"""LM Studio's first REST API, `/api/v0`: OpenAI's answers with what they took."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from functools import partial

import msgspec
from aiohttp import web

from ...runtime.errors import InvalidRequest
from ...runtime.events import Event
from ...runtime.models.model import ModelStatus
from ...runtime.request import GenerateRequest
from ..body import read_body
from ..dialects import openai
from ..dialects.assembled import StudioChat, StudioCompletion
from ..dialects.lmstudio_facts import Reckoning
from ..dialects.lmstudio_v0 import FindStatus, ModelEntry, ModelList, StatsStream, add_extras, to_extras, to_model_entry
from ..dialects.openai_answers import Collected, Head, to_chat_answer, to_completion_answer
from ..dialects.openai_chunks import ChatStream, CompletionStream
from ..keys import OPERATIONS, RUNTIME
from ..listed import find_listed, list_models
from ..operations import SSE
from ..run import open_run, run_in_turn, run_together
from ..stream import stream_answer
from ..version import VERSION
from .embeddings import post_embeddings

_FINGERPRINT = f"impetus-{VERSION}"


def add_routes(app: web.Application) -> None:
    """Adds the routes."""
    app.router.add_get("/api/v0/models", get_models)
    app.router.add_get("/api/v0/models/{id:.+}", get_model)
    app.router.add_post("/api/v0/chat/completions", post_chat)
    app.router.add_post("/api/v0/completions", post_completion)
    app.router.add_post("/api/v0/embeddings", post_embeddings)
    operations = app[OPERATIONS]
    operations.describe(get_models, answer=ModelList)
    operations.describe(get_model, answer=ModelEntry)
    operations.describe(post_chat, body=openai.CHAT, answer=StudioChat, stream=SSE)
    operations.describe(post_completion, body=openai.COMPLETION, answer=StudioCompletion, stream=SSE)


async def get_models(request: web.Request) -> web.Response:
    """Lists the models that can be served here, and whether they are in memory."""
    listed = await list_models(request.app[RUNTIME])
    answer = ModelList([to_model_entry(status, alias) for alias, status in listed])
    return web.json_bytes_response(answer, dumps=msgspec.json.encode)


async def get_model(request: web.Request) -> web.Response:
    """Shows one model; its id may hold slashes."""
    alias, status = await find_listed(request.app[RUNTIME], request.match_info["id"])
    return web.json_bytes_response(to_model_entry(status, alias), dumps=msgspec.json.encode)


async def post_chat(request: web.Request) -> web.StreamResponse:
    """Answers a conversation, whole or streamed."""
    body = await read_body(request, openai.CHAT)
    generation = openai.to_chat_request(body)
    if body.stream:
        chunks = ChatStream(
            _head("chatcmpl", "chat.completion.chunk", body.model), n=generation.n, include_usage=body.include_usage
        )
        return await stream_answer(request, open_run(request, generation), StatsStream(chunks, _finder(request)))
    [events] = await run_together(request, (generation,))
    [collected] = _collect((generation,), (events,))
    answer = to_chat_answer(_head("chatcmpl", "chat.completion", body.model), collected)
    return _answer(request, answer, events, collected.model)


async def post_completion(request: web.Request) -> web.StreamResponse:
    """Continues one or more texts, whole or streamed."""
    body = await read_body(request, openai.COMPLETION)
    if body.echo or (body.best_of or 1) != (body.n or 1):
        raise InvalidRequest("'echo' and 'best_of' are those of /v1/completions.", param="echo", code="unsupported_parameter")
    generations = openai.to_completion_requests(body)
    head = _head("cmpl", "text_completion", body.model)
    if body.stream:
        chunks = CompletionStream(head, n=generations[0].n, include_usage=body.include_usage)
        return await stream_answer(request, run_in_turn(request, generations), StatsStream(chunks, _finder(request)))
    runs = await run_together(request, generations)
    prompts = _collect(generations, runs)
    together = [event for events in runs for event in events]
    return _answer(request, to_completion_answer(head, prompts), together, prompts[0].model)


def _collect(generations: Iterable[GenerateRequest], runs: Iterable[list[Event]]) -> list[Collected]:
    prompts: list[Collected] = []
    for generation, events in zip(generations, runs, strict=True):
        collected = Collected(n=generation.n, logprobs=generation.top_logprobs is not None)
        collected.add(events)
        prompts.append(collected)
    return prompts


def _answer(request: web.Request, answer: msgspec.Struct, events: Iterable[Event], model: str) -> web.Response:
    reckoning = Reckoning()
    reckoning.add(events)
    body = add_extras(msgspec.json.encode(answer), to_extras(reckoning, _status(request, model)))
    return web.Response(body=body, content_type="application/json")


def _finder(request: web.Request) -> FindStatus:
    return partial(_status, request)


def _status(request: web.Request, model: str) -> ModelStatus | None:
    return next((status for status in request.app[RUNTIME].statuses() if status.model.id == model), None)


def _head(kind: str, name: str, model: str) -> Head:
    return Head(f"{kind}-{secrets.token_hex(12)}", name, int(time.time()), model, _FINGERPRINT)
