"""Ollama's routes about models: what there is, what runs, and how models come, are named and go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

import msgspec
from aiohttp import web

from ...runtime.errors import DownloadError, ImpetusError, InvalidRequest, UnknownModel
from ...runtime.models.files import read_modified
from ..body import read_body
from ..dialects import ollama_models
from ..dialects.ollama_answers import to_error
from ..dialects.ollama_models import Facts, Progress
from ..errors import describe
from ..keys import OPERATIONS, RUNTIME, STARTED_EPOCH_S
from ..listed import Listed, find_listed, list_models
from ..stream import NDJSON

_LOOK_S = 5.0
"""A pull says something at least this often."""
_SEEN_WITHIN_S = 10.0
"""How long a finished download may take to be found among the models."""


def add_routes(app: web.Application) -> None:
    """Adds the routes."""
    app.router.add_get("/api/version", get_version)
    app.router.add_get("/api/tags", list_tags)
    app.router.add_get("/api/ps", list_running)
    app.router.add_post("/api/show", show)
    app.router.add_post("/api/pull", pull)
    app.router.add_post("/api/copy", copy)
    app.router.add_post("/api/create", create)
    app.router.add_delete("/api/delete", delete)
    app.router.add_route("HEAD", "/api/blobs/{digest}", refuse_blob)
    app.router.add_post("/api/blobs/{digest}", refuse_blob)
    operations = app[OPERATIONS]
    operations.describe(get_version, answer=ollama_models.VersionAnswer)
    operations.describe(list_tags, answer=ollama_models.TagsAnswer)
    operations.describe(list_running, answer=ollama_models.RunningAnswer)
    operations.describe(show, body=ollama_models.NAME, answer=ollama_models.ShowAnswer)
    operations.describe(pull, body=ollama_models.PULL, answer=Progress, stream=NDJSON)
    operations.describe(copy, body=ollama_models.COPY)
    operations.describe(create, body=ollama_models.CREATE, answer=Progress, stream=NDJSON)
    operations.describe(delete, body=ollama_models.NAME)


async def get_version(_request: web.Request) -> web.Response:
    """Says which version of Ollama's API this is."""
    return _json(ollama_models.VersionAnswer())


async def list_tags(request: web.Request) -> web.Response:
    """Lists the models that can be served here, each by the name that requests give."""
    facts = await _learn(request, await list_models(request.app[RUNTIME]))
    return _json(ollama_models.TagsAnswer([ollama_models.to_entry(fact) for fact in facts]))


async def list_running(request: web.Request) -> web.Response:
    """Lists the models in memory, and when they leave it."""
    runtime = request.app[RUNTIME]
    facts = await _learn(request, [(None, status) for status in runtime.statuses() if status.state == "ready"])
    now_epoch_s, now_s = time.time(), time.monotonic()
    entries = [
        ollama_models.to_running_entry(
            fact,
            on_gpu=runtime.has_gpu(),
            leaves_epoch_s=None if (at_s := fact.status.unload_at_s) is None else now_epoch_s + at_s - now_s,
        )
        for fact in facts
    ]
    return _json(ollama_models.RunningAnswer(entries))


async def show(request: web.Request) -> web.Response:
    """Shows a model in full."""
    name = (await read_body(request, ollama_models.NAME)).wanted
    runtime = request.app[RUNTIME]
    _, status = await find_listed(runtime, name)
    [facts] = await _learn(request, [(name if runtime.stands_for(name) else None, status)])
    return _json(ollama_models.to_show(facts))


async def pull(request: web.Request) -> web.StreamResponse:
    """Downloads a model, and tells how far that is; one that is here already is had at once."""
    body = await read_body(request, ollama_models.PULL)
    return await _tell(request, _pull(request, body.wanted), stream=body.stream is not False)


async def copy(request: web.Request) -> web.Response:
    """Gives a model a further name."""
    body, runtime = await read_body(request, ollama_models.COPY), request.app[RUNTIME]
    await runtime.scanned.wait()
    alias = ollama_models.to_copy(runtime.resolve(body.source).id, runtime.stands_for(body.source))
    await runtime.make_alias(ollama_models.to_new_name(body.destination), alias)
    return web.Response()


