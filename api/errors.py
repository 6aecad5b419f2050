"""Which error becomes which HTTP status, and what the client is told.

Pure: dialects put a `Failure` into their own shape, middleware and streams send it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..runtime.errors import (
    ConfigError,
    ContextOverflow,
    DownloadError,
    EngineCrashed,
    EngineError,
    ImpetusError,
    InvalidRequest,
    LoadFailed,
    Overloaded,
    UnknownModel,
)
from .nearest import name_nearest


class RequestRefused(ImpetusError):
    """The server turns a request away before any handler looks at it."""


class KeyRefused(RequestRefused):
    """The API key is missing or wrong."""


class ForeignOrigin(RequestRefused):
    """A web page, or a host name, that has no business with this server."""


class NoSuchRoute(RequestRefused):
    """Nothing answers at this path."""

    def __init__(self, method: str, path: str, routes: Sequence[str]) -> None:
        near = ", ".join(name_nearest(method, path, routes))
        super().__init__(
            f"There is no route {method} {path}. The nearest here: {near}. GET /openapi.json lists all {len(routes)}."
        )


class WrongMethod(RequestRefused):
    """The path exists, but not for this method."""

    def __init__(self, method: str, path: str, allowed: Sequence[str]) -> None:
        super().__init__(f"{method} is not allowed for {path}; use {' or '.join(allowed)}.")
        self.allowed = tuple(allowed)


class NoSuchRequest(RequestRefused):
    """The journal holds no request of this id, or no longer."""

    def __init__(self, request_id: str) -> None:
        super().__init__(f"There is no request '{request_id}' here; only the newest ones are kept.")


class NoSuchResponse(InvalidRequest):
    """No response of this id is kept, or no longer."""


class NoSuchDownload(RequestRefused):
    """No download of this session has this id."""

    def __init__(self, download_id: str) -> None:
        super().__init__(f"There is no download '{download_id}' here; only those of this session are known.")


class BodyTooLarge(RequestRefused):
    """The request's body is over the limit."""

    def __init__(self, limit_mb: int) -> None:
        super().__init__(
            f"The request's body is larger than {limit_mb} MB. "
            "Send less, or raise `max_body_mb` under [server] in impetus.toml."
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as a client is told of it, in no dialect yet."""

    status: int
    kind: str
    """A broad word: `invalid_request_error`, `server_error` and the like."""
    message: str
    param: str | None = None
    """The field at fault."""
    code: str | None = None
    """A short word a program can act on."""
    retry_after_s: float | None = None
    retry_helps: bool = True
    """False where a client that repeats on any 5xx would only wait for the same answer."""
    allowed: tuple[str, ...] = ()
    """The methods that would do, for a 405."""
    overflow: tuple[int, int] | None = None
    """The prompt's tokens and how many the context holds, where these are fewer."""
    request_id: str | None = None
    """Of the request that failed, where it is told; None within a stream."""


@dataclass(frozen=True, slots=True)
class _Row:
    status: int
    kind: str
    code: str | None = None
    retry_helps: bool = True


_TABLE: tuple[tuple[type[ImpetusError], _Row], ...] = (
    (UnknownModel, _Row(404, "invalid_request_error")),
    (NoSuchResponse, _Row(404, "invalid_request_error")),
    (ContextOverflow, _Row(400, "invalid_request_error")),
    (InvalidRequest, _Row(400, "invalid_request_error")),
    (Overloaded, _Row(503, "server_error", "overloaded")),
    (LoadFailed, _Row(500, "server_error", "model_load_failed", retry_helps=False)),
    (EngineCrashed, _Row(503, "server_error", "engine_crashed")),
    (EngineError, _Row(500, "server_error", "engine_error")),
    (DownloadError, _Row(502, "server_error", "download_failed")),
    (ConfigError, _Row(400, "invalid_request_error", "invalid_setting")),
    (KeyRefused, _Row(401, "authentication_error", "invalid_api_key")),
    (ForeignOrigin, _Row(403, "permission_error", "foreign_origin")),
    (NoSuchRoute, _Row(404, "invalid_request_error", "unknown_route")),
    (NoSuchRequest, _Row(404, "invalid_request_error", "request_not_found")),
    (NoSuchDownload, _Row(404, "invalid_request_error", "job_not_found")),
    (WrongMethod, _Row(405, "invalid_request_error", "method_not_allowed")),
    (BodyTooLarge, _Row(413, "invalid_request_error", "request_too_large")),
    (RequestRefused, _Row(400, "invalid_request_error")),
    (ImpetusError, _Row(500, "server_error")),
)
"""The first row whose type fits holds; so each type stands above those it derives from."""


def describe(error: ImpetusError) -> Failure:
    """Says what a client is told of an error."""
    row = next(row for kind, row in _TABLE if isinstance(error, kind))
    return Failure(
        status=row.status,
        kind=row.kind,
        message=error.message,
        param=error.param if isinstance(error, InvalidRequest) else None,
        code=(error.code if isinstance(error, InvalidRequest) else None) or row.code,
        retry_after_s=error.retry_after_s
        if isinstance(error, Overloaded)
        else 1.0
        if isinstance(error, EngineCrashed)
        else None,
        retry_helps=row.retry_helps,
        allowed=error.allowed if isinstance(error, WrongMethod) else (),
        overflow=(error.prompt_tokens, error.context_length) if isinstance(error, ContextOverflow) else None,
    )


def describe_unforeseen(request_id: str) -> Failure:
    """Says what a client is told of an error nobody foresaw; what it was stands in the log under the request's id."""
    return Failure(
        500, "server_error", f"Impetus failed on this request; its log says why (request {request_id}).", code="internal_error"
    )
