"""OpenAI's routes: models, chat completions, completions."""

from __future__ import annotations

import secrets
import time

import msgspec
from aiohttp import web

from ...runtime.models.model import ModelStatus
from ...runtime.questions import Detokenize, Detokenized
from ...runtime.request import ChatPrompt, FillPrompt, GenerateRequest, TextPrompt, TokenPrompt
from ..body import read_body
from ..dialects import openai
from ..dialects.anthropic_answers import VERSION_HEADER
from ..dialects.openai_answers import (
    ChatAnswer,
    Collected,
    CompletionAnswer,
    Head,
    ModelEntry,
    ModelList,
    to_chat_answer,
    to_completion_answer,
    to_model_entry,
)
from ..dialects.openai_chunks import ChatStream, CompletionStream
from ..keys import OPERATIONS, RUNTIME, STARTED_EPOCH_S
from ..operations import SSE
from ..run import ask, open_run, run_in_turn, run_together
from ..stream import stream_answer
from ..version import VERSION
from . import anthropic

_FINGERPRINT = f"impetus-{VERSION}"


def add_routes(app: web.Application) -> None:
    """Adds the routes, also without `/v1` for clients whose base URL was given without it."""
    for prefix in ("/v1", ""):
        app.router.add_get(f"{prefix}/models", list_models)
        app.router.add_get(f"{prefix}/models/{{id:.+}}", get_model)
        app.router.add_post(f"{prefix}/chat/completions", post_chat)
        app.router.add_post(f"{prefix}/completions", post_completion)
    operations = app[OPERATIONS]
    operations.describe(list_models, answer=ModelList)
    operations.describe(get_model, answer=ModelEntry)
    operations.describe(post_chat, body=openai.CHAT, answer=ChatAnswer, stream=SSE)
    operations.describe(post_completion, body=openai.COMPLETION, answer=CompletionAnswer, stream=SSE)


async def list_models(request: web.Request) -> web.Response:
    """Lists the models that can be served here, in the shape of whose client asks."""
    runtime = request.app[RUNTIME]
    await runtime.scanned.wait()
    statuses = {status.model.id: status for status in runtime.statuses() if status.model.problem is None}
    aliases = {name: statuses[model.id] for name, model in runtime.aliases().items() if model.id in statuses}
    # An alias hides a model of the same name, as it does in requests.
    hidden = {name.casefold() for name in aliases}
    listed: list[tuple[ModelStatus, str | None]] = [(status, alias) for alias, status in aliases.items()]
    listed += [(status, None) for id_, status in statuses.items() if id_.casefold() not in hidden]
    if VERSION_HEADER in request.headers:
        return anthropic.answer_models(request, listed)
    entries = [_entry(request, status, alias) for status, alias in listed]
    return web.json_bytes_response(ModelList(entries), dumps=msgspec.json.encode)


async def get_model(request: web.Request) -> web.Response:
    """Shows one model; its id may hold slashes."""
    runtime = request.app[RUNTIME]
    await runtime.scanned.wait()
    name = request.match_info["id"]
    model = runtime.resolve(name)
    alias = next((alias for alias in runtime.aliases() if alias.casefold() == name.casefold()), None)
    status = next(status for status in runtime.statuses() if status.model.id == model.id)
    if VERSION_HEADER in request.headers:
        return anthropic.answer_model(request, status, alias)
    return web.json_bytes_response(_entry(request, status, alias), dumps=msgspec.json.encode)


async def post_chat(request: web.Request) -> web.StreamResponse:
    """Answers a conversation, whole or streamed."""
    body = await read_body(request, openai.CHAT)
    generation = openai.to_chat_request(body)
    if body.stream:
        wire = ChatStream(
            _head("chatcmpl", "chat.completion.chunk", body.model), n=generation.n, include_usage=body.include_usage
        )
        return await stream_answer(request, open_run(request, generation), wire)
    [collected] = await _collect(request, (generation,))
    answer = to_chat_answer(_head("chatcmpl", "chat.completion", body.model), collected)
    return web.json_bytes_response(answer, dumps=msgspec.json.encode)


async def post_completion(request: web.Request) -> web.StreamResponse:
    """Continues one or more texts, whole or streamed."""
    body = await read_body(request, openai.COMPLETION)
    generations = openai.to_completion_requests(body)
    echoes = [await _echo(request, generation) for generation in generations] if body.echo else []
    head = _head("cmpl", "text_completion", body.model)
    if body.stream:
        wire = CompletionStream(head, n=generations[0].n, include_usage=body.include_usage, echoes=echoes)
        return await stream_answer(request, run_in_turn(request, generations), wire)
    prompts = await _collect(request, generations)
    for collected in prompts:
        collected.keep_best(body.n or 1)
        collected.has_logprobs = body.logprobs is not None
    answer = to_completion_answer(head, prompts, echoes=echoes)
    return web.json_bytes_response(answer, dumps=msgspec.json.encode)


async def _collect(request: web.Request, generations: tuple[GenerateRequest, ...]) -> list[Collected]:
    runs = await run_together(request, generations)
    answers = [Collected(n=generation.n, logprobs=generation.top_logprobs is not None) for generation in generations]
    for answer, events in zip(answers, runs, strict=True):
        answer.add(events)
    return answers


async def _echo(request: web.Request, generation: GenerateRequest) -> str:
    """Gives a prompt as text."""
    match generation.prompt:
        case TextPrompt(text):
            return text
        case TokenPrompt(token_ids):
            return (await ask(request, generation.model, Detokenize(token_ids), Detokenized)).text
        case FillPrompt(prefix):
            return prefix
        case ChatPrompt():
            return ""


def _head(kind: str, name: str, model: str) -> Head:
    return Head(f"{kind}-{secrets.token_hex(12)}", name, int(time.time()), model, _FINGERPRINT)


def _entry(request: web.Request, status: ModelStatus, alias: str | None = None) -> ModelEntry:
    return to_model_entry(status, created=int(request.app[STARTED_EPOCH_S]), alias=alias)
