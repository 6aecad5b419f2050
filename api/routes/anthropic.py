"""Anthropic's routes: messages, their tokens, and how its clients see the list of models."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import aclosing

import msgspec
from aiohttp import web

from ...runtime.models.model import ModelStatus
from ...runtime.questions import Counted
from ..agents import is_qwen_code
from ..body import read_body
from ..dialects import anthropic
from ..dialects.anthropic_answers import Collected, CountAnswer, MessageAnswer, to_model_entry, to_model_page
from ..dialects.anthropic_stream import MessageStream
from ..keys import OPERATIONS, STARTED_EPOCH_S
from ..operations import SSE
from ..run import ask, open_run
from ..stream import stream_answer


def add_routes(app: web.Application) -> None:
    """Adds the routes, also without `/v1` for clients whose base URL was given with it taken off."""
    for prefix in ("/v1", ""):
        app.router.add_post(f"{prefix}/messages", post_message)
        app.router.add_post(f"{prefix}/messages/count_tokens", count_tokens)
    operations = app[OPERATIONS]
    operations.describe(post_message, body=anthropic.GENERATION, answer=MessageAnswer, stream=SSE)
    operations.describe(count_tokens, body=anthropic.PROMPT, answer=CountAnswer)


async def post_message(request: web.Request) -> web.StreamResponse:
    """Answers a conversation, whole or streamed."""
    body = await read_body(request, anthropic.GENERATION)
    generation = anthropic.to_request(body)
    message_id = f"msg_{secrets.token_hex(12)}"
    if body.stream:
        stream = MessageStream(message_id, counts_pings=not is_qwen_code(request))
        return await stream_answer(request, open_run(request, generation), stream)
    collected = Collected(message_id)
    async with aclosing(open_run(request, generation)) as batches:
        async for batch in batches:
            collected.add(batch)
    return web.json_bytes_response(collected.whole(), dumps=msgspec.json.encode)


async def count_tokens(request: web.Request) -> web.Response:
    """Says how long a prompt is."""
    body = await read_body(request, anthropic.PROMPT)
    answer = await ask(request, body.model, anthropic.to_count(body), Counted)
    return web.json_bytes_response(CountAnswer(answer.tokens), dumps=msgspec.json.encode)


def answer_models(request: web.Request, models: Sequence[tuple[ModelStatus, str | None]]) -> web.Response:
    """Lists models, some of them under an alias."""
    entries = [to_model_entry(status, created_epoch_s=request.app[STARTED_EPOCH_S], alias=alias) for status, alias in models]
    query = request.query
    page = to_model_page(entries, limit=query.get("limit"), after=query.get("after_id"), before=query.get("before_id"))
    return web.json_bytes_response(page, dumps=msgspec.json.encode)


def answer_model(request: web.Request, status: ModelStatus, alias: str | None) -> web.Response:
    """Shows one model."""
    entry = to_model_entry(status, created_epoch_s=request.app[STARTED_EPOCH_S], alias=alias)
    return web.json_bytes_response(entry, dumps=msgspec.json.encode)
