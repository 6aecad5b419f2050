"""Impetus' own routes: health, metrics, status, models, requests."""

from __future__ import annotations

import msgspec
from aiohttp import web

from ...runtime.errors import InvalidRequest
from ...runtime.models.recommended import TASKS, Task
from ...runtime.tuning.recommend import Recommendations
from ..body import read_body
from ..dialects.control import (
    LISTEN,
    MODEL,
    AddressEntry,
    GovernorsAnswer,
    HealthAnswer,
    ModelEntry,
    RequestDetails,
    RequestsAnswer,
    StatusAnswer,
    to_address_entry,
    to_governors_answer,
    to_model_entry,
    to_request_details,
    to_request_entries,
)
from ..errors import NoSuchRequest
from ..keys import EXTRA_PORTS, METRICS, OPERATIONS, RUNTIME
from ..status import read_status
from ..version import VERSION

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_MOST_REQUESTS = 500
_OLLAMA_PORT = 11434
_OLLAMA_WORDS = "Ollama is running"
_WELCOME = f"""Impetus {VERSION} serves language models here.

Point an OpenAI client at the address of this page with /v1 behind it.
GET /v1/models lists the models, GET /impetus/v1/status says how things stand.
"""


def add_routes(app: web.Application) -> None:
    """Adds the routes."""
    app.router.add_get("/", welcome)
    app.router.add_get("/health", health)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/impetus/v1/status", status)
    app.router.add_get("/impetus/v1/governors", governors)
    app.router.add_get("/impetus/v1/recommendations", recommendations)
    app.router.add_get("/impetus/v1/requests", requests)
    app.router.add_get("/impetus/v1/requests/{id}", request_details)
    app.router.add_post("/impetus/v1/models/load", load)
    app.router.add_post("/impetus/v1/models/unload", unload)
    app.router.add_post("/impetus/v1/listen", listen)
    operations = app[OPERATIONS]
    operations.describe(welcome, form="text")
    operations.describe(health, answer=HealthAnswer)
    operations.describe(metrics, form="text")
    operations.describe(status, answer=StatusAnswer)
    operations.describe(governors, answer=GovernorsAnswer, limit=int)
    operations.describe(recommendations, answer=Recommendations, task=Task, search=str)
    operations.describe(requests, answer=RequestsAnswer, limit=int)
    operations.describe(request_details, answer=RequestDetails)
    operations.describe(load, body=MODEL, answer=ModelEntry)
    operations.describe(unload, body=MODEL, answer=ModelEntry)
    operations.describe(listen, body=LISTEN, answer=AddressEntry)


async def welcome(request: web.Request) -> web.Response:
    """Says what this is; at Ollama's port in the words that Ollama's clients look for."""
    transport = request.transport
    name = transport.get_extra_info("sockname") if transport is not None else None
    return web.Response(text=_OLLAMA_WORDS if name is not None and name[1] == _OLLAMA_PORT else _WELCOME)


async def health(_request: web.Request) -> web.Response:
    """Says that the server answers."""
    return web.json_bytes_response(HealthAnswer("ok", VERSION), dumps=msgspec.json.encode)


async def metrics(request: web.Request) -> web.Response:
    """Gives the counters to Prometheus."""
    return web.Response(body=request.app[METRICS].read(), headers={"Content-Type": _METRICS_TYPE})


async def status(request: web.Request) -> web.Response:
    """Says how everything stands."""
    answer = read_status(request.app, str(request.url.origin()))
    return web.json_bytes_response(answer, dumps=msgspec.json.encode)


async def governors(request: web.Request) -> web.Response:
    """Says what is done about memory and heat, and what was decided of late; `?limit=` says how many decisions."""
    runtime = request.app[RUNTIME]
    answer = to_governors_answer(runtime.governors, runtime.budget, _read_limit(request))
    return web.json_bytes_response(answer, dumps=msgspec.json.encode)


async def recommendations(request: web.Request) -> web.Response:
    """Says which models suit this machine and which of them are on its disk; `?task=` says what for.

    With `?search=` it tells of what the Hub finds for these words, which asks the internet.
    """
    words = request.query.get("search", "").strip()
    found = await request.app[RUNTIME].recommend(_read_task(request), words or None)
    return web.json_bytes_response(found, dumps=msgspec.json.encode)


async def requests(request: web.Request) -> web.Response:
    """Lists the newest requests; `?limit=` says how many."""
    answer = RequestsAnswer(to_request_entries(request.app[RUNTIME].journal.newest(_read_limit(request))))
    return web.json_bytes_response(answer, dumps=msgspec.json.encode)


async def request_details(request: web.Request) -> web.Response:
    """Shows one request: its timings, where its prompt came from, and why not more of that was reused."""
    request_id = request.match_info["id"]
    record = request.app[RUNTIME].journal.find(request_id)
    if record is None:
        raise NoSuchRequest(request_id)
    return web.json_bytes_response(to_request_details(record), dumps=msgspec.json.encode)


async def load(request: web.Request) -> web.Response:
    """Brings a model into memory and answers once it is there."""
    model = (await read_body(request, MODEL)).model
    await request.app[RUNTIME].load(model)
    return _answer_model(request, model)


async def unload(request: web.Request) -> web.Response:
    """Takes a model out of memory and answers once it is gone."""
    model = (await read_body(request, MODEL)).model
    await request.app[RUNTIME].unload(model)
    return _answer_model(request, model)


async def listen(request: web.Request) -> web.Response:
    """Opens a further port of this machine or lets go of it; one that is taken is had as soon as it is free."""
    body = await read_body(request, LISTEN)
    ports = request.app[EXTRA_PORTS]
    await (ports.open(body.port) if body.on else ports.let_go(body.port))
    return web.json_bytes_response(to_address_entry(ports.find(body.port)), dumps=msgspec.json.encode)


def _read_limit(request: web.Request) -> int:
    text = request.query.get("limit", "50")
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= _MOST_REQUESTS):
        raise InvalidRequest(f"'limit' must be a number from 1 to {_MOST_REQUESTS}.", param="limit", code="invalid_value")
    return int(text)


def _read_task(request: web.Request) -> Task | None:
    text = request.query.get("task")
    if text is None or text in TASKS:
        return text
    raise InvalidRequest(f"'task' must be one of {', '.join(TASKS)}.", param="task", code="invalid_value")


def _answer_model(request: web.Request, name: str) -> web.Response:
    runtime = request.app[RUNTIME]
    model = runtime.resolve(name)
    status = next(status for status in runtime.statuses() if status.model.id == model.id)
    return web.json_bytes_response(to_model_entry(status), dumps=msgspec.json.encode)
