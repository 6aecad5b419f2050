"""What every request passes before its handler, outermost first: id, error net, origin, CORS, key."""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from ..runtime.errors import ImpetusError
from ..runtime.loopback import is_loopback
from .dialects import anthropic_answers, lmstudio_v1, ollama_answers
from .dialects.openai_answers import to_error
from .errors import (
    BodyTooLarge,
    Failure,
    ForeignOrigin,
    KeyRefused,
    NoSuchRoute,
    RequestRefused,
    WrongMethod,
    describe,
    describe_unforeseen,
)
from .keys import EXTRA_PORTS, REQUEST_ID, SETTINGS
from .run import name_client
from .version import VERSION

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

OPEN_PATHS = frozenset(
    {
        "/",
        "/health",
        "/docs",
        "/openapi.json",
        "/lmstudio-greeting",
        "/llm",
        "/embedding",
        "/system",
        "/files",
        "/repository",
        "/diagnostics",
    }
)
"""What is answered without a key; the sockets among them ask for it themselves, as their clients send no headers."""
_ERROR_SHAPES: tuple[tuple[str, Callable[[Failure], msgspec.Struct]], ...] = (
    ("/v1/messages", anthropic_answers.to_error),
    ("/messages", anthropic_answers.to_error),
    ("/api/v0/", to_error),
    ("/api/v1/", lmstudio_v1.to_error),
    ("/api/", ollama_answers.to_error),
    ("/", to_error),
)
"""How each dialect puts an error, by the beginning of the path; the first that fits holds."""
_ALLOWED_METHODS = "GET, POST, DELETE, OPTIONS"
_PREFLIGHT_S = "600"


async def stamp(request: web.Request, response: web.StreamResponse) -> None:
    """Adds the headers that every answer has; a signal, so that streams and errors get them too."""
    response.headers["Server"] = f"impetus/{VERSION}"
    if (request_id := request.get(REQUEST_ID)) is not None:
        response.headers["x-request-id"] = request_id
        response.headers["request-id"] = request_id  # where Anthropic's clients look
    origin = request.headers.get("Origin")
    if origin is not None and _is_listed(origin, request.app[SETTINGS].cors_origins):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = "x-request-id"
        response.headers["Vary"] = "Origin"


