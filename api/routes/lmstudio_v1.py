"""LM Studio's REST API, `/api/v1`: models in memory, downloads, and a chat that the server keeps."""

from __future__ import annotations

import secrets
from contextlib import aclosing
from datetime import UTC, datetime

import msgspec
from aiohttp import web

from ...runtime.errors import InvalidRequest
from ...runtime.models.model import ModelStatus
from ...runtime.request import ChatPrompt, GenerateRequest
from ..body import read_body
from ..dialects import lmstudio_chat, lmstudio_events, lmstudio_v1
from ..errors import NoSuchDownload
from ..keys import CHATS, OPERATIONS, RUNTIME
from ..listed import find_listed, list_models
from ..operations import SSE
from ..run import open_run
from ..stream import stream_answer


def add_routes(app: web.Application) -> None:
    """Adds the routes."""
    app.router.add_get("/api/v1/models", get_models)
    app.router.add_post("/api/v1/models/load", load)
    app.router.add_post("/api/v1/models/unload", unload)
    app.router.add_post("/api/v1/models/download", download)
    app.router.add_get("/api/v1/models/download/status/{job_id}", download_status)
    app.router.add_post("/api/v1/chat", post_chat)
    operations = app[OPERATIONS]
    operations.describe(get_models, answer=lmstudio_v1.ModelList)
    operations.describe(load, body=lmstudio_v1.LOAD, answer=lmstudio_v1.LoadAnswer)
    operations.describe(unload, body=lmstudio_v1.UNLOAD, answer=lmstudio_v1.UnloadAnswer)
    operations.describe(download, body=lmstudio_v1.DOWNLOAD, answer=lmstudio_v1.JobAnswer)
    operations.describe(download_status, answer=lmstudio_v1.JobAnswer)
    operations.describe(post_chat, body=lmstudio_chat.CHAT, answer=lmstudio_chat.ChatAnswer, stream=SSE)


async def get_models(request: web.Request) -> web.Response:
    """Lists the models that can be served here, and as what they are in memory."""
    return _answer(lmstudio_v1.to_model_list(await list_models(request.app[RUNTIME])))


async def load(request: web.Request) -> web.Response:
    """Brings a model into memory and answers once it is there."""
    body = await read_body(request, lmstudio_v1.LOAD)
    runtime = request.app[RUNTIME]
    await runtime.load(body.model, body.wishes())
    alias, status = await find_listed(runtime, body.model)
    return _answer(lmstudio_v1.to_load_answer(status, alias or status.model.id, echo=bool(body.echo_load_config)))


async def unload(request: web.Request) -> web.Response:
    """Takes a model out of memory and answers once it is gone."""
    name = (await read_body(request, lmstudio_v1.UNLOAD)).instance_id
    runtime = request.app[RUNTIME]
    alias, status = await find_listed(runtime, name)
    if status.state != "ready":
        raise InvalidRequest(f"'{name}' is not loaded.", param="instance_id", code="model_not_found")
    await runtime.unload(name)
    return _answer(lmstudio_v1.UnloadAnswer(alias or status.model.id))


async def download(request: web.Request) -> web.Response:
    """Starts to download a model, or joins the download that already does."""
    body = await read_body(request, lmstudio_v1.DOWNLOAD)
    job = request.app[RUNTIME].pull(lmstudio_v1.to_reference(body))
    return _answer(lmstudio_v1.to_job_answer(job, datetime.now(UTC)))


async def download_status(request: web.Request) -> web.Response:
    """Says how a download stands."""
    job_id = request.match_info["job_id"]
    job = request.app[RUNTIME].find_download(job_id)
    if job is None:
        raise NoSuchDownload(job_id)
    return _answer(lmstudio_v1.to_job_answer(job, datetime.now(UTC)))


async def post_chat(request: web.Request) -> web.StreamResponse:
    """Answers one turn, whole or streamed, and keeps the conversation unless asked not to."""
    body = await read_body(request, lmstudio_chat.CHAT)
    chats = request.app[CHATS]
    earlier = () if body.previous_response_id is None else chats.find(body.previous_response_id)
    if earlier is None:
        raise InvalidRequest(
            f"There is no response '{body.previous_response_id}' here; the newest ones are kept while the server runs.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    generation = lmstudio_chat.to_request(body, earlier)
    _, status = await find_listed(request.app[RUNTIME], body.model)
    response_id = None if body.store is False else f"resp_{secrets.token_hex(24)}"
    reply = lmstudio_chat.Reply(response_id=response_id, was_loaded=status.state == "ready")

    def keep() -> None:
        if reply.response_id is not None and isinstance(generation.prompt, ChatPrompt):
            chats.keep(reply.response_id, (*generation.prompt.messages, reply.message()))

    def read_status() -> ModelStatus | None:
        return next((now for now in request.app[RUNTIME].statuses() if now.model.id == status.model.id), None)

    if body.stream:
        wire = lmstudio_events.ChatStream(reply, status.model.id, read_status=read_status, keep=keep)
        return await stream_answer(request, open_run(request, generation), wire)
    await _gather(request, generation, reply)
    now = read_status()
    reply.note_load(None if now is None else now.load_s)
    keep()
    return _answer(reply.answer(status.model.id))


async def _gather(request: web.Request, generation: GenerateRequest, reply: lmstudio_chat.Reply) -> None:
    async with aclosing(open_run(request, generation)) as batches:
        async for batch in batches:
            reply.add(batch)


def _answer(answer: msgspec.Struct) -> web.Response:
    return web.json_bytes_response(answer, dumps=msgspec.json.encode)
