"""The page for people: where clients connect, and what can be asked; made of the OpenAPI document, nothing else is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

import msgspec

from .dialects.openapi import Document, OperationObject, Schema

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""The page's Content-Security-Policy: no script runs in it, whatever stands in it."""

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; }
code { font: 13px ui-monospace, monospace; }
table { border-collapse: collapse; width: 100%; }
td, th { border-bottom: 1px solid #8884; padding: .3rem .6rem; text-align: left; vertical-align: top; }
details { border-bottom: 1px solid #8884; padding: .3rem 0; }
summary { cursor: pointer; }
b { display: inline-block; font: bold 12px ui-monospace, monospace; width: 4rem; }
summary span { opacity: .75; }
details table { margin: .5rem 0 .5rem 1rem; width: calc(100% - 1rem); }
"""

_CLIENTS = (
    ("/v1/chat/completions", "OpenAI: Cline, OpenCode, Continue, Qwen Code, aider, SDKs", "/v1"),
    ("/v1/responses", 'Codex (<code>base_url</code>, <code>wire_api = "responses"</code>)', "/v1"),
    ("/v1/messages", "Anthropic: Claude Code (<code>ANTHROPIC_BASE_URL</code>), SDKs", ""),
    ("/api/chat", "Ollama: its own clients, GitHub Copilot, Cline", ""),
    ("/api/v0/models", "LM Studio: its own clients, Cline, Continue", ""),
)
"""A path that must be there, who connects, and what follows the address."""


class _Shape(msgspec.Struct, frozen=True, rename={"ref": "$ref", "any_of": "anyOf"}):
    """What the page tells of a schema."""

    type: str | None = None
    ref: str | None = None
    any_of: list[Schema] = []
    enum: list[object] = []
    items: Schema | bool = False
    properties: dict[str, Schema] = {}
    required: list[str] = []


def make_page(document: Document, origin: str) -> str:
    """Writes the page; the origin is the address that the reader used."""
    return "".join(_lines(document, origin))


def _lines(document: Document, origin: str) -> Iterator[str]:
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>Impetus</title><style>{_STYLE}</style>"
    yield f"<h1>Impetus {escape(document.info.version)}</h1>"
    yield "<h2>Base URLs</h2><table><tr><th>Clients<th>Base URL"
    for path, who, suffix in _CLIENTS:
        if path in document.paths:
            yield f"<tr><td>{who}<td><code>{escape(origin)}{suffix}</code>"
    if "/impetus/v1/live" in document.paths:
        live = f"{origin.replace('http', 'ws', 1)}/impetus/v1/live"
        yield f"<tr><td>Dashboards (WebSocket)<td><code>{escape(live)}</code>"
    yield "</table><p>The key may be anything while none is set. "
    yield 'The same as a document for programs: <a href="/openapi.json">/openapi.json</a>.'
    for tag in document.tags:
        yield f"<h2>{escape(tag.name)}</h2><p>{escape(tag.description or '')}"
        for path, methods in document.paths.items():
            for method, operation in methods.items():
                if tag.name in operation.tags:
                    yield from _operation(document, path, method, operation)
    yield "</html>"


def _operation(document: Document, path: str, method: str, operation: OperationObject) -> Iterator[str]:
    yield f"<details><summary><b>{escape(method.upper())}</b> <code>{escape(path)}</code> "
    yield f"<span>{escape(operation.summary or '')}</span></summary>"
    if operation.description:
        yield f"<p>{escape(operation.description)}"
    body = operation.request_body.content.get("application/json") if operation.request_body is not None else None
    rows = [(each.name, each.schema_, each.required) for each in operation.parameters]
    if body is not None:
        rows += list(_fields(document, body.schema_))
    if rows:
        yield "<table><tr><th>Field<th>Takes<th>"
        for name, schema, required in rows:
            yield f"<tr><td><code>{escape(name)}</code><td><code>{escape(_words(schema))}</code>"
            yield f"<td>{'required. ' if required else ''}{escape(str(schema.get('description', '')))}"
        yield "</table>"
    yield "</details>"


def _fields(document: Document, schema: Schema) -> Iterator[tuple[str, Schema, bool]]:
    """Gives the fields of an object: name, schema, whether it must be there."""
    shape = msgspec.convert(schema, _Shape)
    if shape.ref is not None:
        shape = msgspec.convert(document.components.schemas[shape.ref.rpartition("/")[2]], _Shape)
    for name, field in shape.properties.items():
        yield name, field, name in shape.required


def _words(schema: Schema) -> str:
    """Puts a schema into a few words."""
    shape = msgspec.convert(schema, _Shape)
    if shape.ref is not None:
        return shape.ref.rpartition("/")[2].rpartition(".")[2]
    if shape.any_of:
        return " | ".join(dict.fromkeys(map(_words, shape.any_of)))
    if shape.enum:
        return " | ".join(map(repr, shape.enum))
    if shape.type == "array":
        return f"list of {_words(shape.items)}" if isinstance(shape.items, dict) else "list"
    return shape.type or "anything"
