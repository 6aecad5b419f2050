"""OpenAI's Responses API: making responses, and coming back to them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import msgspec
from aiohttp import web

from ...runtime.errors import InvalidRequest
from ...runtime.events import Event
from ...runtime.questions import Count, Counted
from ...runtime.request import GenerateRequest
from ..body import MIB, read_body
from ..dialects import responses, responses_kept
from ..dialects.responses_answers import Deleted, InputTokens, Response
from ..dialects.responses_input import find_references, resolve
from ..dialects.responses_stream import ResponseStream
from ..errors import NoSuchResponse
from ..keys import OPERATIONS, RUNTIME, SETTINGS
from ..operations import SSE
from ..response_store import ResponseStore, StoredResponse
from ..run import ask, open_run
from ..running import Run, Running
from ..stream import stream_answer

STORE = web.AppKey("STORE", ResponseStore)
RUNNING = web.AppKey("RUNNING", Running)

_DAY_S = 86_400.0
_FILE = "responses.sqlite3"


def add_routes(app: web.Application) -> None:
    """Adds the routes, also without `/v1` for clients whose base URL was given without it, and opens the store with the app."""
    app.cleanup_ctx.append(_keep_store)
    for prefix in ("/v1", ""):
        app.router.add_post(f"{prefix}/responses", post_response)
        app.router.add_post(f"{prefix}/responses/input_tokens", count_input)
        app.router.add_get(f"{prefix}/responses/{{id}}", get_response)
        app.router.add_delete(f"{prefix}/responses/{{id}}", delete_response)
        app.router.add_post(f"{prefix}/responses/{{id}}/cancel", cancel_response)
        app.router.add_get(f"{prefix}/responses/{{id}}/input_items", list_input_items)
    operations = app[OPERATIONS]
    operations.describe(post_response, body=responses.RESPONSES, answer=Response, stream=SSE)
    operations.describe(count_input, body=responses.PROMPT, answer=InputTokens)
    operations.describe(get_response, answer=Response)
    operations.describe(delete_response, answer=Deleted)
    operations.describe(cancel_response, answer=Response)
    operations.describe(list_input_items, answer=responses_kept.ItemPage, limit=int, order=str, after=str)


async def post_response(request: web.Request) -> web.StreamResponse:
    """Answers a conversation, whole or streamed."""
    body = await read_body(request, responses.RESPONSES)
    items = await _resolve_items(request, body)
    task = responses.to_task(body, await _find_earlier(request, body), items)
    stored = body.store is not False and _stores(request)
    response = ResponseStream(body, await request.read(), task, stored=stored)
    with request.app[RUNNING].entry(response) as run:
        batches = _make(request, run, task.request, body, items if stored else None)
        if body.stream:
            return await stream_answer(request, batches, response)
        async with aclosing(batches):
            async for batch in batches:
                response.to_wire(batch)
    return web.json_bytes_response(response.finish(), dumps=msgspec.json.encode)


async def count_input(request: web.Request) -> web.Response:
    """Counts the tokens that the model would read."""
    body = await read_body(request, responses.PROMPT)
    items = await _resolve_items(request, body)
    prompt, _ = responses.to_prompt(body, await _find_earlier(request, body), items)
    counted = await ask(request, body.model, Count(prompt), Counted)
    return web.json_bytes_response(InputTokens(counted.tokens), dumps=msgspec.json.encode)


async def get_response(request: web.Request) -> web.Response:
    """Shows a response, also one that is being made."""
    if request.query.get("stream", "false").lower() not in ("false", "0"):
        raise InvalidRequest(
            "'stream': a response that is kept is given whole only.", param="stream", code="unsupported_parameter"
        )
    if (run := request.app[RUNNING].find(request.match_info["id"])) is not None:
        return web.json_bytes_response(run.response.current(), dumps=msgspec.json.encode)
    return web.Response(body=(await _find(request)).answer, content_type="application/json")


async def delete_response(request: web.Request) -> web.Response:
    """Forgets a response."""
    response_id = request.match_info["id"]
    if not await request.app[STORE].delete(response_id):
        raise _missing(response_id)
    return web.json_bytes_response(Deleted(response_id), dumps=msgspec.json.encode)


async def cancel_response(request: web.Request) -> web.Response:
    """Ends a response that is being made."""
    if (run := request.app[RUNNING].find(request.match_info["id"])) is None:
        await _find(request)
        raise InvalidRequest("Cannot cancel a completed response.", code="response_completed")
    await run.cancel()
    return web.json_bytes_response(run.response.finish(), dumps=msgspec.json.encode)


async def list_input_items(request: web.Request) -> web.Response:
    """Lists what a response was made from, without what it follows."""
    stored = await _find(request)
    query = request.query
    page = responses_kept.to_page(
        stored.input, limit=query.get("limit", "20"), order=query.get("order", "desc"), after=query.get("after")
    )
    return web.json_bytes_response(page, dumps=msgspec.json.encode)


async def _make(
    request: web.Request,
    run: Run,
    generation: GenerateRequest,
    body: responses.ResponsesBody,
    items: list[msgspec.Raw] | None,
) -> AsyncGenerator[list[Event], None]:
    """Runs the generation and keeps the response, if it has items to be kept with.

    Yields:
        The batches; it is over once the response is kept, so that who reads its end may go on from it at once.
    """
    async with aclosing(run.follow(open_run(request, generation))) as batches:
        async for batch in batches:
            yield batch
    if items is not None:
        final = run.response.finish()
        packed = responses_kept.pack_input(items)
        stored = StoredResponse(final.id, body.previous_response_id, packed, msgspec.json.encode(final))
        await request.app[STORE].put(stored, responses_kept.item_ids(final))


async def _find_earlier(request: web.Request, body: responses.PromptBody) -> list[msgspec.Raw]:
    """Gives the items of all that a request follows."""
    if body.previous_response_id is None:
        return []
    chain, missing = await request.app[STORE].chain(body.previous_response_id)
    if missing is not None:
        hint = "" if _stores(request) else " This server stores no responses."
        raise NoSuchResponse(
            f"Previous response with id '{missing}' not found.{hint}",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    return [item for stored in chain for item in responses_kept.unpack(stored.input, stored.answer)]


async def _resolve_items(request: web.Request, body: responses.PromptBody) -> list[msgspec.Raw]:
    """Gives the request's own items, with those in their place that it only names."""
    items = body.items
    if not (wanted := find_references(items)):
        return items
    known: dict[str, msgspec.Raw] = {}
    for stored in await request.app[STORE].owners(wanted):
        known |= responses_kept.find_items(stored.answer, wanted)
    return resolve(items, known)


async def _find(request: web.Request) -> StoredResponse:
    response_id = request.match_info["id"]
    if (stored := await request.app[STORE].get(response_id)) is None:
        raise _missing(response_id)
    return stored


def _missing(response_id: str) -> NoSuchResponse:
    return NoSuchResponse(f"Response with id '{response_id}' not found.", code="response_not_found")


def _stores(request: web.Request) -> bool:
    return request.app[STORE].works


async def _keep_store(app: web.Application) -> AsyncIterator[None]:
    settings = app[SETTINGS]
    app[RUNNING] = Running()
    store = ResponseStore(
        app[RUNTIME].home.state_dir / _FILE,
        max_responses=settings.store_max_responses,
        max_bytes=settings.store_max_mb * MIB,
        max_age_s=settings.store_max_days * _DAY_S,
        enabled=settings.store_responses,
    )
    async with store as app[STORE]:
        yield
