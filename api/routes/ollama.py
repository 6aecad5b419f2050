"""Ollama's routes that answer: chats, completions, embeddings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import aclosing

from aiohttp import web

from ...runtime.errors import ContextOverflow
from ...runtime.questions import Embed, Embedded, Tokenize, Tokenized
from ...runtime.request import GenerateRequest
from ..body import read_body
from ..dialects import ollama, ollama_embed
from ..dialects.assembled import OllamaChat, OllamaEmbedding, OllamaEmbeddings, OllamaGeneration
from ..dialects.ollama_answers import ChatAnswer, GenerateAnswer, Stopwatch
from ..dialects.ollama_models import to_preset
from ..dialects.ollama_options import to_keep_alive
from ..keys import OPERATIONS, REQUEST_ID, RUNTIME
from ..run import ask, open_run
from ..stream import NDJSON, stream_answer


def add_routes(app: web.Application) -> None:
    """Adds the routes."""
    app.router.add_post("/api/chat", post_chat)
    app.router.add_post("/api/generate", post_generate)
    app.router.add_post("/api/embed", post_embed)
    app.router.add_post("/api/embeddings", post_embeddings)
    operations = app[OPERATIONS]
    operations.describe(post_chat, body=ollama.CHAT, answer=OllamaChat, stream=NDJSON)
    operations.describe(post_generate, body=ollama.GENERATE, answer=OllamaGeneration, stream=NDJSON)
    operations.describe(post_embed, body=ollama_embed.EMBED, answer=OllamaEmbeddings)
    operations.describe(post_embeddings, body=ollama_embed.EMBEDDINGS, answer=OllamaEmbedding)


async def post_chat(request: web.Request) -> web.StreamResponse:
    """Answers a conversation, in lines or whole; without messages the model is loaded, or let go."""
    body = await read_body(request, ollama.CHAT)
    answer = ChatAnswer(body.model, _stopwatch(request))
    if not body.messages:
        return await _only_load(request, body, answer)
    return await _answer(request, ollama.to_chat_request(body, _preset(request, body.model)), body, answer)


async def post_generate(request: web.Request) -> web.StreamResponse:
    """Answers or continues a text, or fills its gap; without one the model is loaded, or let go."""
    body = await read_body(request, ollama.GENERATE)
    answer = GenerateAnswer(body.model, _stopwatch(request))
    if not body.prompt and not body.suffix and not body.images:
        return await _only_load(request, body, answer)
    return await _answer(request, ollama.to_generate_request(body, _preset(request, body.model)), body, answer)


async def post_embed(request: web.Request) -> web.Response:
    """Gives a vector for each text."""
    body = await read_body(request, ollama_embed.EMBED)
    stopwatch, keep_alive_s = _stopwatch(request), to_keep_alive(body.keep_alive)
    if body.inputs:
        question = ollama_embed.to_question(body.inputs, body.dimensions)
        answer = await _embed(request, body.model, question, keep_alive_s, truncate=body.truncate is not False)
    else:
        await _load(request, body.model, keep_alive_s)
        answer = Embedded((), 0)
    return await _in_pieces(ollama_embed.to_pieces(answer, body.model, stopwatch))


async def post_embeddings(request: web.Request) -> web.Response:
    """Gives the vector of one text."""
    body = await read_body(request, ollama_embed.EMBEDDINGS)
    keep_alive_s = to_keep_alive(body.keep_alive)
    if body.prompt:
        question = ollama_embed.to_question((body.prompt,))
        answer = await _embed(request, body.model, question, keep_alive_s, truncate=True)
    else:
        await _load(request, body.model, keep_alive_s)
        answer = Embedded((), 0)
    return await _in_pieces(iter([ollama_embed.to_one(answer)]))


async def _answer(
    request: web.Request, generation: GenerateRequest, body: ollama.GenerationBody, answer: ChatAnswer | GenerateAnswer
) -> web.StreamResponse:
    if body.streams:
        return await stream_answer(request, open_run(request, generation), answer, content_type=NDJSON)
    async with aclosing(open_run(request, generation)) as batches:
        async for batch in batches:
            answer.take(batch)
    return web.Response(body=answer.whole(), content_type="application/json")


async def _only_load(
    request: web.Request, body: ollama.GenerationBody, answer: ChatAnswer | GenerateAnswer
) -> web.StreamResponse:
    keep_alive_s = to_keep_alive(body.keep_alive)
    await _load(request, body.model, keep_alive_s)
    reason = "unload" if keep_alive_s == 0 else "load"
    content_type = NDJSON if body.streams else "application/json"
    return web.Response(body=answer.only_loaded(reason), content_type=content_type)


async def _load(request: web.Request, model: str, keep_alive_s: float | None) -> None:
    """Brings a model into memory; one that is to stay for no time is let go instead."""
    runtime = request.app[RUNTIME]
    if keep_alive_s != 0:
        await runtime.load(model)
    else:
        await runtime.scanned.wait()
    if keep_alive_s is not None:
        runtime.keep(model, keep_alive_s)


async def _embed(request: web.Request, model: str, question: Embed, keep_alive_s: float | None, *, truncate: bool) -> Embedded:
    try:
        return await ask(request, model, question, Embedded, keep_alive_s=keep_alive_s)
    except ContextOverflow as error:
        if not truncate:
            raise
        inputs = [await _cut(request, model, text, error.context_length) for text in question.inputs]
    shorter = Embed(tuple(inputs), question.dimensions)
    return await ask(request, model, shorter, Embedded, keep_alive_s=keep_alive_s)


async def _cut(request: web.Request, model: str, text: ollama_embed.Input, context_length: int) -> ollama_embed.Input:
    if not isinstance(text, str):
        return text
    whole, bare = [
        await ask(request, model, Tokenize((text,), whole=around, control=False), Tokenized) for around in (True, False)
    ]
    return text if len(whole.token_ids) <= context_length else ollama_embed.cut(whole, bare, context_length)


async def _in_pieces(pieces: Iterator[bytes]) -> web.Response:
    written: list[bytes] = []
    for piece in pieces:
        written.append(piece)
        await asyncio.sleep(0)  # streams and the dashboard have their turn between two pieces
    return web.Response(body=b"".join(written), content_type="application/json")


def _preset(request: web.Request, model: str) -> ollama.Preset:
    return to_preset(request.app[RUNTIME].stands_for(model))


def _stopwatch(request: web.Request) -> Stopwatch:
    """Begins to measure; what the model's load took is known from the journal."""
    journal = request.app[RUNTIME].journal

    def read_load_s() -> float | None:
        record = journal.find(request[REQUEST_ID])
        return None if record is None else record.load_s

    return Stopwatch(read_load_s, time.monotonic())
