"""llama-server's own routes: gaps, tokens, chat templates, adapters."""

from __future__ import annotations

from contextlib import aclosing

import msgspec
from aiohttp import web

from ...runtime.errors import InvalidRequest
from ...runtime.questions import ApplyTemplate, Detokenized, Rendered, Tokenized
from ..body import read_body
from ..dialects import llama_server, lora, openai
from ..keys import OPERATIONS, RUNTIME
from ..operations import SSE
from ..run import ask, open_run
from ..stream import stream_answer


def add_routes(app: web.Application) -> None:
    """Adds the routes, also under `/v1` for clients whose base URL has it."""
    for prefix in ("", "/v1"):
        app.router.add_post(f"{prefix}/infill", post_infill)
        app.router.add_post(f"{prefix}/tokenize", post_tokenize)
        app.router.add_post(f"{prefix}/detokenize", post_detokenize)
        app.router.add_post(f"{prefix}/apply-template", post_apply_template)
        app.router.add_get(f"{prefix}/lora-adapters", list_adapters)
    operations = app[OPERATIONS]
    operations.describe(post_infill, body=llama_server.INFILL, answer=llama_server.InfillAnswer, stream=SSE)
    operations.describe(post_tokenize, body=llama_server.TOKENIZE, answer=llama_server.TokenizeAnswer)
    operations.describe(post_detokenize, body=llama_server.DETOKENIZE, answer=llama_server.DetokenizeAnswer)
    operations.describe(post_apply_template, body=openai.CONVERSATION, answer=llama_server.TemplateAnswer)
    operations.describe(list_adapters, answer=list[lora.AdapterEntry])


async def post_infill(request: web.Request) -> web.StreamResponse:
    """Fills the gap between two texts, whole or streamed."""
    body = await read_body(request, llama_server.INFILL)
    generation = llama_server.to_infill_request(body, _choose_model(request, body.model))
    wire = llama_server.Infill(body)
    if body.stream:
        return await stream_answer(request, open_run(request, generation), wire)
    async with aclosing(open_run(request, generation)) as batches:
        async for batch in batches:
            wire.take(batch)
    return web.Response(body=wire.whole(), content_type="application/json")


async def post_tokenize(request: web.Request) -> web.Response:
    """Cuts a text into tokens."""
    body = await read_body(request, llama_server.TOKENIZE)
    answer = await ask(request, _choose_model(request, body.model), llama_server.to_tokenize(body), Tokenized)
    return web.json_bytes_response(llama_server.to_tokenize_answer(body, answer), dumps=msgspec.json.encode)


async def post_detokenize(request: web.Request) -> web.Response:
    """Puts tokens together to text."""
    body = await read_body(request, llama_server.DETOKENIZE)
    answer = await ask(request, _choose_model(request, body.model), llama_server.to_detokenize(body), Detokenized)
    return web.json_bytes_response(llama_server.to_detokenize_answer(answer), dumps=msgspec.json.encode)


async def post_apply_template(request: web.Request) -> web.Response:
    """Writes a conversation as the model would read it."""
    body = await read_body(request, openai.CONVERSATION)
    question = ApplyTemplate(openai.to_messages(body.messages))
    answer = await ask(request, _choose_model(request, body.model), question, Rendered)
    return web.json_bytes_response(llama_server.to_template_answer(answer), dumps=msgspec.json.encode)


async def list_adapters(request: web.Request) -> web.Response:
    """Lists the LoRA adapters that a request may name."""
    runtime = request.app[RUNTIME]
    await runtime.scanned.wait()
    return web.json_bytes_response(lora.to_entries(runtime.adapters()), dumps=msgspec.json.encode)


def _choose_model(request: web.Request, model: str | None) -> str:
    """The model that is named, or the only one in memory."""
    if model:
        return model
    loaded = [status.model.id for status in request.app[RUNTIME].statuses() if status.state == "ready"]
    if len(loaded) == 1:
        return loaded[0]
    which = f"one of {', '.join(loaded)}" if loaded else "as none is in memory"
    raise InvalidRequest(f"Name a model, {which}.", param="model", code="missing_required_parameter")
