"""The OpenAPI 3.1 document's own parts, as far as it is used here.

Source: https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

from typing import Literal

import msgspec

Schema = dict[str, object]
"""A JSON schema of draft 2020-12, as msgspec makes it."""


class _Part(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What all parts have: lowerCamel names, and nothing that is not said."""


class Info(_Part, frozen=True):
    """What this is."""

    title: str
    version: str
    description: str | None = None


class Server(_Part, frozen=True):
    """Where it answers."""

    url: str
    description: str | None = None


class Tag(_Part, frozen=True):
    """A group of operations."""

    name: str
    description: str | None = None


class Parameter(_Part, frozen=True, rename={"place": "in", "schema_": "schema"}):
    """A part of the path, or of what stands behind the question mark."""

    name: str
    place: Literal["path", "query"]
    required: bool
    schema_: Schema


class MediaType(_Part, frozen=True, rename={"schema_": "schema"}):
    """A body of one content type."""

    schema_: Schema


class RequestBody(_Part, frozen=True):
    """What is sent."""

    required: bool
    content: dict[str, MediaType]


class Response(_Part, frozen=True):
    """What is answered."""

    description: str
    content: dict[str, MediaType] = {}


class OperationObject(_Part, frozen=True):
    """One method of one path."""

    operation_id: str
    tags: list[str]
    responses: dict[str, Response]
    """By status; `default` is every error."""
    summary: str | None = None
    description: str | None = None
    parameters: list[Parameter] = []
    request_body: RequestBody | None = None


class SecurityScheme(_Part, frozen=True, rename={"place": "in"}):
    """A way to send the key."""

    type: Literal["http", "apiKey"]
    scheme: str | None = None
    name: str | None = None
    place: Literal["header"] | None = None


class Components(_Part, frozen=True):
    """What others refer to."""

    schemas: dict[str, Schema]
    security_schemes: dict[str, SecurityScheme]


class Document(_Part, frozen=True):
    """The whole."""

    openapi: str
    info: Info
    servers: list[Server]
    tags: list[Tag]
    paths: dict[str, dict[str, OperationObject]]
    """By path and lower-case method."""
    components: Components
    security: list[dict[str, list[str]]]
