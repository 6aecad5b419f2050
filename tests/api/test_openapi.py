"""The document of all routes, and the page made of it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Annotated, Literal

import jsonschema
import msgspec
import pytest
from aiohttp import web

from impetus.api import docs_page
from impetus.api.dialects import control, openai_answers
from impetus.api.middleware import error_type
from impetus.api.openapi import list_routes, make_document
from impetus.api.operations import Operations
from impetus.api.schemas import Schemas


def routes_of(live) -> set[tuple[str, str]]:
    """What the router holds, read independently of what makes the document."""
    app = live.server._runner.app
    return {
        (route.method.lower(), route.resource.canonical)
        for resource in app.router.resources()
        for route in resource
        if route.method != "HEAD"
    }


async def document(live) -> dict:
    async with live.session.get(live.url + "/openapi.json") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        return await response.json()


def references(part: object):
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


async def test_no_route_is_missing_and_none_is_made_up(live) -> None:
    told = await document(live)
    listed = {(method, path) for path, methods in told["paths"].items() for method in methods}
    assert listed == routes_of(live)
    assert ("post", "/v1/chat/completions") in listed
    assert ("get", "/v1/models/{id}") in listed


async def test_it_keeps_the_rules_of_openapi(live) -> None:
    told = await document(live)
    assert told["openapi"] == "3.1.0"
    assert set(told["info"]) >= {"title", "version"}
    operations = [(path, operation) for path, methods in told["paths"].items() for operation in methods.values()]
    ids = [operation["operationId"] for _, operation in operations]
    assert len(set(ids)) == len(ids)
    tags = {tag["name"] for tag in told["tags"]}
    for path, operation in operations:
        assert operation["summary"]
        assert set(operation["tags"]) <= tags
        assert "default" in operation["responses"]
        assert all(response["description"] for response in operation["responses"].values())
        in_path = [each["name"] for each in operation.get("parameters", []) if each["in"] == "path"]
        assert in_path == re.findall(r"{(\w+)}", path)
        assert all(each["schema"] for each in operation.get("parameters", []))
    schemas = told["components"]["schemas"]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in schemas)
    named = set(references(told))
    assert named
    assert {name.removeprefix("#/components/schemas/") for name in named} <= set(schemas)


async def test_bodies_and_answers_are_the_routes_own_types(live) -> None:
    told = await document(live)
    chat = told["paths"]["/v1/chat/completions"]["post"]
    assert told["paths"]["/chat/completions"]["post"]["requestBody"] == chat["requestBody"]
    body = told["components"]["schemas"][
        chat["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    ]
    assert set(body["required"]) == {"model", "messages"}
    assert {"temperature", "stream", "max_tokens"} <= set(body["properties"])
    assert set(chat["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert "error" in json.dumps(chat["responses"]["default"]).lower()
    [limit] = told["paths"]["/impetus/v1/requests"]["get"]["parameters"]
    assert (limit["name"], limit["in"], limit["schema"]) == ("limit", "query", {"type": "integer"})
    live_answer = told["paths"]["/impetus/v1/live"]["get"]["responses"]
    assert set(live_answer) == {"101", "default"}
    assert len(live_answer["101"]["content"]["application/json"]["schema"]["anyOf"]) == 4


PLAIN = {"/", "/metrics", "/docs", "/openapi.json", "/impetus/v1/live", "/lmstudio-greeting"}
"""What gives something else than JSON of a known shape."""
SOCKETS = {"/llm", "/embedding", "/system", "/files", "/repository", "/diagnostics"}
WITHOUT_ANSWER = {"/api/copy", "/api/delete", "/api/blobs/{digest}"}
"""Routes whose status says all."""


async def test_every_route_says_what_it_takes_and_gives(live) -> None:
    told = await document(live)
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            if path in PLAIN | SOCKETS:
                continue
            if method == "post" and not path.startswith("/api/blobs") and not path.endswith("/cancel"):
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                assert schema["$ref"], path
            if path not in WITHOUT_ANSWER:
                assert operation["responses"]["200"]["content"]["application/json"]["schema"], (method, path)


ANSWERED = [
    ("get", "/health", None),
    ("get", "/impetus/v1/status", None),
    ("get", "/impetus/v1/requests", None),
    ("get", "/impetus/v1/recommendations", None),
    ("get", "/v1/models", None),
    ("post", "/v1/chat/completions", {"messages": [{"role": "user", "content": "some words"}]}),
    ("post", "/v1/completions", {"prompt": "some words"}),
    ("post", "/v1/responses", {"input": "some words"}),
    ("post", "/v1/responses/input_tokens", {"input": "some words"}),
    ("post", "/v1/messages", {"max_tokens": 5, "messages": [{"role": "user", "content": "some words"}]}),
    ("post", "/v1/messages/count_tokens", {"messages": [{"role": "user", "content": "some words"}]}),
    ("get", "/api/v0/models", None),
    ("post", "/api/v0/chat/completions", {"messages": [{"role": "user", "content": "some words"}]}),
    ("post", "/api/v0/completions", {"prompt": "some words"}),
    ("get", "/api/v1/models", None),
    ("post", "/api/v1/models/load", {"echo_load_config": True}),
    ("post", "/api/v1/chat", {"input": "some words"}),
    ("get", "/api/version", None),
    ("get", "/api/tags", None),
    ("get", "/api/ps", None),
    ("post", "/api/show", {}),
    ("post", "/api/chat", {"stream": False, "messages": [{"role": "user", "content": "some words"}]}),
    ("post", "/api/generate", {"stream": False, "prompt": "some words"}),
]


@pytest.mark.parametrize(("method", "path", "body"), ANSWERED, ids=[f"{at}{one[1]}" for at, one in enumerate(ANSWERED)])
async def test_real_answers_are_what_the_document_says(live, method: str, path: str, body: dict | None) -> None:
    told = await document(live)
    schema = told["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"]
    sent = None if body is None else body | {"model": "echo"}
    async with live.session.request(method, live.url + path, json=sent) as response:
        assert response.status == 200, await response.text()
        answer = await response.json()
    jsonschema.Draft202012Validator({"components": told["components"], **schema}).validate(answer)
    # A schema that takes anything says nothing.
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator({"components": told["components"], **schema}).validate(["odd"])


async def test_it_is_made_once_and_needs_no_key(serve) -> None:
    async with serve(api_key="k") as live:
        assert await document(live) == await document(live)
        async with live.session.get(live.url + "/docs") as response:
            assert response.status == 200
        async with live.session.get(live.url + "/openapi.json", headers={"Origin": "https://evil.example"}) as response:
            assert response.status == 403


class Part(msgspec.Struct, tag_field="type", tag="part"):
    parts: list[Part] = []


class Body(msgspec.Struct, rename="camel"):
    """A body."""

    kind: Literal["<script>", "b"]
    """Says <i>which</i>
    one it is."""
    raw_part: msgspec.Raw = msgspec.Raw(b"null")
    share: Annotated[float, msgspec.Meta(ge=0, lt=2)] | None = None
    words: Annotated[list[str], msgspec.Meta(min_length=1)] = []
    by_name: dict[str, int] = {}
    pair: tuple[int, str] = (1, "x")
    part: Part | None = None
    limit: int = 5


async def handler(request: web.Request) -> web.Response:
    """Does <b>something</b>.

    And more & more.
    """
    return web.Response()


async def bare(request: web.Request) -> web.Response:
    return web.Response()


def test_undescribed_and_unschemable_routes_stand_there_all_the_same(caplog) -> None:
    app, operations = web.Application(), Operations()
    app.router.add_post("/bare/{name:.*}", bare)
    app.router.add_post("/odd", handler)
    operations.describe(handler, body=msgspec.json.Decoder(Body), answer=list[int] | set[str])
    made = make_document(list(list_routes(app)), operations, error_type=error_type)
    assert set(made.paths) == {"/bare/{name}", "/odd"}
    assert made.paths["/bare/{name}"]["post"].summary is None
    assert made.paths["/odd"]["post"].responses["200"].content["application/json"].schema_ == {}
    assert "without its fields" in caplog.text


def test_the_page_escapes_whatever_it_shows() -> None:
    app, operations = web.Application(), Operations()
    app.router.add_post("/odd", handler)
    operations.describe(handler, body=msgspec.json.Decoder(Body))
    page = docs_page.make_page(make_document(list(list_routes(app)), operations, error_type=error_type), "http://x<y>")
    assert "<script>" not in page
    assert "<b>something" not in page
    assert "&lt;script&gt;" in page
    assert "And more &amp; more." in page
    assert "required. Says &lt;i&gt;which&lt;/i&gt; one it is." in page


def test_schemas_tell_types_bounds_defaults_and_what_the_source_says() -> None:
    schemas = Schemas()
    assert schemas.of(Body) == {"$ref": "#/components/schemas/Body"}
    body = schemas.components["Body"]
    assert body["required"] == ["kind"]
    assert body["description"] == "A body."
    assert body["properties"] == {
        "kind": {"enum": ["<script>", "b"], "description": "Says <i>which</i> one it is."},
        "rawPart": {},
        "share": {"anyOf": [{"type": "number", "minimum": 0, "exclusiveMaximum": 2}, {"type": "null"}], "default": None},
        "words": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "byName": {"type": "object", "additionalProperties": {"type": "integer"}},
        "pair": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False},
        "part": {"anyOf": [{"$ref": "#/components/schemas/Part"}, {"type": "null"}], "default": None},
        "limit": {"type": "integer", "default": 5},
    }
    part = schemas.components["Part"]
    assert part["required"] == ["type"]
    assert part["properties"] == {
        "type": {"const": "part"},
        "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Part"}},
    }


def test_types_of_the_same_name_are_kept_apart() -> None:
    schemas = Schemas()
    schemas.of(control.ModelEntry)
    schemas.of(openai_answers.ModelEntry)
    assert set(schemas.components) >= {"ModelEntry", "openai_answers.ModelEntry"}


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.targets += [value or "" for name, value in attrs if name in {"src", "href"}]


async def test_the_page_lists_all_routes_and_base_urls_and_fetches_nothing(live) -> None:
    async with live.session.get(live.url + "/docs") as response:
        assert (response.status, response.content_type) == (200, "text/html")
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        page = await response.text()
    for _, path in routes_of(live):
        assert f"<code>{path}</code>" in page
    assert f"<code>{live.url}/v1</code>" in page
    assert f"<code>ws{live.url.removeprefix('http')}/impetus/v1/live</code>" in page
    links = Links()
    links.feed(page)
    assert links.targets == ["/openapi.json"]
    assert not links.tags & {"script", "link", "img", "iframe"}


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
async def test_a_foreign_host_does_not_see_it(live, path: str) -> None:
    async with live.session.get(live.url + path, headers={"Host": "evil.example"}) as response:
        assert response.status == 403
