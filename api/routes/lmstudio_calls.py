"""What LM Studio's SDKs may call and open on a WebSocket, namespace by namespace."""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
from aiohttp import web

from ...runtime.errors import InvalidRequest, UnknownModel
from ...runtime.models.model import ModelStatus
from ...runtime.questions import ApplyTemplate, Embed, Embedded, Rendered, Tokenize, Tokenized
from ...runtime.request import GenerateRequest
from ...runtime.tuning.wishes import LoadWishes
from ..body import decode_body
from ..dialects import lmstudio_bodies as bodies
from ..dialects import lmstudio_infos as infos
from ..dialects import lmstudio_predict as predict
from ..dialects.lmstudio_config import Settings
from ..dialects.lmstudio_facts import Domain, to_domain
from ..dialects.lmstudio_load import to_wishes
from ..dialects.lmstudio_packets import Packets
from ..keys import FILES, RUNTIME
from ..listed import find_listed, find_status, list_models
from ..run import ask, open_run
from ..version import VERSION

_FLOAT_BYTES = 4

Body = TypeVar("Body")


class NotLoaded(UnknownModel):
    """A model is not in memory, or none is."""

    def __init__(self, what: str, loaded: Sequence[str]) -> None:
        super().__init__(what, loaded)
        self.args = (f"{what} is not loaded. In memory: {', '.join(loaded) or 'nothing'}.",)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and in which namespace."""

    request: web.Request
    domain: Domain


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel while it is open."""

    send: Callable[[msgspec.Struct], Awaitable[None]]
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the client wants no more."""


Result = msgspec.Struct | list[msgspec.Struct] | None
Call = Callable[[Caller, msgspec.Raw], Awaitable[Result]]
Serve = Callable[[Caller, msgspec.Raw, Channel], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Namespace:
    """What one socket offers."""

    calls: Mapping[str, Call] = field(default_factory=dict[str, Call])
    channels: Mapping[str, Serve] = field(default_factory=dict[str, Serve])
    domain: Domain = "llm"


async def _list_downloaded(caller: Caller, _: msgspec.Raw) -> Result:
    listed = await list_models(caller.request.app[RUNTIME])
    return [infos.to_info(status, alias or status.model.id) for alias, status in listed]


async def _list_variants(_caller: Caller, _: msgspec.Raw) -> Result:
    return []


async def _tell_version(_caller: Caller, _: msgspec.Raw) -> Result:
    return infos.Version(VERSION, 0)


async def _take_note(_caller: Caller, _: msgspec.Raw) -> Result:
    return None


async def _stay(_caller: Caller, _: msgspec.Raw, channel: Channel) -> None:
    await channel.stopped.wait()


async def _list_loaded(caller: Caller, _: msgspec.Raw) -> Result:
    return [infos.to_instance(status, status.model.id) for status in _loaded(caller)]


async def _show_instance(caller: Caller, raw: msgspec.Raw) -> Result:
    body = _read(raw, bodies.INFO)
    try:
        name, status = await _find(caller, body.specifier)
        if status.state != "ready":
            raise _not_loaded(caller, f"'{name}'")
    except UnknownModel:
        if body.throw_if_not_found:
            raise
        return None
    return infos.to_instance(status, name)


async def _show_load_config(caller: Caller, raw: msgspec.Raw) -> Result:
    _, status = await _find(caller, _read(raw, bodies.SPECIFIED).specifier)
    return infos.to_load_config(status)


async def _show_base_config(caller: Caller, raw: msgspec.Raw) -> Result:
    await _find(caller, _read(raw, bodies.SPECIFIED).specifier)
    return infos.KvConfig()


async def _show_state(caller: Caller, raw: msgspec.Raw) -> Result:
    _, status = await _find(caller, _read(raw, bodies.SPECIFIED).specifier)
    return infos.to_state(status)


async def _unload(caller: Caller, raw: msgspec.Raw) -> Result:
    name = _read(raw, bodies.UNLOAD).identifier
    _, status = await find_listed(caller.request.app[RUNTIME], name)
    if status.state != "ready":
        raise _not_loaded(caller, f"'{name}'")
    await caller.request.app[RUNTIME].unload(name)
    return None


async def _load(caller: Caller, raw: msgspec.Raw, channel: Channel) -> None:
    """Loads a model; there is one instance of each, so that one in memory is the one."""
    body = _read(raw, bodies.LOAD)
    name, status = await _find_named(caller, body.model_key)
    await channel.send(infos.LoadBegun("resolved", infos.to_info(status, name), name))
    if await _bring(caller, name, to_wishes(body.load_config_stack), channel, "progress"):
        await channel.send(infos.Loaded("success", _instance(caller, name, status)))


async def _get_or_load(caller: Caller, raw: msgspec.Raw, channel: Channel) -> None:
    body = _read(raw, bodies.GET_OR_LOAD)
    name, status = await _find_named(caller, body.identifier)
    if status.state == "ready":
        await channel.send(infos.Loaded("alreadyLoaded", infos.to_instance(status, name)))
        return
    await channel.send(infos.LoadBegun("startLoading", infos.to_info(status, name), name))
    if await _bring(caller, name, to_wishes(body.load_config_stack), channel, "loadProgress"):
        await channel.send(infos.Loaded("loadSuccess", _instance(caller, name, status)))


async def _bring(caller: Caller, name: str, wishes: LoadWishes | None, channel: Channel, word: infos.ProgressWord) -> bool:
    """Loads a model and tells how far it is; False where the client did not want to wait for it."""
    runtime = caller.request.app[RUNTIME]
    model = runtime.resolve(name)
    changed = asyncio.Event()
    remove = runtime.listen(changed.set)

    async def follow() -> None:
        told = 0.0
        while True:
            await changed.wait()
            changed.clear()
            progress = find_status(runtime, model.id).progress
            if progress is not None and progress > told:
                told = progress
                await channel.send(infos.LoadProgress(word, progress))

    telling = asyncio.create_task(follow(), name=f"tell how {name} loads")
    try:
        return await _until_stopped(runtime.load(name, wishes), channel.stopped)
    finally:
        remove()
        telling.cancel()
        await asyncio.wait([telling])


async def _predict(caller: Caller, raw: msgspec.Raw, channel: Channel) -> None:
    body = _read(raw, bodies.PREDICT)
    settings = Settings(body.prediction_config_stack)
    name, _ = await _find(caller, body.model_specifier)
    request = predict.to_request(body, settings, name, caller.request.app[FILES].find)
    await _stream(caller, channel, request, settings)


async def _complete(caller: Caller, raw: msgspec.Raw, channel: Channel) -> None:
    body = _read(raw, bodies.COMPLETE)
    settings = Settings(body.prediction_config_stack)
    name, _ = await _find(caller, body.model_specifier)
    await _stream(caller, channel, predict.to_raw_request(body, settings, name), settings)


async def _stream(caller: Caller, channel: Channel, request: GenerateRequest, settings: Settings) -> None:
    """Sends an answer to its end, or until the client stops it; either way it is told what it took."""
    runtime = caller.request.app[RUNTIME]
    packets = Packets(settings.marks)

    async def run() -> None:
        async with aclosing(open_run(caller.request, request)) as batches:
            async for batch in batches:
                for packet in packets.take(batch):
                    await channel.send(packet)

    await _until_stopped(run(), channel.stopped)
    status = find_status(runtime, runtime.resolve(request.model).id)
    await channel.send(packets.end(status, request.model, settings.config))


async def _apply_template(caller: Caller, raw: msgspec.Raw) -> Result:
    body = _read(raw, bodies.TEMPLATE)
    name, _ = await _find(caller, body.specifier)
    question = ApplyTemplate(predict.to_messages(body.history, caller.request.app[FILES].find))
    return bodies.Formatted((await ask(caller.request, name, question, Rendered)).text)


async def _tokenize(caller: Caller, raw: msgspec.Raw) -> Result:
    return bodies.Tokens(await _token_ids(caller, raw))


async def _count_tokens(caller: Caller, raw: msgspec.Raw) -> Result:
    return bodies.TokenCount(len(await _token_ids(caller, raw)))


async def _token_ids(caller: Caller, raw: msgspec.Raw) -> tuple[int, ...]:
    body = _read(raw, bodies.TEXT)
    name, _ = await _find(caller, body.specifier)
    return (await ask(caller.request, name, Tokenize((body.input_string,)), Tokenized)).token_ids


async def _embed(caller: Caller, raw: msgspec.Raw) -> Result:
    body = _read(raw, bodies.EMBED)
    name, _ = await _find(caller, body.model_specifier)
    if not body.input_string:
        raise InvalidRequest("'inputString': it is empty.", param="inputString", code="invalid_value")
    [vector] = (await ask(caller.request, name, Embed((body.input_string,)), Embedded)).vectors
    return bodies.Embedding(struct.unpack(f"<{len(vector) // _FLOAT_BYTES}f", vector))


async def _upload(caller: Caller, raw: msgspec.Raw) -> Result:
    """Keeps a picture, so that a message may name it."""
    body = _read(raw, bodies.UPLOAD)
    if not predict.is_picture(body.content_base64):
        raise InvalidRequest(f"'{body.name}' is no PNG, JPEG, GIF or BMP; only pictures are taken.", param="contentBase64")
    identifier = f"file-{secrets.token_hex(12)}"
    caller.request.app[FILES].keep(identifier, body.content_base64)
    return bodies.FileHandle(identifier, "image", len(body.content_base64))


def _read(raw: msgspec.Raw, decoder: msgspec.json.Decoder[Body]) -> Body:
    return decode_body(bytes(raw), decoder)


async def _find(caller: Caller, specifier: infos.Specifier) -> tuple[str, ModelStatus]:
    """Finds the model that is meant, or any of this kind in memory; raises UnknownModel."""
    name = infos.named(specifier)
    if name is not None:
        return await _find_named(caller, name)
    for status in _loaded(caller):
        return status.model.id, status
    raise _not_loaded(caller, f"A model of the kind '{caller.domain}'")


async def _find_named(caller: Caller, name: str) -> tuple[str, ModelStatus]:
    alias, status = await find_listed(caller.request.app[RUNTIME], name)
    return alias or status.model.id, status


def _loaded(caller: Caller) -> list[ModelStatus]:
    statuses = caller.request.app[RUNTIME].statuses()
    return [status for status in statuses if status.state == "ready" and to_domain(status.model) == caller.domain]


def _instance(caller: Caller, name: str, status: ModelStatus) -> infos.InstanceInfo:
    return infos.to_instance(find_status(caller.request.app[RUNTIME], status.model.id), name)


def _not_loaded(caller: Caller, what: str) -> NotLoaded:
    return NotLoaded(what, [status.model.id for status in _loaded(caller)])


async def _until_stopped(work: Awaitable[None], stopped: asyncio.Event) -> bool:
    """Waits for work, or ends it as soon as it is not wanted any more; False then."""
    running = asyncio.ensure_future(work)
    stopping = asyncio.create_task(stopped.wait(), name="wait for a stop")
    try:
        await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        finished = running.done()
        running.cancel()
        stopping.cancel()
        await asyncio.wait((running, stopping))
        if not running.cancelled():
            running.exception()  # looked at here, as nobody awaits what was stopped
    if finished:
        running.result()
    return finished


_MODEL_CALLS: dict[str, Call] = {
    "listLoaded": _list_loaded,
    "getModelInfo": _show_instance,
    "getLoadConfig": _show_load_config,
    "getBasePredictionConfig": _show_base_config,
    "getInstanceProcessingState": _show_state,
    "unloadModel": _unload,
    "tokenize": _tokenize,
    "countTokens": _count_tokens,
}
_MODEL_CHANNELS: dict[str, Serve] = {"loadModel": _load, "getOrLoad": _get_or_load}

NAMESPACES: dict[str, Namespace] = {
    "llm": Namespace(
        {**_MODEL_CALLS, "applyPromptTemplate": _apply_template},
        {**_MODEL_CHANNELS, "predict": _predict, "completeRawText": _complete},
    ),
    "embedding": Namespace({**_MODEL_CALLS, "embedString": _embed}, _MODEL_CHANNELS, "embedding"),
    "system": Namespace(
        {
            "listDownloadedModels": _list_downloaded,
            "listDownloadedModelVariants": _list_variants,
            "version": _tell_version,
            "notify": _take_note,
            "getExperimentFlags": _list_variants,
        },
        {"alive": _stay},
    ),
    "files": Namespace({"uploadFileBase64": _upload}),
    "repository": Namespace(),
    "diagnostics": Namespace(),
}
"""By the path of their sockets; what is not here is refused."""