@web.middleware
async def give_id(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives the request an id; a generation's is replaced by its journal record's."""
    request[REQUEST_ID] = secrets.token_hex(8)
    return await handler(request)


@web.middleware
async def catch_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns every error into the error object of the dialect."""
    try:
        return await handler(request)
    except ImpetusError as error:
        failure = describe(error)
    except web.HTTPException as error:
        failure = describe(_from_aiohttp(request, error))
    except Exception as error:
        if isinstance(error, ConnectionError) and (request.transport is None or request.transport.is_closing()):
            raise
        log.exception("%s %s failed (%s)", request.method, request.path, request[REQUEST_ID])
        failure = describe_unforeseen(request[REQUEST_ID])
    log.info("%s %s: %d, %s", request.method, request.path, failure.status, failure.message)
    return _answer_failure(request, failure)


@web.middleware
async def check_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns away web pages that reach for this server behind their reader's back.

    A page can name this machine by a host name of its own (DNS rebinding), or simply post to it; both are refused unless
    the settings list the origin.
    """
    settings = request.app[SETTINGS]
    if is_loopback(settings.host) and not _is_own_host(request.host):
        raise ForeignOrigin(
            f"The host '{request.host}' is not this machine's. "
            "Use http://127.0.0.1, or set `host` under [server] in impetus.toml."
        )
    origin = request.headers.get("Origin")
    if origin is not None and not _is_harmless(origin, request.host) and not _is_listed(origin, settings.cors_origins):
        raise ForeignOrigin(f"The origin '{origin}' is not allowed. Add it to `cors_origins` under [server] in impetus.toml.")
    return await handler(request)


@web.middleware
async def answer_preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers a browser that asks before it sends; `stamp` adds the permission."""
    if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
        return await handler(request)
    headers = {"Access-Control-Allow-Methods": _ALLOWED_METHODS, "Access-Control-Max-Age": _PREFLIGHT_S}
    if (wanted := request.headers.get("Access-Control-Request-Headers")) is not None:
        headers["Access-Control-Allow-Headers"] = wanted
    return web.Response(status=204, headers=headers)


@web.middleware
async def check_key(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Asks for the key where one is set: `Authorization: Bearer …` or `x-api-key: …`."""
    key = request.app[SETTINGS].api_key
    if key and request.path not in OPEN_PATHS and not holds_key(request, key):
        raise KeyRefused("The API key is missing or wrong. Send it as 'Authorization: Bearer KEY' or 'x-api-key: KEY'.")
    return await handler(request)


@web.middleware
async def note_client(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Takes note of who comes to one of the further ports."""
    transport = request.transport
    name = transport.get_extra_info("sockname") if transport is not None else None
    if name is not None:
        request.app[EXTRA_PORTS].note(name[1], name_client(request))
    return await handler(request)


def error_type(path: str) -> type[msgspec.Struct]:
    """The shape of a path's errors."""
    return type(_shape_of(path)(Failure(500, "", "")))


def holds_key(request: web.Request, key: str) -> bool:
    """Whether a request's headers have the key."""
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    given = (bearer.strip() if scheme.lower() == "bearer" else "", request.headers.get("x-api-key", ""))
    # A client may have been given a token and a key; either will do.
    return any(hmac.compare_digest(text.encode("utf-8", "surrogateescape"), key.encode()) for text in given)


def _is_own_host(host: str) -> bool:
    """Whether a Host header names this machine; `.internal` is how containers call their host, and nobody can own it."""
    name = _host_name(f"//{host}")
    return name is not None and (is_loopback(name) or name.endswith(".internal"))


def _is_harmless(origin: str, host: str) -> bool:
    """Whether an origin is no web page from elsewhere: an application's own scheme, this machine, or this server."""
    scheme = origin.partition(":")[0].lower()
    if origin != "null" and scheme not in ("http", "https"):
        return True
    name = _host_name(origin)
    return name is not None and (is_loopback(name) or name == _host_name(f"//{host}"))


def _host_name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _is_listed(origin: str, origins: list[str]) -> bool:
    return "*" in origins or origin in origins


def _from_aiohttp(request: web.Request, error: web.HTTPException) -> ImpetusError:
    """Names in our words what aiohttp found wrong."""
    match error:
        case web.HTTPNotFound():
            return NoSuchRoute(request.method, request.path, _routes(request.app))
        case web.HTTPMethodNotAllowed():
            allowed = sorted(error.allowed_methods - {"HEAD"})
            return WrongMethod(request.method, request.path, allowed)
        case web.HTTPRequestEntityTooLarge():
            return BodyTooLarge(request.app[SETTINGS].max_body_mb)
        case _:
            return RequestRefused(error.reason)


def _routes(app: web.Application) -> list[str]:
    """What can be asked here, without the shorter names."""
    routes = [
        f"{route.method} {route.resource.canonical}"
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    ]
    return [route for route in routes if f"{route.replace(' /', ' /v1/')}" not in routes]


def _answer_failure(request: web.Request, failure: Failure) -> web.Response:
    headers: dict[str, str] = {}
    if failure.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(failure.retry_after_s)))
    if not failure.retry_helps:
        headers["x-should-retry"] = "false"  # OpenAI's own clients look for it before they repeat
    if failure.allowed:
        headers["Allow"] = ", ".join(failure.allowed)
    if failure.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    answer = _choose_shape(request)(replace(failure, request_id=request[REQUEST_ID]))
    return web.json_bytes_response(answer, status=failure.status, headers=headers, dumps=msgspec.json.encode)


def _choose_shape(request: web.Request) -> Callable[[Failure], msgspec.Struct]:
    """The dialect's error object; Anthropic's clients name themselves by a header wherever they ask."""
    if anthropic_answers.VERSION_HEADER in request.headers:
        return anthropic_answers.to_error
    return _shape_of(request.path)


def _shape_of(path: str) -> Callable[[Failure], msgspec.Struct]:
    return next(shape for beginning, shape in _ERROR_SHAPES if path.startswith(beginning))