async def create(request: web.Request) -> web.StreamResponse:
    """Gives a model a further name, with a system message and parameters of its own."""
    body, runtime = await read_body(request, ollama_models.CREATE), request.app[RUNTIME]
    name = ollama_models.to_new_name(body.wanted)
    if not body.base:
        raise InvalidRequest("The field 'from' is missing.", param="from", code="missing_required_parameter")
    await runtime.scanned.wait()
    alias = ollama_models.to_made_alias(body, runtime.resolve(body.base).id, runtime.stands_for(body.base))
    await runtime.make_alias(name, alias)
    return await _tell(request, _done(), stream=body.stream is not False)


async def delete(request: web.Request) -> web.Response:
    """Takes back a name that was made, or removes a model from the models folder."""
    await request.app[RUNTIME].drop((await read_body(request, ollama_models.NAME)).wanted)
    return web.Response()


async def refuse_blob(_request: web.Request) -> web.Response:
    """Takes no files."""
    raise InvalidRequest(
        "This server takes no files over the network: put GGUF files into its models folder, or pull them from the Hub.",
        code="unsupported_parameter",
    )


async def _learn(request: web.Request, listed: Iterable[Listed]) -> list[Facts]:
    """Gathers what is known of models; looks at the disk in a thread."""
    runtime, listed = request.app[RUNTIME], list(listed)
    models = {status.model.id: status.model for _, status in listed}
    modified = await asyncio.to_thread(lambda: {id_: read_modified(model) for id_, model in models.items()})
    return [
        Facts(
            name=alias or status.model.id,
            status=status,
            modified_epoch_s=modified[status.model.id] or request.app[STARTED_EPOCH_S],
            alias=None if alias is None else runtime.stands_for(alias),
        )
        for alias, status in listed
    ]


async def _pull(request: web.Request, name: str) -> AsyncGenerator[Progress, None]:
    """Yields what a pull says; a download goes on without its reader. Raises DownloadError."""
    runtime = request.app[RUNTIME]
    await runtime.scanned.wait()
    changed = asyncio.Event()
    stop_listening = runtime.listen(changed.set)
    try:
        if not _is_here(request, name):
            download = runtime.pull(name)
            last: Progress | None = None
            while not download.is_over:
                changed.clear()
                if (progress := ollama_models.to_progress(download)) != last:
                    yield (last := progress)
                await _wait(changed, _LOOK_S)
                download = runtime.find_download(download.id) or download
            if download.state != "done":
                raise DownloadError(download.error or "The download was cancelled.")
            yield Progress("verifying sha256 digest")
            until_s = time.monotonic() + _SEEN_WITHIN_S
            while not _is_here(request, name) and (left_s := until_s - time.monotonic()) > 0:
                changed.clear()
                await _wait(changed, left_s)
        async for progress in _done():
            yield progress
    finally:
        stop_listening()


async def _done() -> AsyncGenerator[Progress, None]:
    yield Progress("writing manifest")
    yield Progress("success")


def _is_here(request: web.Request, name: str) -> bool:
    try:
        request.app[RUNTIME].resolve(name)
    except UnknownModel:
        return False
    return True


async def _wait(changed: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        return


async def _tell(request: web.Request, steps: AsyncGenerator[Progress, None], *, stream: bool) -> web.StreamResponse:
    """Sends each step as a line, or only the last one; an error before the first is raised, a later one is a line."""
    async with aclosing(steps):
        if not stream:
            last = Progress("success")
            async for step in steps:
                last = step
            return _json(last)
        first = await anext(steps)
        response = web.StreamResponse(headers={"Content-Type": NDJSON})
        await response.prepare(request)
        await response.write(ollama_models.to_line(first))
        try:
            async for step in steps:
                await response.write(ollama_models.to_line(step))
        except ImpetusError as error:
            await response.write(ollama_models.to_line(to_error(describe(error))))
        await response.write_eof()
        return response


def _json(answer: msgspec.Struct) -> web.Response:
    return web.json_bytes_response(answer, dumps=msgspec.json.encode)
