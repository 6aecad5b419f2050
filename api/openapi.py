"""Makes the OpenAPI document out of the application's own routes, so that none can be missing."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec
from aiohttp import web

from .dialects.openapi import (
    Components,
    Document,
    Info,
    MediaType,
    OperationObject,
    Parameter,
    RequestBody,
    Response,
    Schema,
    SecurityScheme,
    Server,
    Tag,
)
from .operations import Operation, Operations
from .schemas import Schemas
from .version import VERSION

log = logging.getLogger(__name__)

_JSON = "application/json"
_CONTENT_TYPES = {"json": _JSON, "text": "text/plain", "html": "text/html", "socket": _JSON}
_ABOUT = """All routes of this server. Those without an own description take and give what their dialect's maker states.
A key is asked for only where one is set."""


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path."""

    method: str
    path: str
    """With the names of its variable parts in braces."""
    handler: object


class KeptDocument:
    """Makes the document when it is first asked for, and keeps it: routes are complete before a server listens."""

    def __init__(self, operations: Operations, *, error_type: Callable[[str], type[msgspec.Struct]]) -> None:
        self._operations = operations
        self._error_type = error_type
        self._document: Document | None = None

    async def read(self, app: web.Application) -> Document:
        """Gives the document of an application."""
        if self._document is None:
            routes = tuple(list_routes(app))
            # Some ten milliseconds, which streams need not wait for.
            self._document = await asyncio.to_thread(make_document, routes, self._operations, error_type=self._error_type)
        return self._document


def list_routes(app: web.Application) -> Iterator[Route]:
    """Gives every route of an application but the HEAD ones that stand beside each GET."""
    for route in app.router.routes():
        if route.resource is not None and route.method != "HEAD":
            yield Route(route.method, route.resource.canonical, route.handler)


def make_document(
    routes: Sequence[Route],
    operations: Operations,
    *,
    error_type: Callable[[str], type[msgspec.Struct]],
) -> Document:
    """Makes the document.

    Args:
        routes: what is to stand in it.
        operations: what is known of their handlers.
        error_type: the shape of a path's errors.
    """
    schemas = Schemas()
    paths: dict[str, dict[str, OperationObject]] = {}
    tags: dict[str, Tag] = {}
    for route in routes:
        name, text = _module_of(route.handler)
        tags.setdefault(name, Tag(name, text))
        operation = operations.find(route.handler)
        paths.setdefault(route.path, {})[route.method.lower()] = _to_object(route, operation, schemas, error_type(route.path))
    return Document(
        openapi="3.1.0",
        info=Info("Impetus", VERSION, _ABOUT),
        servers=[Server("/", "the server that this document came from")],
        tags=list(tags.values()),
        paths=paths,
        components=Components(
            schemas.components,
            {
                "bearer": SecurityScheme("http", scheme="bearer"),
                "header": SecurityScheme("apiKey", name="x-api-key", place="header"),
            },
        ),
        security=[{}, {"bearer": []}, {"header": []}],
    )


def _make_schema(schemas: Schemas, type_: object) -> Schema:
    """Gives the schema of a type; one that has none, as nothing is said of it, may be anything."""
    if type_ is None:
        return {}
    try:
        return schemas.of(type_)
    except TypeError as error:
        log.warning("%s stands in /openapi.json without its fields: %s", type_, error)
        return {}


def _to_object(route: Route, operation: Operation, schemas: Schemas, error: type[msgspec.Struct]) -> OperationObject:
    summary, _, rest = (inspect.getdoc(route.handler) or "").partition("\n\n")
    variables = re.findall(r"{(\w+)}", route.path)
    parameters = [Parameter(name, "path", required=True, schema_={"type": "string"}) for name in variables]
    parameters += [
        Parameter(name, "query", required=False, schema_=_make_schema(schemas, type_)) for name, type_ in operation.query
    ]
    body = None
    if operation.body is not None:
        body = RequestBody(required=True, content={_JSON: MediaType(_make_schema(schemas, operation.body))})
    elif route.method in {"POST", "PUT", "PATCH"}:
        body = RequestBody(required=False, content={_JSON: MediaType({})})
    content = {_CONTENT_TYPES[operation.form]: MediaType(_make_schema(schemas, operation.answer))}
    if operation.stream is not None:
        content[operation.stream] = MediaType({})
    met = Response("A WebSocket; each message is one of these.", content)
    answered = Response("Done.", content)
    return OperationObject(
        operation_id=re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_"),
        tags=[_module_of(route.handler)[0]],
        responses={
            **({"101": met} if operation.form == "socket" else {"200": answered}),
            "default": Response("An error.", {_JSON: MediaType(_make_schema(schemas, error))}),
        },
        summary=" ".join(summary.split()) or None,
        description=rest or None,
        parameters=parameters,
        request_body=body,
    )


def _module_of(handler: object) -> tuple[str, str | None]:
    """The last name of a handler's module, and what the module says of itself."""
    module = inspect.getmodule(handler)
    text = inspect.getdoc(module)
    name = module.__name__ if module is not None else "others"
    return name.rpartition(".")[2], text.partition("\n")[0] if text else None
